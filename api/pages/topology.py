"""The topology as a page: a picture and a table, as of a moment."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.responses import Response
from markupsafe import Markup

from agents import replies, topology_replies
from api.auth import Session
from api.pages.render import Pages, usual_environment
from domain.errors import QuestionError
from graph.picture import PICTURE_STYLE


def add_topology(router: APIRouter, pages: Pages) -> None:
    """Add the page and the colours of its picture."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/topology")
    async def topology_page(environment: str = "", at: str = "", session: Session = Depends(gate.page)) -> Response:
        environments = await services.telemetry.environments()
        asked = environment or usual_environment(environments, await replies.list_incidents(services, limit=1))
        wrong, found, picture = "", None, ""
        try:
            at_us = replies.read_time("at", at.strip())
            found = await topology_replies.read_topology(services, asked.strip(), at_us)
            picture = await topology_replies.draw_topology(services, asked.strip(), at_us, styled=False)
        except QuestionError as exc:
            wrong = str(exc)
        return pages.render(
            "topology.html",
            session,
            422 if wrong else 200,
            environments=environments,
            environment=asked,
            at=at,
            wrong=wrong,
            topology=found,
            picture=Markup(picture),  # noqa: S704 - every name in it is escaped (graph/picture.py)
        )

    @router.get("/static/topology.css")
    async def picture_style() -> Response:
        return Response(PICTURE_STYLE, media_type="text/css")

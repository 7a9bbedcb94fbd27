"""The first page: a question, and what needs a look."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import replies, watch
from api.auth import Session
from api.pages.chat import incident_address, read_question
from api.pages.render import Pages, usual_environment
from domain.errors import QuestionError

_RECENT = 12


def add_home(router: APIRouter, pages: Pages) -> None:
    """Add the page and the form on it."""
    services, gate = pages.services, pages.gate

    async def home(
        session: Session, status: int = 200, wrong: str = "", asked: Mapping[str, str] | None = None
    ) -> Response:
        environments = await services.telemetry.environments()
        incidents = await replies.list_incidents(services, limit=_RECENT)
        return pages.render(
            "home.html",
            session,
            status,
            environments=environments,
            incidents=incidents,
            symptoms=await watch.list_symptoms(services, status="open", limit=_RECENT),
            usual=usual_environment(environments, incidents),
            wrong=wrong,
            asked=asked or {},
            may_ask=session.key.may("ask"),
        )

    @router.get("/")
    async def home_page(session: Session = Depends(gate.page)) -> Response:
        return await home(session)

    @router.post("/ask")
    async def ask(request: Request, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        try:
            answer = await pages.desk.ask(read_question(session, fields))
        except QuestionError as exc:
            return await home(session, 422, str(exc), fields)
        return RedirectResponse(incident_address(answer), 303)

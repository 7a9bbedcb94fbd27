"""What was noticed without a question."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from agents import watch
from api.auth import Session
from api.pages.facets import Choice, choose
from api.pages.render import Pages

_LOOKED_AT = 500
_FACETS: tuple[Choice[dict[str, Any]], ...] = (
    Choice("status", "Status", lambda line: (line["status"],)),
    Choice("kind", "Kind", lambda line: (line["kind"],)),
    Choice("service", "Service", lambda line: (line["service"],)),
    Choice("environment", "Environment", lambda line: (line["environment"],)),
)


def add_symptoms(router: APIRouter, pages: Pages) -> None:
    """Add the list of symptoms."""

    @router.get("/ui/symptoms")
    async def symptoms_page(request: Request, session: Session = Depends(pages.gate.page)) -> Response:
        found = await watch.list_symptoms(pages.services, limit=_LOOKED_AT)
        chosen = choose(found, _FACETS, request.url.path, request.query_params)
        return pages.render("symptoms.html", session, chosen=chosen, looked_at=_LOOKED_AT)

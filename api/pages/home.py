"""The first page: a question, and what needs a look."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import replies, watch
from api.auth import Session
from api.pages.render import Pages, usual_environment
from domain.errors import AccessError, QuestionError

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
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not ask.")
        try:
            question = replies.make_question(
                fields.get("question", ""),
                fields.get("environment", "").strip(),
                at_us=replies.read_time("at", fields.get("at", "").strip()),
                from_us=replies.read_time("from", fields.get("from", "").strip()),
                to_us=replies.read_time("to", fields.get("to", "").strip()),
            )
            answer = await pages.desk.ask(question)
        except QuestionError as exc:
            return await home(session, 422, str(exc), fields)
        return RedirectResponse(f"/ui/incidents/{quote(str(answer['incident_id']))}", 303)

"""Cases: what a policy wants a person to look at, from opened to resolved."""

from __future__ import annotations

from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import case_replies
from api.auth import Session
from api.pages.facets import Choice, choose
from api.pages.render import Pages
from domain.errors import AccessError, QuestionError

_LOOKED_AT = 300
_FACETS: tuple[Choice[dict[str, Any]], ...] = (
    Choice("status", "Status", lambda line: (line["status"],)),
    Choice("severity", "Severity", lambda line: (line["severity"],)),
    Choice("service", "Service", lambda line: (line["service"],)),
    Choice("environment", "Environment", lambda line: (line["environment"],)),
)


def add_cases(router: APIRouter, pages: Pages) -> None:
    """Add the list of cases, the page of one, and what people do with it."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/cases")
    async def cases_page(request: Request, session: Session = Depends(gate.page)) -> Response:
        found = (await case_replies.list_cases(services, limit=_LOOKED_AT))["cases"]
        chosen = choose(found, _FACETS, request.url.path, request.query_params, lambda line: line["title"])
        return pages.render("cases.html", session, chosen=chosen, looked_at=_LOOKED_AT)

    @router.get("/ui/cases/{case_id}")
    async def case_page(case_id: str, session: Session = Depends(gate.page)) -> Response:
        case = await case_replies.read_case(services, case_id)
        return pages.render("case.html", session, case=case, may_act=session.key.may("ask"))

    @router.post("/ui/cases/{case_id}")
    async def act(request: Request, case_id: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not change cases.")
        step, text = _read_step(fields.get("step", "")), fields.get("text", "")
        if step == "comment":
            await case_replies.comment_case(services, case_id, session.key.name, text)
        else:
            await case_replies.move_case(services, case_id, step, session.key.name, text)
        return RedirectResponse(f"/ui/cases/{quote(case_id, safe='')}", 303)


def _read_step(text: str) -> Literal["comment", "acknowledge", "resolve", "reopen"]:
    match text:
        case "comment" | "acknowledge" | "resolve" | "reopen":
            return text
        case _:
            raise QuestionError("`step` is comment, acknowledge, resolve or reopen.")

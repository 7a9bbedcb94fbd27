"""Indexed code as a page: by words and meaning, by symbol, by stack trace, by log line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from agents import code_replies, code_symbols
from agents.services import Services
from api.auth import Session
from api.pages.render import Pages
from domain.errors import QuestionError

_RESULTS = 20
WAYS: Mapping[str, str] = {
    "search": "Words and meaning",
    "symbol": "Symbol",
    "trace": "Stack trace",
    "log": "Log line",
}


def add_code(router: APIRouter, pages: Pages) -> None:
    """Add the page of the code."""
    services = pages.services

    @router.get("/ui/code")
    async def code_page(
        q: str = "", by: str = "search", service: str = "", session: Session = Depends(pages.gate.page)
    ) -> Response:
        wrong, found = "", None
        try:
            found = await _look(services, q.strip(), by, service.strip()[:128]) if q.strip() else None
        except QuestionError as exc:
            wrong = str(exc)
        return pages.render(
            "code.html",
            session,
            422 if wrong else 200,
            q=q,
            by=by,
            service=service,
            wrong=wrong,
            found=found,
            ways=WAYS,
            status=await code_replies.code_status(services),
        )


async def _look(services: Services, text: str, by: str, service: str) -> dict[str, Any]:
    match by:
        case "symbol":
            return await code_symbols.find_symbol(services, text, _RESULTS)
        case "trace":
            return await code_replies.place_trace(services, text, service)
        case "log":
            return await code_replies.find_statement(services, text, _RESULTS, service)
        case "search":
            return await code_replies.search_code(services, text, _RESULTS, service)
        case _:
            raise QuestionError(f"`by`: {by[:32]!r} is none: search, symbol, trace or log.")

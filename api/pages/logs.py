"""Logs as a page: lines by text and meaning, and families of templates that are frequent, new, vanished or bursting."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response

from agents import log_replies, log_search, replies
from agents.log_replies import LogQuery, make_log_query
from agents.services import Services
from api.auth import Session
from api.pages.render import Pages, usual_environment
from domain.errors import QuestionError

_LINES = 200
_FIELDS = ("environment", "q", "service", "level", "from", "to", "order")
VIEWS: Mapping[str, str] = {
    "": "Lines",
    "top": "Most frequent",
    "new": "New",
    "vanished": "Vanished",
    "bursting": "Bursting",
}
LEVELS = ("", "debug", "info", "warn", "error", "fatal")


def add_logs(router: APIRouter, pages: Pages) -> None:
    """Add the page of the logs."""
    services = pages.services

    @router.get("/ui/logs")
    async def logs_page(request: Request, session: Session = Depends(pages.gate.page)) -> Response:
        environments = await services.telemetry.environments()
        state = {name: request.query_params.get(name, "").strip()[:500] for name in _FIELDS}
        if not state["environment"]:
            state["environment"] = usual_environment(environments, await replies.list_incidents(services, limit=1))
        wrong, found = "", None
        try:
            found = await _look(services, state, request.query_params.get("before", "")[:40])
        except QuestionError as exc:
            wrong = str(exc)
        return pages.render(
            "logs.html",
            session,
            422 if wrong else 200,
            environments=environments,
            state=state,
            found=found,
            wrong=wrong,
            levels=LEVELS,
            views=[(order, words, _address(state | {"order": order})) for order, words in VIEWS.items()],
            older=_address(state | {"before": found["cursor"]}) if found and found.get("cursor") else "",
        )


async def _look(services: Services, state: Mapping[str, str], before: str) -> dict[str, Any]:
    query = _make_query(state)
    if state["order"]:
        order = next((known for known in log_replies.ORDERS if known == state["order"]), None)
        if order is None:
            raise QuestionError(f"`order`: {state['order'][:32]!r} is none: top, new, vanished or bursting.")
        return await log_replies.read_families(services, query, order)
    if state["q"]:
        return await log_search.search_logs(services, query, state["q"], before)
    return await log_replies.search_lines(services, query, "", before)


def _make_query(state: Mapping[str, str]) -> LogQuery:
    return make_log_query(
        state["environment"],
        replies.read_time("from", state["from"]),
        replies.read_time("to", state["to"]),
        state["service"],
        state["level"],
        _LINES,
    )


def _address(state: Mapping[str, str]) -> str:
    return "/ui/logs?" + urlencode({name: value for name, value in state.items() if value})

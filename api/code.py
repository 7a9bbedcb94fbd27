"""The code index over HTTP: by text, symbol, stack trace, log line and change."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from agents import code_replies
from agents.code_places import MAX_TEXT
from agents.code_symbols import find_symbol
from agents.services import Services
from api.auth import Gate

type _Limit = Annotated[int, Query(ge=1, le=100)]
type _Service = Annotated[str, Query(max_length=128, description="Only what this service runs.")]


class TextBody(BaseModel):
    """A stack trace or a log line."""

    text: str = Field(max_length=MAX_TEXT)
    service: str = Field(default="", max_length=128)
    limit: int = Field(default=5, ge=1, le=100)


def code_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(prefix="/code", tags=["code"], dependencies=[Depends(gate.require("read"))])

    @router.get("/search")
    async def search(
        q: Annotated[str, Query(max_length=1000)],
        limit: _Limit = 10,
        service: _Service = "",
        by: Annotated[str, Query(max_length=16, description="`both`, `words` or `meaning`.")] = "both",
    ) -> dict[str, Any]:
        """Chunks that hold the words of a query or are near to it in meaning, the best first."""
        return await code_replies.search_code(services, q, limit, service, by)

    @router.get("/symbol")
    async def symbol(
        name: Annotated[str, Query(max_length=300)],
        limit: _Limit = 20,
        hops: Annotated[int, Query(ge=1, le=5, description="Callers of callers as well.")] = 1,
        at: Annotated[str, Query(max_length=40, description="As of this time; default: now.")] = "",
    ) -> dict[str, Any]:
        """The definitions of a name, with their callers, heirs, log templates and calls."""
        return await find_symbol(services, name, limit, hops, at)

    @router.post("/trace")
    async def trace(body: TextBody) -> dict[str, Any]:
        """The files and lines of a stack trace."""
        return await code_replies.place_trace(services, body.text, body.service)

    @router.get("/trace")
    async def short_trace(text: Annotated[str, Query(max_length=8000)], service: _Service = "") -> dict[str, Any]:
        """The same for a short trace."""
        return await code_replies.place_trace(services, text, service)

    @router.post("/log")
    async def log(body: TextBody) -> dict[str, Any]:
        """The statements that may have written a log line."""
        return await code_replies.find_statement(services, body.text, body.limit, body.service)

    @router.get("/log")
    async def short_log(
        text: Annotated[str, Query(max_length=8000)], limit: _Limit = 5, service: _Service = ""
    ) -> dict[str, Any]:
        """The same for a short line."""
        return await code_replies.find_statement(services, text, limit, service)

    @router.get("/templates")
    async def templates(
        place: Annotated[str, Query(max_length=1000, description="`path:line`, or the name of a definition.")],
        environment: Annotated[str, Query(max_length=64, description="Default: `default`.")] = "",
        service: _Service = "",
        since: Annotated[str, Query(alias="from", max_length=40)] = "",
        to: Annotated[str, Query(max_length=40)] = "",
        limit: _Limit = 20,
    ) -> dict[str, Any]:
        """The log templates that a line of code wrote, and how often; by default in the last day."""
        values = {"place": place, "environment": environment, "service": service, "limit": limit}
        return await code_replies.ask_code(services, "templates", values | {"from": since, "to": to})

    @router.get("/diff")
    async def diff(
        service: _Service = "",
        since: Annotated[str, Query(alias="from", max_length=40)] = "",
        to: Annotated[str, Query(max_length=40)] = "",
    ) -> dict[str, Any]:
        """What was committed to what runs in a service; by default in the last day."""
        return await code_replies.list_code_changes(services, service, since, to)

    @router.get("/status")
    async def status() -> dict[str, Any]:
        """What is indexed, and how much was understood of it."""
        return await code_replies.code_status(services)

    return router

"""`POST /chat`: a question in, the answer out, at once or with each agent's progress as server-sent events."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agents.investigate import Progress
from agents.question import Question
from agents.replies import make_question
from agents.services import Services
from api.auth import Gate
from api.errors import status_of, told_body
from domain.errors import CausegraphError, NotFound
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import parse_time_us

logger = logging.getLogger(__name__)

_AT_ONCE = 4


def _time(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a time (RFC 3339, or an epoch number in s, ms, us or ns)")
    try:
        return parse_time_us(value)
    except OverflowError as exc:
        raise ValueError("not a time (infinite or not a number)") from exc


type _Time = Annotated[int | None, BeforeValidator(_time, json_schema_input_type=str | float | None)]


class ChatRequest(BaseModel):
    """A question. Times are RFC 3339 or epoch numbers; `at` is the moment of asking, `from`/`to` bound the incident."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    question: str = Field(max_length=16_000)
    environment: str = Field(default=DEFAULT_ENVIRONMENT, max_length=64)
    at: _Time = None
    from_: _Time = Field(default=None, alias="from")
    to: _Time = None
    thread_id: str = Field(default="", max_length=64, pattern=r"^[A-Za-z0-9_.:-]*$")
    incident_id: str = Field(default="", max_length=40)
    stream: bool = False

    def to_question(self) -> Question:
        """Return the question with its defaults filled in."""
        return make_question(
            self.question,
            self.environment,
            at_us=self.at,
            from_us=self.from_,
            to_us=self.to,
            thread_id=self.thread_id,
            incident_id=self.incident_id,
        )


class Desk:
    """Runs investigations for a server: a few at once, the others wait their turn."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def ask(self, question: Question) -> dict[str, Any]:
        """Return the answer; raises CausegraphError."""
        await self._check_incident(question)
        async with self._turn:
            return await self._services.investigator.ask(question)

    async def stream(self, question: Question) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        """Yield (`progress`, {agent, text}) as agents finish, and (`answer`, body) last; raises CausegraphError."""
        await self._check_incident(question)
        async with self._turn:
            async for part in self._services.investigator.stream(question):
                if isinstance(part, Progress):
                    yield "progress", {"agent": part.agent, "text": part.text}
                else:
                    yield "answer", part.body

    async def _check_incident(self, question: Question) -> None:
        if not question.incident_id:
            return
        incident = await self._services.incidents.get(question.incident_id)
        if incident.environment != question.environment:
            raise NotFound(f"There is no incident {question.incident_id} in environment {question.environment!r}.")


def chat_router(desk: Desk, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["chat"])

    @router.post("/chat", dependencies=[Depends(gate.require("ask"))])
    async def chat(body: ChatRequest, request: Request, accept: Annotated[str, Header()] = "") -> Response:
        """Ask a question; the reply is the answer as docs/api.md has it, or a stream of events that ends with it."""
        if body.stream or "text/event-stream" in accept:
            headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            return StreamingResponse(_events(desk, body.to_question()), media_type="text/event-stream", headers=headers)
        return JSONResponse(await desk.ask(body.to_question()))

    return router


async def _events(desk: Desk, question: Question) -> AsyncIterator[str]:
    # The reply's status is sent by now: what goes wrong is an event.
    try:
        async for name, data in desk.stream(question):
            yield _event(name, data)
    except CausegraphError as exc:
        logger.warning("A streamed question failed.", extra={"reason": str(exc)})
        yield _event("error", told_body(exc, status_of(exc)))
    except Exception:
        logger.exception("A streamed question failed unexpectedly.")
        body = {
            "error": "InternalError",
            "message": "Something unexpected went wrong.",
            "hint": "See the server's log.",
        }
        yield _event("error", body)


def _event(name: str, data: dict[str, Any]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"

"""`POST /chat`: a question in, the answer out, at once or with each agent's progress as server-sent events."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from agents.investigate import Answer, Progress
from agents.question import Question
from agents.replies import make_question
from agents.services import Services
from api.auth import Gate
from api.runs import AT_ONCE, ChatRuns
from domain.errors import NotFound, QuestionError
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import parse_time_us

_EVENT_ID = re.compile(r"(?:([A-Za-z0-9_]{1,40}):)?(\d{1,9})")


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
        self._turn = asyncio.Semaphore(AT_ONCE)
        self.runs = ChatRuns(services)

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
                match part:
                    case Progress():
                        yield "progress", {"agent": part.agent, "text": part.text}
                    case Answer():
                        yield "answer", part.body

    async def start(self, question: Question) -> str:
        """Begin to work on a question, whether or not somebody listens, and return its run's id."""
        await self._check_incident(question)
        return await self.runs.start(question)

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
    async def chat(
        body: ChatRequest, accept: Annotated[str, Header()] = "", last_event_id: Annotated[str, Header()] = ""
    ) -> Response:
        """Ask a question; the reply is the answer as docs/api.md has it, or a stream of events that ends with it.

        With `Last-Event-ID` nothing new is asked: the stream goes on behind that event.
        """
        if not body.stream and "text/event-stream" not in accept:
            return JSONResponse(await desk.ask(body.to_question()))
        run_id, after = read_event_id(last_event_id)
        if not run_id:
            run_id, after = await desk.start(body.to_question()), 0
        return await _stream(desk.runs, run_id, after)

    @router.get("/chat/{run_id}", dependencies=[Depends(gate.require("ask"))])
    async def read_run(run_id: str) -> JSONResponse:
        """The state of a streamed question, with its answer once it is there."""
        return JSONResponse(await desk.runs.get(run_id))

    @router.get("/chat/{run_id}/events", dependencies=[Depends(gate.require("ask"))])
    async def follow(run_id: str, last_event_id: Annotated[str, Header()] = "", after: int = 0) -> Response:
        """What a streamed question told and tells, behind `Last-Event-ID`, until it ends."""
        return await _stream(desk.runs, run_id, read_event_id(last_event_id)[1] or after)

    @router.delete("/chat/{run_id}", dependencies=[Depends(gate.require("ask"))])
    @router.post("/chat/{run_id}/cancel", dependencies=[Depends(gate.require("ask"))])
    async def cancel(run_id: str) -> JSONResponse:
        """Stop working on a streamed question; `cancelled` is false where it had ended already."""
        return JSONResponse({"run_id": run_id, "cancelled": await desk.runs.cancel(run_id)})

    return router


def read_event_id(text: str) -> tuple[str, int]:
    """Return (run id, number) of an event's id, `RUN:NUMBER` or a number; ("", 0) for none. Raises QuestionError."""
    if not text:
        return "", 0
    found = _EVENT_ID.fullmatch(text.strip())
    if not found:
        raise QuestionError("`Last-Event-ID` is none of ours: give back the `id` of the last event as it was.")
    return found.group(1) or "", int(found.group(2))


async def _stream(runs: ChatRuns, run_id: str, after: int) -> Response:
    await runs.get(run_id)  # what is not there is said with a status, before anything is sent
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(runs, run_id, after), media_type="text/event-stream", headers=headers)


async def _events(runs: ChatRuns, run_id: str, after: int) -> AsyncIterator[str]:
    async for event in runs.follow(run_id, after):
        data = json.dumps(event.data, ensure_ascii=False, default=str)
        yield f"id: {run_id}:{event.seq}\nevent: {event.name}\ndata: {data}\n\n"

"""Conversations over HTTP: the threads, their turns, and what their askers thought of the answers."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from agents.replies import read_time
from agents.services import Services
from api.auth import Gate
from domain.errors import NotFound
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import LATEST_US, format_us
from storage.conversations import Thread, Turn


class Feedback(BaseModel):
    """What an asker thought of an answer; without `turn` it is that of the last one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    helpful: bool
    note: str = Field(default="", max_length=2_000)
    cause: str = Field(
        default="", max_length=128, description="The service that was the cause, where the answer was wrong."
    )
    turn: int = Field(default=0, ge=0)
    environment: str = Field(default=DEFAULT_ENVIRONMENT, max_length=64)


def threads_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(prefix="/threads", tags=["chat"])

    @router.get("", dependencies=[Depends(gate.require("read"))])
    async def list_threads(
        environment: str = DEFAULT_ENVIRONMENT, limit: Annotated[int, Query(ge=1, le=500)] = 50, before: str = ""
    ) -> JSONResponse:
        """The conversations of an environment, those with the newest turns first."""
        until = read_time("before", before) or LATEST_US
        threads = await services.conversations.threads(environment or DEFAULT_ENVIRONMENT, limit, until)
        return JSONResponse({"threads": [_thread_json(thread) for thread in threads]})

    @router.get("/{thread_id}", dependencies=[Depends(gate.require("read"))])
    async def read_thread(thread_id: str, environment: str = DEFAULT_ENVIRONMENT) -> JSONResponse:
        """The turns of a conversation, oldest first."""
        turns = await services.conversations.turns(environment or DEFAULT_ENVIRONMENT, thread_id, 500)
        if not turns:
            raise NotFound(f"There is no thread {thread_id[:64]!r} in environment {environment!r}.")
        return JSONResponse({"thread_id": thread_id, "turns": [_turn_json(turn) for turn in turns]})

    @router.post("/{thread_id}/feedback", dependencies=[Depends(gate.require("ask"))])
    async def rate(thread_id: str, body: Feedback) -> JSONResponse:
        """Say what you thought of an answer; saying it again replaces it."""
        environment = body.environment or DEFAULT_ENVIRONMENT
        turns = await services.conversations.turns(environment, thread_id, 1)
        number = body.turn or (turns[-1].number if turns else 0)
        told = {"helpful": body.helpful, "note": body.note, "cause": body.cause}
        await services.conversations.rate(environment, thread_id, number, told)
        return JSONResponse({"thread_id": thread_id, "turn": number, "feedback": told})

    return router


def _thread_json(thread: Thread) -> dict[str, Any]:
    return {
        "thread_id": thread.id,
        "question": thread.question,
        "turns": thread.turns,
        "began": format_us(thread.began_us),
        "last": format_us(thread.last_us),
    }


def _turn_json(turn: Turn) -> dict[str, Any]:
    return {
        "turn": turn.number,
        "question": turn.question,
        "kind": turn.kind,
        "asked": format_us(turn.created_us),
        "trace_id": turn.trace_id,
        "incident_id": turn.incident_id,
        "answer": turn.answer,
        "feedback": turn.feedback or None,
    }

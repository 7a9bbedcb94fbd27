"""`POST /v1/chat/completions`: the same questions and answers for clients that speak OpenAI's API.

The model is `causegraph`, or `causegraph/ENVIRONMENT`. The last message of the user is the question; the text before it is
not read, since what was said in a conversation is kept by its thread. Progress comes as `reasoning_content` while
streaming, the answer as the content, and the whole answer of docs/api.md as the field `causegraph`.
"""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, Literal

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse, Response, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from agents.plain import show_plain
from agents.question import Question
from agents.replies import make_question
from agents.services import Services
from api.auth import Gate
from api.chat import Desk
from api.errors import status_of, told_body
from domain.errors import CausegraphError, NotFound, QuestionError
from domain.telemetry import DEFAULT_ENVIRONMENT

logger = logging.getLogger(__name__)

MODEL = "causegraph"


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    type: str
    text: str = ""


class _Message(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    role: Literal["system", "developer", "user", "assistant", "tool", "function"]
    content: str | list[_Part] | None = None

    def text(self) -> str:
        if isinstance(self.content, list):
            return "\n".join(part.text for part in self.content if part.type == "text")
        return self.content or ""


class _StreamOptions(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    include_usage: bool = False


class CompletionRequest(BaseModel):
    """What is read of a request; sampling parameters and tools mean nothing here and are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    model: str = Field(default=MODEL, max_length=80)
    messages: list[_Message] = Field(min_length=1, max_length=1_000)
    stream: bool = False
    stream_options: _StreamOptions | None = None
    user: str = Field(default="", max_length=64, description="The thread that the question belongs to.")

    def to_question(self) -> Question:
        """Return the question; raises QuestionError without one, NotFound for another model."""
        model, _, environment = self.model.partition("/")
        if model != MODEL:
            raise NotFound(f"There is no model {self.model!r}: it is {MODEL!r}, or {MODEL + '/ENVIRONMENT'!r}.")
        asked = next((message.text() for message in reversed(self.messages) if message.role == "user"), "")
        if not asked.strip():
            raise QuestionError("No message of the user holds any text.")
        return make_question(asked, environment or DEFAULT_ENVIRONMENT, thread_id=self.user)


def completions_router(services: Services, desk: Desk, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(prefix="/v1", tags=["chat"])

    @router.get("/models", dependencies=[Depends(gate.require("read"))])
    async def models() -> JSONResponse:
        """The models: one per environment, and one for the default."""
        names = [name for name in await services.telemetry.environments() if name != DEFAULT_ENVIRONMENT]
        listed = [MODEL, *(f"{MODEL}/{name}" for name in names)]
        held = [{"id": name, "object": "model", "created": 0, "owned_by": MODEL} for name in listed]
        return JSONResponse({"object": "list", "data": held})

    @router.post("/chat/completions", dependencies=[Depends(gate.require("ask"))])
    async def complete(body: CompletionRequest) -> Response:
        """Answer the last question of a conversation."""
        try:
            question = body.to_question()
            if not body.stream:
                return JSONResponse(_completion(body.model, await desk.ask(question)))
        except CausegraphError as exc:
            return JSONResponse(_error(exc), status_of(exc))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(_chunks(desk, body, question), media_type="text/event-stream", headers=headers)

    return router


def write_content(answer: dict[str, Any]) -> str:
    """Return an answer as one Markdown text: what it says, each claim with its evidence, what was not seen."""
    lines = [answer["answer"]]
    if answer["claims"]:
        lines += ["", "**Evidence**", ""]
        lines += [f"- {claim['text']} [{', '.join(claim['evidence'])}]" for claim in answer["claims"]]
    if answer["verdict"]["not_seen"]:
        lines += ["", "**Not seen**", "", *(f"- {line}" for line in answer["verdict"]["not_seen"])]
    return show_plain("\n".join(lines))


def _completion(model: str, answer: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": write_content(answer), "refusal": None}
    return {
        "id": f"chatcmpl-{answer['trace_id']}",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
        "usage": _usage(answer),
        "causegraph": answer,
    }


def _usage(answer: dict[str, Any]) -> dict[str, int]:
    """Tokens of language models; none were used where rules alone found the answer."""
    tokens = int(answer["budget"]["tokens"])
    return {"prompt_tokens": 0, "completion_tokens": tokens, "total_tokens": tokens}


async def _chunks(desk: Desk, body: CompletionRequest, question: Question) -> AsyncIterator[str]:
    # The reply's status is sent by now: what goes wrong is an event.
    head = {
        "id": f"chatcmpl-{secrets.token_hex(8)}",
        "object": "chat.completion.chunk",
        "created": int(time.time()),
        "model": body.model,
    }

    def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> str:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _event({**head, "choices": [choice], **more})

    try:
        yield chunk({"role": "assistant", "content": ""})
        async for name, data in desk.stream(question):
            if name == "progress":
                yield chunk({"reasoning_content": show_plain(f"{data['agent']}: {data['text']}\n")})
                continue
            for part in _pieces(write_content(data)):
                yield chunk({"content": part})
            yield chunk({}, "stop", causegraph=data)
            if body.stream_options is not None and body.stream_options.include_usage:
                yield _event({**head, "choices": [], "usage": _usage(data)})
    except CausegraphError as exc:
        logger.warning("A streamed question failed.", extra={"reason": str(exc)})
        yield _event(_error(exc))
    yield "data: [DONE]\n\n"


def _pieces(text: str) -> Sequence[str]:
    return [f"{line}\n" for line in text.split("\n")]


def _error(exc: CausegraphError) -> dict[str, Any]:
    told = told_body(exc, status_of(exc))
    kind = "invalid_request_error" if status_of(exc) < 500 else "api_error"
    return {"error": {"message": told["message"], "type": kind, "param": None, "code": told["error"]}}


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data, ensure_ascii=False, default=str)}\n\n"

"""A chat model of an Ollama server, over its own `/api/chat`.

Its official client cannot send `truncate` and cannot bound the wait for the first token, so this is plain HTTP. What is
sent with each request, and why: `num_ctx` always and always the same, because the default is 4,096 and every change loads
the model anew; `truncate: false`, because otherwise the oldest messages are dropped in silence; `think: false`, because
thinking is on by default and may use up the whole reply.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from domain.errors import ReplyBroken
from inference.failures import name_failure
from inference.http import ModelServer
from inference.wire import ChatRequest, Piece

KEEP_SECONDS = 1_800.0


class OllamaChat:
    """A `Wire` to a model of an Ollama server."""

    must_load = True

    def __init__(self, server: ModelServer, context_tokens: int) -> None:
        self._server = server
        self._context_tokens = context_tokens
        self.name = f"ollama/{server.model}"

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Send a request; see `Wire`."""
        async with self._server.lines("/api/chat", self._payload(request)) as lines:
            yield self._read(lines)

    async def load(self, seconds: float) -> None:
        """Load the model: a chat without messages does, and needs a long deadline, since giving up aborts the load."""
        payload = self._held() | {"messages": [], "stream": False}
        await self._server.post("/api/chat", payload, seconds)

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _held(self) -> dict[str, Any]:
        options = {"num_ctx": self._context_tokens}
        return {"model": self._server.model, "keep_alive": f"{KEEP_SECONDS:.0f}s", "options": options}

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        payload = self._held()
        options: dict[str, Any] = {"num_predict": request.max_tokens, "temperature": request.temperature}
        if request.seed is not None:
            options["seed"] = request.seed
        if request.stop:
            options["stop"] = list(request.stop)
        payload["options"] = payload["options"] | options
        payload |= {"messages": [dict(m) for m in request.messages], "stream": True, "think": False, "truncate": False}
        return payload | ({"format": dict(request.schema)} if request.schema is not None else {})

    async def _read(self, lines: AsyncIterator[str]) -> AsyncIterator[Piece]:
        async for line in lines:
            piece = self._piece(line)
            yield piece
            if piece.finish:
                return
        raise ReplyBroken(f"{self._server.model} ended its reply without saying so.")

    def _piece(self, line: str) -> Piece:
        try:
            read: Mapping[str, Any] = json.loads(line)
            # The status was 200 long ago: what goes wrong in the middle comes as a line like any other.
            if "error" in read:
                raise name_failure(0, line, model=self._server.model, url=self._server.url)
            message = read.get("message") or {}
            finish = str(read.get("done_reason") or "stop") if read.get("done") else ""
            if finish in ("load", "unload"):
                raise ReplyBroken(f"{self._server.model} was loaded, but did not reply.")
            return Piece(
                text=str(message.get("content") or ""),
                thinking=str(message.get("thinking") or ""),
                finish=finish,
                prompt_tokens=int(read.get("prompt_eval_count") or 0),
                completion_tokens=int(read.get("eval_count") or 0),
            )
        except (ValueError, TypeError, AttributeError) as exc:
            raise ReplyBroken(f"{self._server.model} sent a line that is not understood.") from exc

"""A chat model of any OpenAI-compatible server (vLLM, llama.cpp, LiteLLM, hosted ones), over `/chat/completions`."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from domain.errors import ReplyBroken
from inference.failures import name_failure
from inference.http import ModelServer
from inference.wire import ChatRequest, Piece


class OpenAIChat:
    """A `Wire` to a model of an OpenAI-compatible server; the server's address ends with `/v1`."""

    must_load = False

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self.name = f"openai/{server.model}"

    @asynccontextmanager
    async def stream(self, request: ChatRequest) -> AsyncIterator[AsyncIterator[Piece]]:
        """Send a request; see `Wire`."""
        async with self._server.lines("/chat/completions", self._payload(request)) as lines:
            yield self._read(lines)

    async def load(self, seconds: float) -> None:
        """Do nothing: these servers have their model, or say that they do not."""

    async def close(self) -> None:
        """Close the connections."""
        await self._server.close()

    def _payload(self, request: ChatRequest) -> dict[str, Any]:
        payload: dict[str, Any] = {
            "model": self._server.model,
            "messages": [dict(message) for message in request.messages],
            "stream": True,
            "stream_options": {"include_usage": True},
            # Ollama's face ignores `max_completion_tokens`; everybody else still takes this one.
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
        if request.seed is not None:
            payload["seed"] = request.seed
        if request.stop:
            payload["stop"] = list(request.stop)
        if request.schema is not None:
            form = {"name": "reply", "strict": True, "schema": dict(request.schema)}
            payload["response_format"] = {"type": "json_schema", "json_schema": form}
        return payload

    async def _read(self, lines: AsyncIterator[str]) -> AsyncIterator[Piece]:
        finish, prompt, completion = "", 0, 0
        async for line in lines:
            name, _, value = line.partition(":")
            if name != "data":
                if line.startswith("{"):  # an error without the form of an event
                    raise name_failure(0, line, model=self._server.model, url=self._server.url)
                continue
            if value.strip() == "[DONE]":
                break
            event = self._event(value)
            usage = event.get("usage") or {}
            prompt = int(usage.get("prompt_tokens") or prompt)
            completion = int(usage.get("completion_tokens") or completion)
            for choice in event.get("choices") or ():
                delta = choice.get("delta") or {}
                finish = str(choice.get("finish_reason") or finish)
                yield Piece(
                    text=str(delta.get("content") or ""),
                    thinking=str(delta.get("reasoning_content") or delta.get("reasoning") or ""),
                )
        # Some servers leave out the end mark, none the reason for which a whole reply ended.
        if not finish:
            raise ReplyBroken(f"{self._server.model} ended its reply without saying so.")
        yield Piece(finish=finish, prompt_tokens=prompt, completion_tokens=completion)

    def _event(self, value: str) -> Mapping[str, Any]:
        try:
            event = json.loads(value)
        except ValueError as exc:
            raise ReplyBroken(f"{self._server.model} sent an event that is not understood.") from exc
        if not isinstance(event, dict):
            raise ReplyBroken(f"{self._server.model} sent an event that is not understood.")
        if event.get("error"):
            raise name_failure(0, value, model=self._server.model, url=self._server.url)
        return event

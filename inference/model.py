"""Chat models as langchain-core knows them, with what that leaves open settled: deadlines, loading, turns, silent cuts."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from pydantic import PrivateAttr

from domain.errors import (
    ContextOverflow,
    ModelBusy,
    ModelError,
    ModelTimeout,
    ModelUnavailable,
    ReplyBroken,
    ReplyEmpty,
)
from inference.loading import Loading
from inference.wire import ChatRequest, Piece, Wire

_TRIES = 3
_PAUSE_SECONDS = 0.2
_PER_MESSAGE = 12  # characters that a template puts around a message
_USUAL_CHARACTERS = 3.0  # per token, until the server has counted some
_LEARNING = 0.2
# A prompt of some length of which the server read less than half of what it holds was cut by it.
_CHECKED_TOKENS = 512
_READ_AT_LEAST = 0.5
_ROLES = {"human": "user", "ai": "assistant", "system": "system"}


class ServedModel(BaseChatModel):
    """A model on a server. `ainvoke`, `astream`, callbacks and usage are langchain-core's; there are no tools.

    Options of a call: `schema` (JSON Schema of the reply), `max_tokens`, `temperature`, `seed`. Raises ModelError. What can
    be tried again (busy, away, broken off) is, within `total_seconds`; what began late is not, because a server that was
    left while it loads a model begins to load it anew.
    """

    model_name: str
    context_tokens: int = 8192
    answer_tokens: int = 1024
    total_seconds: float = 300.0
    pause_seconds: float = _PAUSE_SECONDS
    _wire: Wire = PrivateAttr()
    _turn: asyncio.Semaphore = PrivateAttr()
    _loading: Loading = PrivateAttr()
    _characters: float = PrivateAttr(default=_USUAL_CHARACTERS)

    def __init__(self, wire: Wire, *, concurrency: int = 1, load_seconds: float = 600.0, **fields: Any) -> None:
        super().__init__(**{"model_name": wire.name, **fields})
        self._wire = wire
        self._turn = asyncio.Semaphore(concurrency)
        self._loading = Loading(wire, load_seconds)

    @property
    def _llm_type(self) -> str:
        return "causegraph"

    @property
    def _identifying_params(self) -> Mapping[str, Any]:
        return {"model_name": self.model_name}

    async def close(self) -> None:
        """Close the connections."""
        await self._loading.close()
        await self._wire.close()

    async def load(self) -> None:
        """Wait until the model is loaded. It goes on loading if this is cancelled. Raises ModelError."""
        await self._loading.wait()

    def room(self, messages: Sequence[BaseMessage], max_tokens: int = 0) -> int:
        """Return how many characters more fit into a prompt, with a margin for what is counted wrongly."""
        tokens = (self.context_tokens - (max_tokens or self.answer_tokens)) * 0.85
        return max(0, int(tokens * self._characters) - _length(messages))

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        raise NotImplementedError("Chat models are asynchronous here: call `ainvoke`.")

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> ChatResult:
        request = self._request(messages, stop, options)
        pieces = await self._within_total(lambda: self._collect(messages, request))
        text = "".join(piece.text for piece in pieces)
        if not text.strip():
            thought = sum(len(piece.thinking) for piece in pieces)
            raise ReplyEmpty(f"{self.model_name} replied without text ({thought} characters of thinking).")
        message = AIMessage(
            text, usage_metadata=_usage(pieces[-1]), response_metadata=self._metadata(pieces[-1].finish)
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **options: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        request = self._request(messages, stop, options)
        deadline = asyncio.get_running_loop().time() + self.total_seconds
        async with aclosing(self._pieces(messages, request)) as pieces:
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        piece = await anext(pieces, None)
                except TimeoutError as exc:
                    raise self._late() from exc
                if piece is None:
                    return
                usage = _usage(piece) if piece.finish else None
                metadata = self._metadata(piece.finish) if piece.finish else {}
                chunk = AIMessageChunk(content=piece.text, usage_metadata=usage, response_metadata=metadata)
                yield ChatGenerationChunk(message=chunk)

    async def _within_total(self, work: Callable[[], Awaitable[list[Piece]]]) -> list[Piece]:
        try:
            async with asyncio.timeout(self.total_seconds):
                return await self._try_again(work)
        except TimeoutError as exc:
            raise self._late() from exc

    async def _try_again(self, work: Callable[[], Awaitable[list[Piece]]]) -> list[Piece]:
        for number in range(1, _TRIES + 1):
            try:
                return await work()
            except (ModelBusy, ModelUnavailable, ReplyBroken):
                if number == _TRIES:
                    raise
                # Jitter, so that many that were refused do not come back together.
                await asyncio.sleep(self.pause_seconds * 2**number * (0.5 + random.random()))  # noqa: S311
        raise AssertionError("unreachable")

    async def _collect(self, messages: Sequence[BaseMessage], request: ChatRequest) -> list[Piece]:
        async with aclosing(self._pieces(messages, request)) as pieces:
            return [piece async for piece in pieces]

    async def _pieces(self, messages: Sequence[BaseMessage], request: ChatRequest) -> AsyncGenerator[Piece]:
        await self._loading.wait()
        try:
            async with self._turn, self._wire.stream(request) as pieces:
                async for piece in pieces:
                    if piece.finish:
                        self._check_read(messages, piece)
                    yield piece
        except ModelTimeout:
            self._loading.forget()  # perhaps it was unloaded: the next call loads it with a long deadline
            raise
        self._loading.used()

    def _request(self, messages: Sequence[BaseMessage], stop: Sequence[str] | None, options: Any) -> ChatRequest:
        if options.get("tools"):
            raise ModelError("No tools are offered to models here.")
        max_tokens = int(options.get("max_tokens") or self.answer_tokens)
        estimate = self._estimate(messages)
        if estimate + max_tokens > self.context_tokens:
            raise ContextOverflow(
                f"The prompt has about {estimate} tokens, and {max_tokens} are kept for the reply: more than the "
                f"{self.context_tokens} of CAUSEGRAPH_CHAT_CONTEXT_TOKENS."
            )
        return ChatRequest(
            messages=tuple({"role": _ROLES[message.type], "content": _text(message)} for message in messages),
            max_tokens=max_tokens,
            schema=options.get("schema"),
            temperature=float(options.get("temperature", 0.0)),
            seed=options.get("seed"),
            stop=tuple(stop or ()),
        )

    def _estimate(self, messages: Sequence[BaseMessage]) -> int:
        return math.ceil(_length(messages) / self._characters)

    def _check_read(self, messages: Sequence[BaseMessage], last: Piece) -> None:
        """Compare what the server says that it read with what was sent, and learn how long its tokens are."""
        estimate = self._estimate(messages)
        if not last.prompt_tokens:
            return
        if estimate > _CHECKED_TOKENS and last.prompt_tokens < _READ_AT_LEAST * estimate:
            raise ContextOverflow(
                f"{self.model_name} read {last.prompt_tokens} tokens of a prompt of about {estimate}: its server cut "
                "it in silence."
            )
        seen = min(6.0, max(1.0, _length(messages) / last.prompt_tokens))
        if last.prompt_tokens > 100:
            self._characters += _LEARNING * (seen - self._characters)

    def _metadata(self, finish: str) -> dict[str, Any]:
        return {"finish_reason": finish, "model_name": self.model_name}

    def _late(self) -> ModelTimeout:
        return ModelTimeout(f"{self.model_name} had not replied after {self.total_seconds:g} s.")


def _usage(last: Piece) -> UsageMetadata:
    total = last.prompt_tokens + last.completion_tokens
    return UsageMetadata(input_tokens=last.prompt_tokens, output_tokens=last.completion_tokens, total_tokens=total)


def _text(message: BaseMessage) -> str:
    if not isinstance(message.content, str):
        raise ModelError("Only text is sent to models.")
    return message.content


def _length(messages: Sequence[BaseMessage]) -> int:
    return sum(len(_text(message)) + _PER_MESSAGE for message in messages)

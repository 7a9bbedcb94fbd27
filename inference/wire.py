"""One request to a chat model and the pieces of its reply, whatever the server speaks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """What is asked of a model. `messages` are {role, content}; `schema` is the JSON Schema that the reply must fit.

    There is no place for tools: no request of ours offers any.
    """

    messages: tuple[Mapping[str, str], ...]
    max_tokens: int
    schema: Mapping[str, Any] | None = None
    temperature: float = 0.0
    seed: int | None = None
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a reply. The last one has `finish` (`stop`, `length` ...) and, where the server counts, the tokens."""

    text: str = ""
    thinking: str = ""
    finish: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Deadlines:
    """How long a server may take: to connect, to begin, between two pieces, and in all. Seconds."""

    connect: float = 5.0
    first: float = 30.0
    idle: float = 30.0
    total: float = 300.0


class Wire(Protocol):
    """A model on a server, as the server's own protocol has it."""

    @property
    def name(self) -> str:
        """The model with its kind of server: `ollama/qwen3:4b`."""
        ...

    @property
    def must_load(self) -> bool:
        """Whether the server loads models when they are asked, so that the first reply takes long."""
        ...

    def stream(self, request: ChatRequest) -> AbstractAsyncContextManager[AsyncIterator[Piece]]:
        """Send a request; the block iterates over the pieces, the last has a `finish`. Raises ModelError."""
        ...

    async def load(self, seconds: float) -> None:
        """Have the server load the model; raises ModelError."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...

"""The prompts of our own runs, kept beside them: never in a run's way, and no trouble to it when the store fails."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from domain.errors import CausegraphError, NotFound
from storage.prompts import PromptStore

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class NewMessages:
    """What is new in a prompt: how many messages it shares with one before it, and the others as they were put."""

    shared: int
    messages: tuple[bytes, ...]


class PromptKeeper:
    """Puts prompts into a store that is opened when the first one comes. Let `run` work beside it: it makes them durable."""

    def __init__(self, open_store: Callable[[], PromptStore], flush_seconds: float = _FLUSH_SECONDS) -> None:
        self._open_store = open_store
        self._flush_seconds = flush_seconds
        self._store: PromptStore | None = None
        self._dirty = False
        self._told = False
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="prompts")

    async def keep(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Keep a list of messages and return the prompt's id; empty where it could not be kept. Never raises."""
        return await self._try(self._put, messages) or ""

    async def read_new(self, prompt_id: str, before: Sequence[str] = ()) -> NewMessages | None:
        """Return what is new in a prompt since the one of `before` that it has most in common with; None if it is not here."""
        return await self._try(self._read_new, prompt_id, tuple(before))

    async def first_difference(self, one: str, other: str) -> int | None:
        """Return the number (from 0) of the first message in which two prompts differ; None if none does, or one is not here."""
        return await self._try(self._first_difference, one, other)

    async def run(self, stop: asyncio.Event) -> None:
        """Write what was put, every few seconds and at the end."""
        while not stop.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), self._flush_seconds)
            await self.flush()

    async def flush(self) -> None:
        """Make everything durable that was put so far. Never raises; what could not be written is tried again."""
        if self._dirty:
            await self._try(self._write)

    def _put(self, messages: Sequence[Mapping[str, Any]]) -> str:
        store = self._opened()
        self._dirty = True
        return store.put(messages)

    def _read_new(self, prompt_id: str, before: Sequence[str]) -> NewMessages | None:
        store = self._opened()
        try:
            if prompt_id in before:
                return NewMessages(len(store.messages_from(prompt_id, 0)), ())
            shared = max((self._first_difference(prompt_id, other) or 0 for other in before), default=0)
            return NewMessages(shared, tuple(store.messages_from(prompt_id, shared)))
        except NotFound:
            return None

    def _first_difference(self, one: str, other: str) -> int | None:
        try:
            return self._opened().first_difference(one, other)
        except NotFound:
            return None

    def _opened(self) -> PromptStore:
        if self._store is None:
            self._store = self._open_store()
        return self._store

    def _write(self) -> None:
        if self._store is not None:
            self._store.flush()
            self._dirty = False

    async def _try[**P, T](self, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T | None:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*given, **named))
        except (CausegraphError, OSError, ValueError) as exc:
            if not self._told:
                self._told = True
                logger.warning("Prompts cannot be kept", extra={"reason": str(exc)})
            return None

"""Loading a model once for everybody who waits for it, and going on with it when they no longer do."""

from __future__ import annotations

import asyncio
import time

from inference.ollama_chat import KEEP_SECONDS
from inference.wire import Wire

_MARGIN_SECONDS = 60.0


class Loading:
    """Whether a model is loaded, as far as this process knows.

    A server aborts a load when the client that asked for it leaves, and the next one starts over: with a deadline shorter
    than the load nobody would ever get an answer. So the load has a task and a deadline of its own.
    """

    def __init__(self, wire: Wire, seconds: float) -> None:
        self._wire = wire
        self._seconds = seconds
        self._task: asyncio.Task[None] | None = None
        self._until = 0.0

    async def wait(self) -> None:
        """Wait until the model is loaded; raises ModelError. Being cancelled does not stop the load."""
        if not self._wire.must_load or time.monotonic() < self._until:
            return
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._load(), name=f"load {self._wire.name}")
        await asyncio.shield(self._task)

    def used(self) -> None:
        """Say that the model answered just now: its server keeps it for a while from here."""
        self._until = time.monotonic() + KEEP_SECONDS - _MARGIN_SECONDS

    def forget(self) -> None:
        """Say that the model may have been unloaded."""
        self._until = 0.0

    async def close(self) -> None:
        """Give up a load in hand."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _load(self) -> None:
        await self._wire.load(self._seconds)
        self.used()

"""Work that a server does every hour for as long as it runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress

from domain.errors import StorageError

logger = logging.getLogger(__name__)

_HOUR_SECONDS = 3600.0


async def hourly(step: Callable[[], Awaitable[None]], stop: asyncio.Event, first_seconds: float, failed: str) -> None:
    """Take a step every hour until `stop` is set, the first of them soon, and soon again after one that failed.

    `failed` is for the log. Outlives failures of the database.
    """
    pause = first_seconds
    while True:
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)
        if stop.is_set():
            return
        pause = _HOUR_SECONDS
        try:
            await step()
        except StorageError as exc:
            logger.warning(failed, extra={"reason": str(exc)})
            pause = first_seconds

"""The loop of what follows the ingest step by step, and outlives the failures of its steps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from domain.errors import StorageError

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
_PAUSE_SECONDS = 2.0


async def follow(step: Callable[[], Awaitable[bool]], stop: asyncio.Event, *, held: str, failed: str) -> None:
    """Take steps until `stop` is set; a step says whether the next one is to be taken at once.

    For the log: `held` is said once while the database is away, `failed` of each step that fails otherwise.
    """
    failing = False
    while not stop.is_set():
        pause = POLL_SECONDS
        try:
            pause, failing = (0.0 if await step() else pause), False
        except StorageError as exc:
            pause = _PAUSE_SECONDS
            if not failing:
                logger.warning(held, extra={"reason": str(exc)})
            failing = True
        except Exception:
            # What one environment or sender sent must not end the work on all others.
            logger.exception(failed)
            pause = _PAUSE_SECONDS
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)

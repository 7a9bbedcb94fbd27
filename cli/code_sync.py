"""Keeps the indexed code current while the server runs: in a process of its own, so that no answer waits for it."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from cli.server import child_environment
from domain.errors import StorageError
from storage.code import CodeStore

if TYPE_CHECKING:
    from domain.settings import Settings
    from storage.database import Database

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


@asynccontextmanager
async def syncing_code(settings: Settings, database: Database) -> AsyncIterator[None]:
    """Run `causegraph index sync` each `index_sync_minutes`, for as long as the block lasts."""
    if not settings.index_sync_minutes:
        yield
        return
    task = asyncio.create_task(_sync_for_ever(settings, CodeStore(database)))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _sync_for_ever(settings: Settings, store: CodeStore) -> None:
    while True:
        await asyncio.sleep(60 * settings.index_sync_minutes)
        try:
            if await store.roots():
                await _sync(settings)
        except (StorageError, OSError) as exc:
            logger.warning("the indexed code could not be synced", extra={"reason": str(exc)})


async def _sync(settings: Settings) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "cli.main", "index", "sync"),
        env=child_environment(settings),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, told = await process.communicate()
    finally:
        if process.returncode is None:  # a sync that is cut short goes on the next time
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), _STOP_SECONDS)
            except TimeoutError:
                process.kill()
                await process.wait()
    if process.returncode:
        logger.warning("the indexed code could not be synced", extra={"reason": told.decode("utf-8", "replace")[-500:]})

"""Following code bases: syncs them as their files change, and from time to time in any case."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING

from cli.screen import make_console, styled
from domain.errors import CausegraphError, IndexingError

if TYPE_CHECKING:
    from cli.code_index import CodeIndex
    from indexer.sync import SyncReport
    from storage.code import CodeRoot

logger = logging.getLogger(__name__)

_DEFAULT_MINUTES = 10.0
_SETTLE_SECONDS = 1.0


async def follow(index: CodeIndex, roots: Sequence[CodeRoot]) -> AsyncIterator[SyncReport]:
    """Yield what each sync found, until cancelled. Folders are watched; addresses are fetched from time to time."""
    due: asyncio.Queue[str] = asyncio.Queue()
    seconds = 60 * (index.settings.index_sync_minutes or _DEFAULT_MINUTES)
    tasks = [asyncio.create_task(_tick(root, due, seconds)) for root in roots]
    tasks += [asyncio.create_task(_watch(root, due)) for root in roots if root.kind == "folder"]
    try:
        while tasks:
            wanted = {await due.get()}
            while not due.empty():
                wanted.add(due.get_nowait())
            for root_id in sorted(wanted):
                try:
                    yield await index.syncer.sync(root_id)
                except CausegraphError as exc:  # it may be back the next time
                    make_console(stderr=True).print(styled(str(exc), "yellow"), soft_wrap=True)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _tick(root: CodeRoot, due: asyncio.Queue[str], seconds: float) -> None:
    await asyncio.sleep(_SETTLE_SECONDS)  # for what changed before the watch was set up
    while True:
        due.put_nowait(root.id)
        await asyncio.sleep(seconds)


async def _watch(root: CodeRoot, due: asyncio.Queue[str]) -> None:
    from pathlib import Path

    from indexer.watch import watch_folder

    try:
        async for _ in watch_folder(Path(root.location)):
            due.put_nowait(root.id)
    except IndexingError as exc:
        make_console(stderr=True).print(styled(str(exc), "yellow"), soft_wrap=True)

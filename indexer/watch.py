"""Says when the files of a folder may have changed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from watchfiles import Change, awatch

from domain.errors import IndexingError
from indexer.ignore import BY_DEFAULT

_QUIET_MS = 300


async def watch_folder(folder: Path, stop: asyncio.Event | None = None) -> AsyncIterator[None]:
    """Yield once after each burst of changes, until `stop`; raises IndexingError if the folder cannot be watched.

    What version control and tools write for themselves is no change. Nothing is said of which files: the next sync finds
    out, and so it does for changes that were missed.
    """
    above = len(folder.parts)

    def counts(change: Change, path: str) -> bool:
        return BY_DEFAULT.isdisjoint(Path(path).parts[above:])

    try:
        async for _ in awatch(folder, watch_filter=counts, debounce=_QUIET_MS, stop_event=stop, recursive=True):
            yield
    except OSError as exc:
        raise IndexingError(
            f"{folder} cannot be watched: {exc.strerror or exc}. It is looked at from time to time instead."
        ) from exc

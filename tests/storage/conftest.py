"""Databases of their own, for tests that change the schema or the server's state."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.database import Database


@pytest.fixture
async def open_database() -> AsyncIterator[Callable[[str], Awaitable[Database]]]:
    """Open databases by URL; they are closed after the test."""
    opened: list[Database] = []

    async def open_one(url: str) -> Database:
        opened.append(Database(url, connections=2))
        return opened[-1]

    yield open_one
    for database in opened:
        await database.close()


@pytest.fixture
def blobs(database: Database, tmp_path: Path) -> BlobStore:
    return BlobStore(database, tmp_path / "blobs")

"""Databases of their own, for tests that change the schema or the server's state."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import mariadb
import pytest

from cli.stack import StackHandle
from storage.blobs import BlobStore
from storage.database import Database, parse_database_url


def with_database(url: str, name: str) -> str:
    """Return the URL with another database's name."""
    return urlunsplit(urlsplit(url)._replace(path=f"/{name}"))


@pytest.fixture
def fresh_url(stack: StackHandle) -> Iterator[Callable[[], str]]:
    """Make empty databases and return their URLs; they are dropped after the test."""
    connection = mariadb.connect(**parse_database_url(stack.database_url), autocommit=True)
    cursor = connection.cursor()
    made: list[str] = []

    def make() -> str:
        name = f"test_{uuid.uuid4().hex[:12]}"
        cursor.execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
        made.append(name)
        return with_database(stack.database_url, name)

    yield make
    for name in made:
        cursor.execute(f"DROP DATABASE {name}")
    connection.close()


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

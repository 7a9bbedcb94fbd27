"""Checkpoints of agent graphs in MariaDB: a run that pauses or dies goes on where it was, also in another process.

The tables are made by our migrations, not by the library's `setup`. Only the types that a caller names, and those that
the library knows to be harmless, are made again from what is stored.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncmy
from asyncmy.errors import Error
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.mysql.asyncmy import AsyncMySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from domain.errors import StorageError
from storage.database import QUERIES, Database, translate_error

_CONNECT_SECONDS = 5


@asynccontextmanager
async def open_checkpoints(database: Database, *kept: type) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """Provide a LangGraph checkpointer on the same server as `database`, with one connection of its own.

    `kept` are the classes of ours that the graph's state may hold. A connection that was lost is opened again by the
    next call. Its methods raise StorageError.
    """
    allowed = [(held.__module__, held.__qualname__) for held in kept]
    pool: Any = asyncmy.create_pool(
        minsize=0,
        maxsize=1,
        autocommit=True,
        init_command=QUERIES["session_settings"],
        charset="utf8mb4",
        **database.address,
    )
    async with pool as opened:
        yield _Saver(opened, serde=JsonPlusSerializer(allowed_msgpack_modules=allowed))


class _Saver(AsyncMySaver):
    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        try:
            async with super()._cursor(pipeline=pipeline) as cursor:
                yield cursor
        except (Error, OSError) as exc:
            raise _translate(exc) from exc


def _translate(exc: Exception) -> StorageError:
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else None
    return translate_error(_Numbered(str(exc), number) if number is not None else exc, "checkpoints")


class _Numbered(Exception):
    def __init__(self, text: str, errno: int) -> None:
        super().__init__(text)
        self.errno = errno

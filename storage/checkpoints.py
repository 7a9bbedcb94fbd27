"""Checkpoints of agent graphs in MariaDB: a run that pauses or dies goes on where it was, also in another process.

The tables are made by our migrations, not by the library's `setup`. Only the types that a caller names, and those that
the library knows to be harmless, are made again from what is stored.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import asyncmy
from asyncmy.errors import Error
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver, ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.mysql.asyncmy import AsyncMySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from domain.errors import StorageError
from storage.database import QUERIES, Database, translate_error
from storage.state_bytes import StateBytes, classes_in

logger = logging.getLogger(__name__)
_CONNECT_SECONDS = 5


@asynccontextmanager
async def open_checkpoints(database: Database, *kept: type) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """Provide a LangGraph checkpointer on the same server as `database`, with one connection of its own.

    `kept` are the classes of ours that the graph's state may hold. A connection that was lost is opened again by the
    next call. Its methods raise StorageError.
    """
    allowed = [(held.__module__, held.__qualname__) for held in kept]
    async with _open_pool(database) as pool:
        yield _Saver(pool, serde=JsonPlusSerializer(allowed_msgpack_modules=allowed))


@asynccontextmanager
async def open_state(database: Database, state: type) -> AsyncIterator[BaseCheckpointSaver[str]]:
    """Provide a checkpointer for a graph whose state is of an annotated class; everything comes back as it was.

    What cannot be written ends nothing: the run goes on, and from then on nothing more of it is kept. Reading raises
    StorageError, also for what another version of the classes wrote.
    """
    async with _open_pool(database) as pool:
        yield _PatientSaver(pool, serde=StateBytes(classes_in(state)))


@asynccontextmanager
async def _open_pool(database: Database) -> AsyncIterator[Any]:
    pool: Any = asyncmy.create_pool(
        minsize=0,
        maxsize=1,
        autocommit=True,
        init_command=QUERIES["session_settings"],
        charset="utf8mb4",
        **database.address,
    )
    async with pool as opened:
        yield opened


class _Saver(AsyncMySaver):
    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        try:
            async with super()._cursor(pipeline=pipeline) as cursor:
                yield cursor
        except (Error, OSError) as exc:
            raise _translate(exc) from exc


class _PatientSaver(_Saver):
    """Keeps what it can. What is behind a gap is not kept: a run is taken up at the last state that is whole."""

    _lost = False

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        if not self._lost:
            try:
                return await super().aput(config, checkpoint, metadata, new_versions)
            except StorageError as exc:
                self._lose(config, exc)
        place = {**config["configurable"], "checkpoint_id": checkpoint["id"]}
        return {"configurable": {name: place[name] for name in ("thread_id", "checkpoint_ns", "checkpoint_id")}}

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        if not self._lost:
            try:
                await super().aput_writes(config, writes, task_id, task_path)
            except StorageError as exc:
                self._lose(config, exc)

    def _lose(self, config: RunnableConfig, exc: StorageError) -> None:
        self._lost = True
        facts = {"run": config["configurable"]["thread_id"], "reason": str(exc)}
        logger.warning("The state of a run is no longer kept.", extra=facts)


def _translate(exc: Exception) -> StorageError:
    number = exc.args[0] if exc.args and isinstance(exc.args[0], int) else None
    return translate_error(_Numbered(str(exc), number) if number is not None else exc, "checkpoints")


class _Numbered(Exception):
    def __init__(self, text: str, errno: int) -> None:
        super().__init__(text)
        self.errno = errno

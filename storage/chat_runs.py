"""Questions asked over the chat API while they are worked on: who works on each, and what it told, in order."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import NotFound
from domain.times import SECOND_US
from storage.database import Database, Row, Transaction
from storage.run_states import forget_state


@dataclass(frozen=True, slots=True)
class ChatRun:
    """A question that is worked on. `status` is running, cancelling, done, failed or cancelled.

    `segment` counts the processes that worked on it: one that dies is followed by another.
    """

    id: str
    environment: str
    thread_id: str
    status: str
    owner: str
    segment: int
    created_us: int
    question: Mapping[str, Any]

    @classmethod
    def from_row(cls, row: Row) -> ChatRun:
        run_id, environment, thread_id, status, owner = (str(part) for part in row[:5])
        return cls(run_id, environment, thread_id, status, owner, int(row[5]), int(row[6]), json.loads(row[7]))


@dataclass(frozen=True, slots=True)
class ChatEvent:
    """One thing that a run told; `seq` counts from 1."""

    seq: int
    name: str
    data: Mapping[str, Any]


class ChatRunStore:
    """Keeps runs and their events."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, run: ChatRun) -> None:
        """Store a run that its owner begins to work on."""
        question = json.dumps(run.question, ensure_ascii=False)
        row = (run.id, run.environment, run.thread_id, run.owner, run.created_us, _now(), question)
        await self._database.execute("begin_chat_run", row)

    async def get(self, run_id: str) -> ChatRun:
        """Return a run; raises NotFound."""
        rows = await self._database.fetch("one_chat_run", (run_id,)) if run_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no run {run_id[:40]!r}: runs are kept for a week.")
        return ChatRun.from_row(rows[0])

    async def in_hand(self, environment: str, thread_id: str) -> Sequence[ChatRun]:
        """Return the runs of a thread that are worked on, oldest first."""
        rows = await self._database.fetch("chat_runs_in_hand", (environment, thread_id)) if thread_id.isascii() else []
        return [ChatRun.from_row(row) for row in rows]

    async def tell(self, run_id: str, name: str, data: Mapping[str, Any]) -> None:
        """Add an event at the end of a run's."""
        text = json.dumps(data, ensure_ascii=False, default=str)
        await self._database.execute("tell_chat_event", (run_id, name, text, run_id))

    async def events(self, run_id: str, after: int) -> Sequence[ChatEvent]:
        """Return what a run told after an event, in order."""
        rows = await self._database.fetch("chat_events_after", (run_id, after))
        return [ChatEvent(int(row[0]), str(row[1]), json.loads(row[2])) for row in rows]

    async def end(self, run: ChatRun, status: str) -> None:
        """Say how a run ended and forget the states it went through, unless somebody else works on it by now."""

        def end(tx: Transaction) -> None:
            if tx.execute("end_chat_run", (status, _now(), run.id, run.owner)):
                forget_state(tx, run.id)

        await self._database.transaction(end)

    async def cancel(self, run_id: str) -> bool:
        """Ask whoever works on a run to stop; False if nobody does any more."""
        return bool(await self._database.execute("cancel_chat_run", (run_id,)))

    async def touch(self, owner: str) -> Sequence[str]:
        """Say that an owner is still at work; return which of its runs are to be cancelled."""
        await self._database.execute("touch_chat_runs", (_now(), owner))
        return [str(row[0]) for row in await self._database.fetch("cancelling_chat_runs", (owner,))]

    async def take_over(self, owner: str, lost_seconds: float, limit: int) -> Sequence[ChatRun]:
        """Return runs whose owner has been silent for so long, which are this owner's from now on."""

        def take(tx: Transaction) -> list[ChatRun]:
            lost = [ChatRun.from_row(row) for row in tx.fetch("lost_chat_runs", (_now() - lost_us, limit))]
            return [
                replace(run, owner=owner, segment=run.segment + 1)
                for run in lost
                if tx.execute("take_over_chat_run", (owner, _now(), run.id, run.owner, run.segment))
            ]

        lost_us = round(lost_seconds * SECOND_US)
        return await self._database.transaction(take)

    async def drop(self, older_seconds: float) -> None:
        """Forget runs that ended so long ago."""
        before = _now() - round(older_seconds * SECOND_US)

        def drop(tx: Transaction) -> None:
            tx.execute("drop_old_chat_events", (before,))
            tx.execute("drop_old_chat_runs", (before,))

        await self._database.transaction(drop)


def _now() -> int:
    return time.time_ns() // 1000

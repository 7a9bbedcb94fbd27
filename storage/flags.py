"""Runs that stand out and should be looked at: raised once each, settled by a person."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from storage.database import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class TraceFlag:
    """Why a run should be looked at; `trace_id` is "" for what is about no single run."""

    trace_id: str
    kind: str
    about: str
    text: str
    raised_us: int
    settled_us: int | None = None
    settled_by: str = ""

    @classmethod
    def from_row(cls, row: Row) -> TraceFlag:
        settled = None if row[5] is None else int(row[5])
        return cls(str(row[0]), str(row[1]), str(row[2]), str(row[3]), int(row[4]), settled, str(row[6]))


class FlagStore:
    """The flags of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def raise_all(self, flags: Sequence[TraceFlag]) -> Sequence[TraceFlag]:
        """Store flags and return those that are new; one that was settled stays so."""

        def work(tx: Transaction) -> list[TraceFlag]:
            rows = [(f.trace_id, f.kind, f.about[:128], f.text[:4000], f.raised_us) for f in flags]
            return [flag for flag, row in zip(flags, rows, strict=True) if tx.execute("insert_trace_flag", row)]

        return await self._database.transaction(work) if flags else []

    async def page(self, settled: bool = False, limit: int = 100) -> Sequence[TraceFlag]:
        """Return the newest flags, open or settled ones."""
        rows = await self._database.fetch("list_trace_flags", (int(settled), limit))
        return [TraceFlag.from_row(row) for row in rows]

    async def settle(self, trace_id: str, by: str) -> int:
        """Settle the flags of a run; return how many there were."""
        if not trace_id.isascii():
            return 0
        return await self._database.execute("settle_trace_flags", (time.time_ns() // 1000, by[:128], trace_id))

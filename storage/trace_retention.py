"""Traces of other programs are dropped by their age since the last of them arrived, with everything that was said of them.

Our own runs stay: incidents lead to them. So does what somebody still has an open case about.
"""

from __future__ import annotations

import asyncio
import logging
import time

from domain.times import HOUR_US
from storage.database import Database, Transaction
from storage.hourly import hourly

logger = logging.getLogger(__name__)

_AT_ONCE = 200
_BREATH_SECONDS = 0.01
_FIRST_SECONDS = 90.0
# In this order: events of cases are found by their cases.
_DROPS = (
    "drop_trace_case_events",
    "drop_trace_cases",
    "drop_trace_flags",
    "drop_trace_reviews",
    "drop_trace_evaluations",
    "drop_trace_events",
    "drop_trace",
)


class TraceRetention:
    """Drops traces of other programs to which nothing was added for `days`; 0 keeps them for ever."""

    def __init__(self, database: Database, days: float) -> None:
        self._database = database
        self._days = days

    async def drop(self) -> int:
        """Drop what is too old and return how many traces that was; raises StorageError."""
        if not self._days:
            return 0
        before_us = time.time_ns() // 1000 - round(self._days * 24 * HOUR_US)
        dropped = 0
        while rows := await self._database.fetch("old_agent_traces", (before_us, _AT_ONCE)):
            for row in rows:
                dropped += await self._drop_one(str(row[0]), before_us)
                await asyncio.sleep(_BREATH_SECONDS)
        return dropped

    async def run(self, stop: asyncio.Event) -> None:
        """Drop what is too old every hour until `stop` is set. Outlives failures of the database."""

        async def step() -> None:
            if dropped := await self.drop():
                logger.info("Old traces of other programs were dropped", extra={"traces": dropped})

        await hourly(step, stop, _FIRST_SECONDS, "Old traces could not be dropped")

    async def _drop_one(self, trace_id: str, before_us: int) -> int:
        def work(tx: Transaction) -> int:
            if not tx.fetch("still_old_agent_trace", (trace_id, before_us)):  # something of it has just come
                return 0
            for query in _DROPS:
                tx.execute(query, (trace_id,))
            return 1

        return await self._database.transaction(work)

"""Raw telemetry is dropped by its age since arrival; counts, templates, the topology and cited records stay.

Log events, spans and metric points go in small transactions, oldest first, so that ingest and questions go on meanwhile. A
run that is broken off is taken up by the next one. Any number of processes may run one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from domain.errors import StorageError
from domain.times import HOUR_US
from storage.database import Database

logger = logging.getLogger(__name__)

_ROWS = 2_000
_BREATH_SECONDS = 0.01  # between two transactions
_HOURS = 6  # between two runs of a server
_FIRST_SECONDS = 60.0
_DROPS = {
    "log_events": "retention_drop_logs",
    "spans": "retention_drop_spans",
    "metric_points": "retention_drop_metrics",
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many records of each kind are dropped, or are to be."""

    log_events: int = 0
    spans: int = 0
    metric_points: int = 0


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """What is kept: for how many days (0: for ever), since when (microseconds), and what the next run drops."""

    days: float
    oldest_us: int | None
    due: Dropped


class Retention:
    """Drops what arrived more than `days` ago; 0 keeps everything. Every method raises StorageError."""

    def __init__(self, database: Database, days: float) -> None:
        self._database = database
        self._days = days

    async def drop(self, progress: Callable[[Dropped], None] = lambda dropped: None) -> Dropped:
        """Drop what is too old and return how much that was; `progress` is told of it as it goes."""
        dropped = dict.fromkeys(_DROPS, 0)
        cutoff = await self._cutoff()
        for kind, query in _DROPS.items():
            while cutoff and (gone := await self._database.execute(query, (cutoff, _ROWS))):
                dropped[kind] += gone
                progress(Dropped(**dropped))
                await asyncio.sleep(_BREATH_SECONDS)
        return Dropped(**dropped)

    async def status(self) -> RetentionStatus:
        """Return what is kept and what would be dropped now."""
        cutoff = await self._cutoff()
        counts = (await self._database.fetch("retention_counts", (cutoff,) * 3))[0]
        oldest = (await self._database.fetch("retention_oldest"))[0][0]
        return RetentionStatus(self._days, None if oldest is None else int(oldest), Dropped(*map(int, counts)))

    async def run(self, stop: asyncio.Event) -> None:
        """Drop what is too old a few times a day until `stop` is set. Outlives failures of the database."""
        pause = _FIRST_SECONDS
        while self._days:
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
            if stop.is_set():
                return
            pause = _HOURS * 3600.0
            try:
                dropped = await self.drop()
            except StorageError as exc:
                logger.warning("What is too old could not be dropped", extra={"reason": str(exc)})
                pause = _FIRST_SECONDS
            else:
                if dropped != Dropped():
                    logger.info("What is too old was dropped", extra={"dropped": dropped})

    async def _cutoff(self) -> int:
        """Return the `seq` up to which everything is to go; 0 for nothing."""
        if not self._days:
            return 0
        oldest_us = time.time_ns() // 1000 - round(self._days * 24 * HOUR_US)
        return int((await self._database.fetch("retention_cutoff", (oldest_us,)))[0][0])

"""Raw telemetry is dropped by its age since arrival, or by its size; counts, templates, the topology and cited records stay.

Whole days of log events go at once (`storage/partitions.py`). What else is due goes in small transactions, oldest first, so
that ingest and questions go on meanwhile. A run that is broken off is taken up by the next one. Any number of processes may
run one.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from domain.errors import StorageError
from domain.times import HOUR_US
from storage.database import Database
from storage.hourly import hourly
from storage.partitions import LogPartitions

logger = logging.getLogger(__name__)

_ROWS = 2_000
_BREATH_SECONDS = 0.01  # between two transactions
_FIRST_SECONDS = 60.0
_STEP = 0.05  # of what there is, when size is the reason
_DROPS = {
    "log_events": "retention_drop_logs",
    "spans": "retention_drop_spans",
    "metric_points": "retention_drop_metrics",
    "arrivals": "retention_drop_arrivals",  # no records: they only say what there was
}


@dataclass(frozen=True, slots=True)
class Dropped:
    """How many records of each kind are dropped, or are to be."""

    log_events: int = 0
    spans: int = 0
    metric_points: int = 0

    @property
    def total(self) -> int:
        """How many records that is."""
        return self.log_events + self.spans + self.metric_points


@dataclass(frozen=True, slots=True)
class RetentionStatus:
    """What is kept: for how many days (0: for ever), since when (microseconds), and what the next run drops for its age.

    `held` deliveries are too old and stay until the topology has read them, as it does while a server runs.
    `size` is what raw telemetry takes in the database, `max_bytes` what it may (0: any), both in bytes.
    """

    days: float
    oldest_us: int | None
    due: Dropped
    size: int = 0
    max_bytes: int = 0
    held: int = 0


class Retention:
    """Drops what arrived more than `days` ago, and the oldest of what is more than `max_bytes`; 0 is no bound.

    Every method raises StorageError.
    """

    def __init__(self, database: Database, days: float, max_bytes: int = 0) -> None:
        self._database = database
        self._days = days
        self._max_bytes = max_bytes
        self._partitions = LogPartitions(database)

    async def drop(self, progress: Callable[[Dropped], None] = lambda dropped: None) -> Dropped:
        """Drop what is too old or too much and return how much that was; `progress` is told of it as it goes."""
        await self._partitions.prepare(time.time_ns() // 1000)
        dropped = await self._drop_until(await self._cutoff(), Dropped(), progress)
        return await self._drop_to_size(dropped, progress) if self._max_bytes else dropped

    async def _drop_until(self, cutoff: int, before: Dropped, progress: Callable[[Dropped], None]) -> Dropped:
        """Drop what came with deliveries up to `cutoff`; return that and what was dropped before."""
        dropped = asdict(before)
        if not cutoff:
            return before
        dropped["log_events"] += await self._partitions.drop(cutoff, time.time_ns() // 1000)
        for kind, query in _DROPS.items():
            while gone := await self._database.execute(query, (cutoff, _ROWS)):
                if kind in dropped:
                    dropped[kind] += gone
                    progress(Dropped(**dropped))
                await asyncio.sleep(_BREATH_SECONDS)
        return Dropped(**dropped)

    async def _drop_to_size(self, dropped: Dropped, progress: Callable[[Dropped], None]) -> Dropped:
        """Drop the oldest deliveries, step by step, until as many records are gone as are too much.

        By records, not by measuring again: the server frees the space of what was deleted some time later.
        """
        size, records = await self._measure()
        if size <= self._max_bytes or not records:
            return dropped
        target = dropped.total + records * (1 - self._max_bytes / size)
        while dropped.total < target:
            oldest, newest = map(int, (await self._database.fetch("raw_deliveries"))[0])
            if oldest > newest:
                logger.warning("More than the bound is kept: nothing else may be dropped yet", extra={"bytes": size})
                break
            dropped = await self._drop_until(oldest + int((newest - oldest) * _STEP), dropped, progress)
        return dropped

    async def _measure(self) -> tuple[int, int]:
        """Return the bytes and the number of raw records, about."""
        await self._database.fetch("refresh_sizes")
        size, records = (await self._database.fetch("raw_sizes"))[0]
        return int(size), int(records)

    async def status(self) -> RetentionStatus:
        """Return what is kept and what would be dropped now."""
        cutoff = await self._cutoff()
        counts = (await self._database.fetch("retention_counts", (cutoff,) * 3))[0]
        oldest = (await self._database.fetch("retention_oldest"))[0][0]
        size, _ = await self._measure()
        due = Dropped(*map(int, counts))
        since = None if oldest is None else int(oldest)
        return RetentionStatus(self._days, since, due, size, self._max_bytes, await self.count_held())

    async def count_held(self) -> int:
        """Return how many deliveries are too old, but stay until the topology has read them."""
        return int((await self._database.fetch("retention_held", (self._oldest_us(),)))[0][0]) if self._days else 0

    async def run(self, stop: asyncio.Event) -> None:
        """Drop what is too old or too much every hour until `stop` is set. Outlives failures of the database.

        The days to come are made at once: one that has log events already takes as long as these.
        """

        async def step() -> None:
            dropped = await self.drop()
            if dropped != Dropped():
                logger.info("Old telemetry was dropped", extra={"dropped": dropped})

        try:
            await self._partitions.prepare(time.time_ns() // 1000)
        except StorageError as exc:
            logger.warning("The days of log events could not be made", extra={"reason": str(exc)})
        await hourly(step, stop, _FIRST_SECONDS, "Old telemetry could not be dropped")

    async def _cutoff(self) -> int:
        """Return the `seq` up to which everything is to go; 0 for nothing."""
        if not self._days:
            return 0
        return int((await self._database.fetch("retention_cutoff", (self._oldest_us(),)))[0][0])

    def _oldest_us(self) -> int:
        return time.time_ns() // 1000 - round(self._days * 24 * HOUR_US)

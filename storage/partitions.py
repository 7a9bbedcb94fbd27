"""Log events lie in one partition a day, by their own time, so that old days go at once and give their space back.

A partition holds what happened before its day's end and after the end of the one before it; the first also takes whatever
is older, the last one whatever lies in the future. Days are made ahead, while the last partition is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from domain.times import DAY_US, from_us
from storage.database import Database, Transaction

AHEAD_DAYS = 3
_LAST = "later"
_WAIT_SECONDS = 5  # for statements that use the table; longer, and everybody would queue behind us


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition of `log_event`: events from `from_us` until before `until_us`, in microseconds; None: no bound."""

    name: str
    from_us: int | None
    until_us: int | None


class LogPartitions:
    """The partitions of `log_event`. Any number of processes may tend them at once. Methods raise StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list(self) -> list[Partition]:
        """Return the partitions, oldest first."""
        return await self._database.transaction(_read)

    async def prepare(self, now_us: int) -> int:
        """Make the partitions of today and of the days to come that are missing; return how many."""
        return await self._alone(lambda tx: _prepare(tx, now_us), 0)

    async def drop(self, cutoff_seq: int, now_us: int) -> int:
        """Drop each past day of which nothing arrived after a delivery; return how many log events that were."""

        def work(tx: Transaction) -> int:
            past = [part for part in _read(tx) if part.until_us is not None and part.until_us <= now_us]
            return sum(_drop(tx, part, cutoff_seq) for part in past)

        return await self._alone(work, 0)

    async def _alone[T](self, work: Callable[[Transaction], T], otherwise: T) -> T:
        """Run work unless another process is at it."""

        def locked(tx: Transaction) -> T:
            if tx.fetch("take_partition_lock")[0][0] != 1:
                return otherwise
            try:
                return work(tx)
            finally:
                tx.fetch("release_partition_lock")

        return await self._database.transaction(locked)


def _read(tx: Transaction) -> list[Partition]:
    found, below = [], None
    for name, bound in tx.fetch("log_partitions"):
        until = None if str(bound) == "MAXVALUE" else int(bound)
        found.append(Partition(str(name), below, until))
        below = until
    return found


def _prepare(tx: Transaction, now_us: int) -> int:
    today = now_us - now_us % DAY_US
    last = max((part.until_us for part in _read(tx) if part.until_us is not None), default=today - DAY_US)
    # Days on which no server ran have one partition together.
    missing = list(range(max(last + DAY_US, today), today + AHEAD_DAYS * DAY_US + 1, DAY_US))
    if not missing:
        return 0
    days = [f"PARTITION {_name(end)} VALUES LESS THAN ({end})" for end in missing]
    rest = f"PARTITION {_LAST} VALUES LESS THAN MAXVALUE"
    tx.run_script(
        [f"ALTER TABLE log_event WAIT {_WAIT_SECONDS} REORGANIZE PARTITION {_LAST} INTO ({', '.join([*days, rest])})"]
    )
    return len(missing)


def _name(until_us: int) -> str:
    return f"before_{from_us(until_us):%Y%m%d}"


def _drop(tx: Transaction, part: Partition, cutoff_seq: int) -> int:
    """Drop a partition of which all had arrived by a delivery. Nobody can write to it between the look and the drop."""
    bounds = (part.from_us if part.from_us is not None else -(2**62), part.until_us)
    if tx.fetch("log_events_after", (cutoff_seq, *bounds)):
        return 0
    events = int(tx.fetch("count_log_events", bounds)[0][0])
    tx.run_script([f"LOCK TABLES log_event WRITE WAIT {_WAIT_SECONDS}"])
    try:
        if tx.fetch("log_events_after", (cutoff_seq, *bounds)):
            return 0
        tx.run_script([f"ALTER TABLE log_event DROP PARTITION {part.name}"])
    finally:
        tx.run_script(["UNLOCK TABLES"])
    return events

"""Calls per edge and minute with a latency sketch: added up by the topology's follower, in its transaction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from domain.sketch import LatencySketch
from domain.times import MINUTE_US, Window, floor_slot
from storage.database import Database, Row, Transaction

_KEYS = 1000

# environment, caller, callee, observed_by, minute_us
type MinuteKey = tuple[str, str, str, str, int]


@dataclass(frozen=True, slots=True)
class CallMinute:
    """The calls of one edge in one minute; durations are the caller's, in microseconds."""

    environment: str
    caller: str
    callee: str
    observed_by: str
    minute_us: int
    count: int
    errors: int
    durations: LatencySketch

    @classmethod
    def from_row(cls, row: Row) -> CallMinute:
        environment, caller, callee, observed_by, minute_us, count, errors, durations = row
        names = (str(environment), str(caller), str(callee), str(observed_by))
        return cls(*names, int(minute_us), int(count), int(errors), LatencySketch.from_text(durations))

    @property
    def key(self) -> MinuteKey:
        """What names it."""
        return (self.environment, self.caller, self.callee, self.observed_by, self.minute_us)


class MinuteSums:
    """Calls of a turn, added up per edge and minute; those that are taken out count less than nothing."""

    def __init__(self) -> None:
        self._sums: dict[MinuteKey, CallMinute] = {}

    def add(self, edge: tuple[str, str, str, str], time_us: int, bucket: int, count: int, errors: int) -> None:
        """Count calls of one edge (environment, caller, callee, observed_by) and one bucket of duration."""
        self._merge(CallMinute(*edge, floor_slot(time_us, MINUTE_US), count, errors, LatencySketch({bucket: count})))

    def write(self, tx: Transaction) -> None:
        """Add the sums to what is stored."""
        for keys in batched(sorted(self._sums), _KEYS):
            for row in tx.fetch("call_minutes_known", (json.dumps(keys, ensure_ascii=False),)):
                self._merge(CallMinute.from_row(row))
        # Less than nothing: of a call from before there were minutes.
        standing = [_row(minute) for _, minute in sorted(self._sums.items()) if minute.count > 0]
        gone = [key for key, minute in sorted(self._sums.items()) if minute.count <= 0]
        tx.execute_many("call_minutes_put", standing)
        tx.execute_many("call_minutes_remove", gone)

    def _merge(self, minute: CallMinute) -> None:
        known = self._sums.get(minute.key)
        self._sums[minute.key] = minute if known is None else _plus(known, minute)


class CallMinutes:
    """Reads the calls per minute of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def between(self, environment: str, window: Window) -> Sequence[CallMinute]:
        """Return the calls of every edge in the minutes that begin in a window."""
        rows = await self._database.fetch("call_minutes_between", (environment, window.start_us, window.end_us))
        return [CallMinute.from_row(row) for row in rows]

    async def of_edge(self, environment: str, caller: str, callee: str, window: Window) -> Sequence[CallMinute]:
        """Return the calls from one service to another in the minutes that begin in a window, oldest first."""
        rows = await self._database.fetch(
            "call_minutes_of_edge", (environment, caller, callee, window.start_us, window.end_us)
        )
        return [CallMinute.from_row(row) for row in rows]


def sum_by_edge(minutes: Iterable[CallMinute]) -> Mapping[tuple[str, str], CallMinute]:
    """Return one line per caller and callee: all its minutes, whoever observed them, under the first one's time."""
    sums: dict[tuple[str, str], CallMinute] = {}
    for minute in minutes:
        known = sums.get((minute.caller, minute.callee))
        sums[minute.caller, minute.callee] = minute if known is None else _plus(known, minute)
    return sums


def _plus(one: CallMinute, other: CallMinute) -> CallMinute:
    return CallMinute(
        one.environment,
        one.caller,
        one.callee,
        one.observed_by,
        min(one.minute_us, other.minute_us),
        one.count + other.count,
        one.errors + other.errors,
        one.durations.plus(other.durations),
    )


def _row(minute: CallMinute) -> Row:
    return (*minute.key, minute.count, minute.errors, minute.durations.to_text())

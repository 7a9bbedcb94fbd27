"""Searching the traces: filters, counts per value, and what happened in the last hours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from domain.times import HOUR_US, LATEST_US
from storage.database import Database
from storage.trace_rows import TraceRow


@dataclass(frozen=True, slots=True)
class TraceFilter:
    """Which traces are looked for; what is empty does not matter. `search` is looked for in texts and names."""

    environment: str = ""
    source: str = ""
    status: str = ""
    outcome: str = ""
    action: str = ""
    service: str = ""
    intent: str = ""
    model: str = ""
    thread_id: str = ""
    user_id: str = ""
    search: str = ""
    open_spans: bool = False
    from_us: int = 0
    before_us: int = LATEST_US

    def parameters(self) -> tuple[Any, ...]:
        """Return the parameters of the queries in traces.sql, in their order."""
        names = (
            self.environment,
            self.source,
            self.status,
            self.outcome,
            self.action,
            self.service,
            self.intent,
            self.model,
            self.thread_id,
            self.user_id,
        )
        escaped = self.search.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        like = f"%{escaped}%"
        twice = (value for name in names for value in (name, name))
        return (self.from_us, self.before_us, *twice, int(self.open_spans), self.search, like, like)


@dataclass(frozen=True, slots=True)
class Totals:
    """Some traces summed up: how many, how long they took (seconds), what they cost, how many stages never ended or failed."""

    traces: int
    median_seconds: float | None
    p95_seconds: float | None
    tokens: int
    cost: float
    spans: int
    open_spans: int
    failed_spans: int
    with_open_spans: int

    @property
    def completion_rate(self) -> float:
        """Return which part of the stages that began has ended; 1 where none began."""
        return (self.spans - self.open_spans) / self.spans if self.spans else 1.0


@dataclass(frozen=True, slots=True)
class Overview:
    """Traces of some hours: summed up, and how they ended."""

    hours: float
    totals: Totals
    by_status: dict[str, int]
    by_action: dict[str, int]
    by_source: dict[str, int]
    by_model: dict[str, int]


class TraceSearch:
    """Reads the rows of table `trace`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, wanted: TraceFilter, limit: int = 50, offset: int = 0) -> Sequence[TraceRow]:
        """Return the newest traces that fit."""
        rows = await self._database.fetch("search_traces", (*wanted.parameters(), limit, offset))
        return [TraceRow.from_row(row) for row in rows]

    async def facets(self, wanted: TraceFilter) -> dict[str, dict[str, int]]:
        """Return how many of the traces that fit have which value: status, source, action, outcome, model ..."""
        found: dict[str, dict[str, int]] = {}
        for name, value, count in await self._database.fetch("trace_facets", wanted.parameters()):
            found.setdefault(str(name), {})[str(value)] = int(count)
        return found

    async def overview(self, hours: float = 24.0, environment: str = "") -> Overview:
        """Return what the traces say that began in the last hours."""
        since = time.time_ns() // 1000 - round(hours * HOUR_US)
        wanted = TraceFilter(environment=environment, from_us=since)
        facets = await self.facets(wanted)
        return Overview(
            hours=hours,
            totals=await self.totals(wanted),
            by_status=facets.get("status", {}),
            by_action=facets.get("action", {}),
            by_source=facets.get("source", {}),
            by_model=facets.get("model", {}),
        )

    async def totals(self, wanted: TraceFilter) -> Totals:
        """Return the traces that fit summed up."""
        sums = (await self._database.fetch("trace_sums", wanted.parameters()))[0]
        spent = await self._database.fetch("trace_durations", wanted.parameters())
        median, late = (float(spent[0][0]), float(spent[0][1])) if spent else (None, None)
        return Totals(
            traces=int(sums[0]),
            median_seconds=median,
            p95_seconds=late,
            tokens=int(sums[1]),
            cost=float(sums[2]),
            spans=int(sums[3]),
            open_spans=int(sums[4]),
            failed_spans=int(sums[5]),
            with_open_spans=int(sums[6]),
        )

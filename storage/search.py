"""What may be found by a search: everything within one environment and one window, bounded in rows, as typed rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from domain.observed import ChangeRow, LogRow, OrchestratorRow
from domain.times import DAY_US, Window, floor_slot
from storage.database import Database, Row

MOST = 2_000
"""Rows of one kind that are looked through, the newest."""

_MOST_INCIDENTS = 1_000
_TRACE_SLOT_US = 300_000_000  # of `log_event.trace_slot`


@dataclass(frozen=True, slots=True)
class WrittenTemplate:
    """A log template with who wrote it in a window (or in a stretch around it) and how often; times in microseconds."""

    id: int
    services: tuple[str, ...]
    level: int
    lines: int
    errors: int
    first_us: int
    last_us: int


@dataclass(frozen=True, slots=True)
class FoundIncident:
    """An incident with the beginning of its answer; `signature` are the words that say what it is like."""

    id: str
    created_us: int
    started_us: int | None
    service: str
    title: str
    question: str
    outcome: str
    answer: str
    cause: str
    fault_class: str
    runbook: str
    signature: tuple[str, ...]

    @classmethod
    def from_row(cls, row: Row) -> FoundIncident:
        started = None if row[2] is None else int(row[2])
        service, title, question, outcome, answer, cause, fault_class, runbook = (
            str(value or "") for value in row[3:11]
        )
        return cls(
            id=str(row[0]),
            created_us=int(row[1]),
            started_us=started,
            service=service,
            title=title,
            question=question,
            outcome=outcome,
            answer=answer,
            cause=cause,
            fault_class=fault_class,
            runbook=runbook,
            signature=tuple(json.loads(row[11])),
        )


@dataclass(frozen=True, slots=True)
class FoundRun:
    """A trace of an agent run: ours, or one that another program sent."""

    id: str
    started_us: int
    question: str
    name: str
    service: str
    outcome: str
    status: str
    text: str


@dataclass(frozen=True, slots=True)
class FoundRequest:
    """A request trace by its first span; `spans` is how many it has."""

    service: str
    name: str
    start_us: int
    duration_us: int
    error: bool
    status_message: str
    span_id: str
    spans: int

    @classmethod
    def from_row(cls, row: Row) -> FoundRequest:
        return cls(
            str(row[0]), str(row[1]), int(row[2]), int(row[3]), bool(row[4]), str(row[5]), str(row[6]), int(row[7])
        )


class SearchStore:
    """Reads what a search looks through. Raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def errors(self, environment: str, window: Window, limit: int) -> dict[str, int]:
        """Return how many lines of level ERROR and above each service wrote, those with the most; by whole slots."""
        asked = (environment, floor_slot(window.start_us), window.end_us, limit)
        return {str(service): int(lines) for service, lines in await self._database.fetch("search_errors", asked)}

    async def written(self, environment: str, window: Window, most: int) -> list[WrittenTemplate] | None:
        """Return every log template written in a window; None where there may be more than `most`."""
        scope = (environment, window.start_us, window.end_us)
        if int((await self._database.fetch("search_count_written", (*scope, most + 1)))[0][0]) > most:
            return None
        return _templates(await self._database.fetch("search_written", scope))

    async def written_of(self, environment: str, window: Window, ids: Iterable[int]) -> list[WrittenTemplate]:
        """Return those of some log templates that were written in a window."""
        named = json.dumps([str(number) for number in ids])
        rows = await self._database.fetch("search_written_of", (named, environment, window.start_us, window.end_us))
        return _templates(rows)

    async def templates_with_words(self, words: Sequence[str], limit: int) -> list[int]:
        """Return the log templates of all environments that hold any of some words, by MariaDB's full text."""
        text = " ".join(words)
        return [int(row[0]) for row in await self._database.fetch("search_template_words", (text, text, limit))]

    async def template_texts(self, ids: Iterable[int]) -> dict[int, str]:
        """Return the masked texts of templates."""
        rows = await self._database.fetch("template_texts", (json.dumps(list(ids)),))
        return {int(number): str(text) for number, text in rows}

    async def newest_line_us(self, environment: str, window: Window) -> int | None:
        """Return when the newest line of a window was written; None where there is none."""
        rows = await self._database.fetch("search_newest_line", (environment, window.start_us, window.end_us))
        return int(rows[0][0]) if rows else None

    async def newest_lines(self, environment: str, window: Window, template_ids: Iterable[int]) -> dict[int, LogRow]:
        """Return the newest line of each of some templates."""
        ids = json.dumps(list(template_ids))
        rows = await self._database.fetch("search_newest_lines", (environment, window.start_us, window.end_us, ids))
        return {int(row[4]): LogRow(*row) for row in rows}

    async def lines(self, environment: str, window: Window, text: str, limit: int) -> list[LogRow]:
        """Return the newest lines that hold a text; raises StorageError where that takes longer than a second."""
        rows = await self._database.fetch("search_lines", (environment, window.start_us, window.end_us, text, limit))
        return [LogRow(*row) for row in rows]

    async def lines_of_trace(self, environment: str, window: Window, trace_id: str, limit: int) -> list[LogRow]:
        """Return the lines of a request trace, the gravest first: those of the last two days that it was at work."""
        found: list[LogRow] = []
        until = window.end_us
        while (newest := await self.newest_line_us(environment, Window(window.start_us, until))) is not None:
            day = Window(max(window.start_us, newest - DAY_US), newest + 1)
            slots = json.dumps(list(range(day.start_us // _TRACE_SLOT_US, day.end_us // _TRACE_SLOT_US + 2)))
            asked = (slots, trace_id, trace_id, environment, day.start_us, day.end_us, limit)
            rows = [LogRow(*row) for row in await self._database.fetch("search_lines_of_trace", asked)]
            done = bool(found)
            found += rows
            if done or day.start_us == window.start_us:
                break
            until = day.start_us
        return sorted(found, key=lambda row: (-row.level, row.time_us, row.id))[:limit]

    async def request(self, environment: str, window: Window, trace_id: str) -> FoundRequest | None:
        """Return a request trace by its id."""
        asked = (environment, trace_id, window.start_us, window.end_us)
        rows = await self._database.fetch("search_span_of_trace", asked)
        return FoundRequest.from_row(rows[0]) if rows else None

    async def changes(self, environment: str, window: Window) -> list[ChangeRow]:
        """Return the newest changes of a window."""
        asked = (environment, window.start_us, window.end_us, MOST)
        return [ChangeRow(*row) for row in await self._database.fetch("search_changes", asked)]

    async def changes_of(self, environment: str, window: Window, ids: Iterable[str]) -> list[ChangeRow]:
        """Return those of some changes that are of a window."""
        asked = (json.dumps(list(ids)), environment, window.start_us, window.end_us)
        return [ChangeRow(*row) for row in await self._database.fetch("search_changes_of", asked)]

    async def events(self, environment: str, window: Window) -> list[OrchestratorRow]:
        """Return the orchestrator's newest events of a window."""
        asked = (environment, window.start_us, window.end_us, MOST)
        return [OrchestratorRow(*row) for row in await self._database.fetch("search_events", asked)]

    async def incidents(self, environment: str, window: Window) -> list[FoundIncident]:
        """Return the newest incidents that were opened in a window, of one environment or ("") of all."""
        asked = (environment, environment, window.start_us, window.end_us, _MOST_INCIDENTS)
        return [FoundIncident.from_row(row) for row in await self._database.fetch("search_incidents", asked)]

    async def incidents_state(self) -> tuple[int, int]:
        """Return what changes whenever an incident comes or gets another answer."""
        count, sum_of_runs = (await self._database.fetch("search_incidents_state"))[0]
        return int(count), int(sum_of_runs)

    async def runs(self, environment: str, window: Window) -> list[FoundRun]:
        """Return the newest traces of agent runs of a window."""
        asked = (environment, window.start_us, window.end_us, MOST)
        return [FoundRun(*row) for row in await self._database.fetch("search_runs", asked)]


def _templates(rows: Iterable[Row]) -> list[WrittenTemplate]:
    held: defaultdict[int, list[Row]] = defaultdict(list)
    for row in rows:
        held[int(row[0])].append(row)
    return [
        WrittenTemplate(
            id=number,
            services=tuple(sorted({str(row[1]) for row in own})),
            level=max(int(row[2]) for row in own),
            lines=sum(int(row[3]) for row in own),
            errors=sum(int(row[4]) for row in own),
            first_us=min(int(row[5]) for row in own),
            last_us=max(int(row[6]) for row in own),
        )
        for number, own in sorted(held.items())
    ]

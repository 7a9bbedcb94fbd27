"""Decision traces kept twice: events in MariaDB, and one JSON file per trace. Either may fail without the other.

The events are the truth. The `trace` row is the fold of a trace's events, renewed in the transaction that adds some.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from domain.errors import NotFound, StorageError, StorageFull, StorageUnavailable
from domain.times import LATEST_US, SECOND_US
from storage.database import Database, Row, Transaction
from storage.durable_files import translate_os_error, write_durably
from tracing.events import Event, encode_payload, make_amendment, make_event_id
from tracing.fold import TraceView, fold

logger = logging.getLogger(__name__)

SCHEMA_VERSION: Final = 1
_TRACE_ID = re.compile(r"trc_\d{8}_\d{6}_[0-9a-f]{8}")
_BACKLOG = 20_000
_DATABASE_SECONDS = 4.0
_FILE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class TraceRow:
    """What a list of traces shows of one."""

    id: str
    environment: str
    question: str
    status: str
    outcome: str
    action: str
    started_us: int
    ended_us: int | None
    decisions: int
    queries: int
    evidence: int

    @classmethod
    def from_row(cls, row: Row) -> TraceRow:
        return cls(
            id=str(row[0]),
            environment=str(row[1]),
            question=str(row[2]),
            status=str(row[3]),
            outcome=str(row[4]),
            action=str(row[5]),
            started_us=int(row[6]),
            ended_us=None if row[7] is None else int(row[7]),
            decisions=int(row[8]),
            queries=int(row[9]),
            evidence=int(row[10]),
        )


def project(view: TraceView) -> TraceRow:
    """Return the row of a folded trace, its texts cut to the columns."""
    return TraceRow(
        id=view.id,
        environment=view.environment[:64],
        question=view.question[:16_000],
        status=view.status,
        outcome=_ascii(view.outcome, 16),
        action=_ascii(view.action, 24),
        started_us=view.started_us,
        ended_us=view.ended_us,
        decisions=len(view.decisions),
        queries=len(view.ledger),
        evidence=len(view.found),
    )


class TraceStore:
    """Reads and writes traces; `sink()` is what a running trace writes to."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        # One thread: writes of one trace's file must not overtake each other.
        self._files = ThreadPoolExecutor(1, thread_name_prefix="trace-files")

    def sink(self) -> DualSink:
        """Return a sink that keeps events in both places and never raises."""
        return DualSink(self)

    async def append(self, events: Sequence[Event]) -> int:
        """Store events that the database does not have yet, and return how many those were."""
        ordered = sorted(events, key=lambda event: event.trace_id)
        groups = [(trace_id, list(group)) for trace_id, group in groupby(ordered, key=lambda event: event.trace_id)]
        return await self._database.transaction(lambda tx: sum(_append(tx, *group) for group in groups))

    async def write_file(self, events: Sequence[Event]) -> None:
        """Add events to the files of their traces; raises StorageError."""
        await asyncio.get_running_loop().run_in_executor(self._files, self._write_files, list(events))

    async def list(self, environment: str | None, limit: int = 50, before_us: int = LATEST_US) -> Sequence[TraceRow]:
        """Return the newest traces that started before a moment, of one environment or (None) of all."""
        if environment is None:
            rows = await self._database.fetch("list_all_traces", (before_us, limit))
        else:
            rows = await self._database.fetch("list_traces", (environment, before_us, limit))
        return [TraceRow.from_row(row) for row in rows]

    async def events(self, trace_id: str, after_seq: int = 0) -> Sequence[tuple[int, Event]]:
        """Return a trace's stored events after a sequence number, each with its own: what a live view asks for."""
        rows = await self._database.fetch("trace_events_after", (trace_id, after_seq))
        return [(int(row[0]), _read_row(row)) for row in rows]

    async def load(self, trace_id: str) -> TraceView:
        """Return a trace from the database, or from its file if the database has none or fails; else NotFound."""
        if not _TRACE_ID.fullmatch(trace_id):
            raise NotFound(f"{trace_id[:80]!r} is not the id of a trace (trc_<date>_<time>_<8 hex>).")
        failure: StorageError | None = None
        events: Sequence[Event] = ()
        try:
            events = [event for _, event in await self.events(trace_id)]
        except StorageError as exc:
            failure = exc
        if not events:
            events = await asyncio.get_running_loop().run_in_executor(self._files, self._read_file, trace_id)
        if not events:
            raise failure or NotFound(f"There is no trace {trace_id}: see `causegraph trace list`.")
        return fold(events)

    async def amend(self, trace_id: str, patch: Mapping[str, Any], *, actor: str, reason: str) -> TraceView:
        """Correct a trace by a new event and return the trace as it now reads; raises NotFound or ValueError."""

        def work(tx: Transaction) -> Event:
            if not tx.fetch("lock_trace", (trace_id,)):
                raise NotFound(f"There is no trace {trace_id}: see `causegraph trace list`.")
            ordinal = int(tx.fetch("count_amendments", (trace_id,))[0][0])
            now_us = time.time_ns() // 1000
            event = make_amendment(trace_id, ordinal, patch, actor=actor, reason=reason, time_us=now_us)
            _append(tx, trace_id, [event])
            return event

        event = await self._database.transaction(work)
        try:
            await self.write_file([event])
        except StorageError:
            logger.warning("An amendment is not in the trace's file", extra={"trace_id": trace_id}, exc_info=True)
        return await self.load(trace_id)

    async def reconcile(self) -> int:
        """Store what files hold and the database lacks; return how many traces gained events.

        A file that cannot be read is named in the log and left alone.
        """
        gained = 0
        for path in sorted(await asyncio.to_thread(lambda: list(self._folder.glob("trc_*.json")))):
            if not _TRACE_ID.fullmatch(path.stem):
                continue
            try:
                events = await asyncio.get_running_loop().run_in_executor(self._files, self._read_file, path.stem)
            except StorageError:
                logger.warning("A trace's file cannot be read", extra={"path": str(path)}, exc_info=True)
                continue
            stored = int((await self._database.fetch("last_trace_seq", (path.stem,)))[0][1])
            if len(events) > stored or not stored:
                gained += bool(events and await self.append(events))
        return gained

    async def close_abandoned(self, silent_seconds: float = 3600.0) -> int:
        """End the runs from which nothing came for that long (their process died), and return how many there were.

        Their end is an event of its own, marked as such; if a run was alive after all, its own end counts instead.
        """
        now_us = time.time_ns() // 1000
        rows = await self._database.fetch("silent_traces", (now_us - int(silent_seconds * SECOND_US),))
        for (trace_id,) in rows:
            last = await self.events(str(trace_id))
            segment = max(event.segment for _, event in last)
            data = {"status": "failed", "seconds": 0.0, "error": f"abandoned: silent for {silent_seconds:g} s"}
            span_id = f"abandoned.{segment}"
            event_id = make_event_id(str(trace_id), span_id, "RUN_END", 0)
            end = Event(str(trace_id), event_id, "RUN_END", span_id, segment, -1, now_us, encode_payload(data))
            await self.append([end])
        return len(rows)

    def _write_files(self, events: Sequence[Event]) -> None:
        for trace_id in dict.fromkeys(event.trace_id for event in events):
            held = {event.event_id: event for event in self._read_file(trace_id, forgive=True)}
            held |= {event.event_id: event for event in events if event.trace_id == trace_id}
            document = {
                "schema_version": SCHEMA_VERSION,
                "trace_id": trace_id,
                "events": [event.to_json() for event in held.values()],
            }
            text = json.dumps(document, ensure_ascii=False, indent=1)
            write_durably(self._path(trace_id), text.encode())

    def _read_file(self, trace_id: str, *, forgive: bool = False) -> Sequence[Event]:
        path = self._path(trace_id)
        try:
            document = json.loads(path.read_bytes())
            return [Event.from_json(record) for record in document["events"]]
        except FileNotFoundError:
            return []
        except OSError as exc:
            raise translate_os_error(exc, path) from exc
        except (ValueError, KeyError, TypeError) as exc:
            if forgive:  # a damaged file must not keep what happens now from being written; it is kept aside
                path.replace(path.with_suffix(".damaged"))
                return []
            raise StorageError(f"{path} is not a trace's file: {exc}") from exc

    def _path(self, trace_id: str) -> Path:
        if not _TRACE_ID.fullmatch(trace_id):
            raise StorageError(f"{trace_id[:80]!r} is not the id of a trace.")
        return self._folder / f"{trace_id}.json"


class DualSink:
    """Writes a trace's events to its file and to the database, side by side. What one of them missed is sent again.

    Never raises: a run must not suffer from its record. What the database still lacks in the end, `reconcile` adds.
    """

    def __init__(
        self, store: TraceStore, database_seconds: float = _DATABASE_SECONDS, file_seconds: float = _FILE_SECONDS
    ) -> None:
        self._store = store
        self._seconds = {"database": database_seconds, "file": file_seconds}
        self._missed: dict[str, list[Event]] = {}
        self._told: set[str] = set()

    async def write(self, events: Sequence[Event]) -> None:
        """Keep events in both places, each within its own time."""
        await asyncio.gather(
            self._keep("database", self._store.append, events),
            self._keep("file", self._store.write_file, events),
        )

    async def _keep(
        self, place: str, write: Callable[[Sequence[Event]], Awaitable[object]], events: Sequence[Event]
    ) -> None:
        batch = [*self._missed.pop(place, ()), *events]
        try:
            async with asyncio.timeout(self._seconds[place]):
                await write(batch)
        except (StorageUnavailable, StorageFull, TimeoutError) as exc:
            self._miss(place, batch)
            self._tell(place, str(exc) or f"took longer than {self._seconds[place]:g} s")
        except asyncio.CancelledError:
            self._miss(place, batch)
            raise
        except StorageError as exc:  # refused, and would be again: the other place has it
            self._tell(place, str(exc))
        except Exception:
            logger.exception("Traces are kept in one place only", extra={"place": place})
        else:
            self._told.discard(place)

    def _miss(self, place: str, batch: list[Event]) -> None:
        self._missed[place] = [*batch, *self._missed.get(place, ())][-_BACKLOG:]

    def _tell(self, place: str, reason: str) -> None:
        if place not in self._told:
            self._told.add(place)
            logger.warning("Traces are kept in one place only", extra={"place": place, "reason": reason})


def _append(tx: Transaction, trace_id: str, events: list[Event]) -> int:
    # Locked first: writers that all found the row by INSERT would share a lock on it and stand in each other's way.
    if not tx.fetch("lock_trace", (trace_id,)):
        tx.execute("open_trace", (trace_id,))
        tx.fetch("lock_trace", (trace_id,))
    known = {str(row[0]) for row in tx.fetch("trace_event_ids", (trace_id,))}
    new = {event.event_id: event for event in events if event.event_id not in known}
    if not new:
        return 0
    seq = int(tx.fetch("last_trace_seq", (trace_id,))[0][0])
    rows = [_write_row(seq + at, event) for at, event in enumerate(new.values(), start=1)]
    tx.execute_many("insert_trace_event", rows)
    row = project(fold(_read_row(stored) for stored in tx.fetch("trace_events_after", (trace_id, 0))))
    projection = (
        row.environment,
        row.question,
        row.status,
        row.outcome,
        row.action,
        row.started_us,
        row.ended_us,
        row.decisions,
        row.queries,
        row.evidence,
    )
    tx.execute("store_trace", (*projection, trace_id))
    return len(new)


def _write_row(seq: int, event: Event) -> tuple[Any, ...]:
    payload = f'{{"segment":{event.segment},"number":{event.number},"data":{event.payload}}}'
    return (event.trace_id, seq, event.event_id, event.type, event.span_id, event.time_us, payload)


def _read_row(row: Row) -> Event:
    held = json.loads(row[6])
    return Event(
        trace_id=str(row[1]),
        event_id=str(row[2]),
        type=row[3],
        span_id=str(row[4]),
        segment=int(held["segment"]),
        number=int(held["number"]),
        time_us=int(row[5]),
        payload=encode_payload(held["data"]),
    )


def _ascii(text: str, length: int) -> str:
    return text.encode("ascii", "replace").decode()[:length]

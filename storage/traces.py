"""Decision traces kept twice: events in MariaDB, and one JSON file per trace. Either may fail without the other.

The events are the truth. The `trace` row is the fold of a trace's events, renewed in the transaction that adds some.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from domain.errors import NotFound, StorageError, StorageFull, StorageUnavailable
from domain.times import LATEST_US, SECOND_US
from storage.database import Database, Row, Transaction
from storage.durable_files import translate_os_error, write_durably
from storage.journals import Journals
from storage.trace_rows import TraceRow, project, search_text
from storage.trace_search import TraceSearch
from tracing.events import SCHEMA_VERSION, Event, encode_payload, make_amendment, make_event_id
from tracing.fold import fold
from tracing.view import TraceView

__all__ = ["DualSink", "Reconciled", "Resumption", "TraceRow", "TraceStore", "project"]

logger = logging.getLogger(__name__)

_TRACE_ID = re.compile(r"trc_\d{8}_\d{6}_[0-9a-f]{8}")
_ROW_HEAD = re.compile(r'\{"segment":(-?\d+),"number":(-?\d+),"data":')  # as _write_row writes it
_BACKLOG = 20_000
_DATABASE_SECONDS = 4.0
_FILE_SECONDS = 4.0


@dataclass(frozen=True, slots=True)
class Resumption:
    """Where a trace goes on: what `start_trace` needs to continue it in another process."""

    trace_id: str
    question: str
    environment: str
    segment: int


@dataclass(frozen=True, slots=True)
class Reconciled:
    """How many traces gained events in the database and in their file; which files could not be read."""

    database: int = 0
    files: int = 0
    damaged: tuple[str, ...] = ()


class TraceStore:
    """Reads and writes traces; `sink()` is what a running trace writes to."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self.journals = Journals(folder)
        self.search = TraceSearch(database)
        # One thread: writes of one trace's file must not overtake each other.
        self._files = ThreadPoolExecutor(1, thread_name_prefix="trace-files")

    def sink(self) -> DualSink:
        """Return a sink that keeps events in both places and never raises."""
        return DualSink(self)

    async def append(self, events: Sequence[Event]) -> int:
        """Store events that the database does not have yet, and return how many those were."""
        return len(await self.add(events))

    async def add(self, events: Sequence[Event]) -> set[str]:
        """Store events that the database does not have yet, and return their ids."""
        ordered = sorted(events, key=lambda event: event.trace_id)
        groups = [(trace_id, list(group)) for trace_id, group in groupby(ordered, key=lambda event: event.trace_id)]
        return await self._database.transaction(lambda tx: set().union(*(_append(tx, *group) for group in groups)))

    async def exist(self, trace_ids: Collection[str]) -> set[str]:
        """Return those of some traces that are stored."""
        return {name for name in trace_ids if await self._database.fetch("one_trace", (name,))}

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
            return await self._load_ingested(trace_id)
        failure: StorageError | None = None
        events: Sequence[Event] = ()
        try:
            events = [event for _, event in await self.events(trace_id)]
        except StorageError as exc:
            failure = exc
        if not events:
            events = await asyncio.get_running_loop().run_in_executor(self._files, self._read_kept, trace_id)
        if not events:
            raise failure or NotFound(f"There is no trace {trace_id}: see `causegraph trace list`.")
        return fold(events)

    async def _load_ingested(self, trace_id: str) -> TraceView:
        asked = trace_id[:191]
        ours = asked if asked.isascii() else ""  # the column of our own ids takes nothing else
        rows = await self._database.fetch("find_external", (ours, asked)) if asked else []
        if not rows:
            raise NotFound(f"There is no trace {trace_id[:80]!r}: see `causegraph trace list`.")
        return fold(event for _, event in await self.events(str(rows[0][0])))

    async def resumption(self, trace_id: str) -> Resumption:
        """Return where a paused or broken-off trace goes on, for `start_trace`; raises NotFound."""
        view = await self.load(trace_id)
        return Resumption(view.id, view.question, view.environment, view.segments)

    async def of_thread(self, environment: str, thread_id: str) -> TraceRow | None:
        """Return the newest trace of a thread (`trace.note(thread_id=...)`), or None."""
        rows = await self._database.fetch("trace_of_thread", (environment, thread_id))
        return TraceRow.from_row(rows[0]) if rows else None

    async def unexported(self, limit: int) -> Sequence[tuple[str, int]]:
        """Return own traces that are not at work and have events after those that were exported, oldest first."""
        rows = await self._database.fetch("unexported_traces", (limit,))
        return [(str(row[0]), int(row[1])) for row in rows]

    async def mark_exported(self, trace_id: str, seq: int) -> None:
        """Remember that a trace's events up to a sequence number were exported."""
        await self._database.execute("mark_trace_exported", (seq, trace_id))

    async def live_prompts(self) -> set[str]:
        """Return the prompts that the model calls of all stored traces name."""
        return {str(row[0]) for row in await self._database.fetch("prompts_of_traces") if row[0]}

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

    async def reconcile(self, *, files: bool = False) -> Reconciled:
        """Store what files and the journals of killed processes hold and the database lacks.

        With `files`, files also get what only the database holds. A file that cannot be read is named and left alone;
        running it twice changes nothing.
        """
        loop = asyncio.get_running_loop()
        in_database: set[str] = set()
        in_files: set[str] = set()
        damaged: list[str] = []
        for path, events in await loop.run_in_executor(self._files, lambda: list(self.journals.left_behind())):
            if events:
                in_database |= {events[0].trace_id} if await self.append(events) else set()
                await self.write_file(events)
            await asyncio.to_thread(path.unlink, missing_ok=True)
        for path in sorted(await asyncio.to_thread(lambda: list(self._folder.glob("trc_*.json")))):
            if not _TRACE_ID.fullmatch(path.stem):
                continue
            try:
                filed = await loop.run_in_executor(self._files, self._read_file, path.stem)
            except StorageError:
                logger.warning("A trace's file cannot be read", extra={"path": str(path)}, exc_info=True)
                damaged.append(str(path))
                continue
            stored = int((await self._database.fetch("last_trace_seq", (path.stem,)))[0][1])
            if filed and (len(filed) > stored or not stored) and await self.append(filed):
                in_database.add(path.stem)
            if files and stored > len(filed):
                await self._file_again(path.stem)
                in_files.add(path.stem)
        if files:
            in_files |= {trace_id async for trace_id in self._without_file() if await self._file_again(trace_id)}
        return Reconciled(len(in_database), len(in_files), tuple(damaged))

    async def _without_file(self) -> AsyncIterator[str]:
        last = ""
        while rows := await self._database.fetch("own_trace_ids", (last,)):
            ids = [str(row[0]) for row in rows if _TRACE_ID.fullmatch(str(row[0]))]
            last = str(rows[-1][0])
            for trace_id in await asyncio.to_thread(lambda found=ids: [i for i in found if not self._path(i).exists()]):  # type: ignore[misc]
                yield trace_id

    async def _file_again(self, trace_id: str) -> bool:
        try:
            await self.write_file([event for _, event in await self.events(trace_id)])
        except StorageError:
            logger.warning("A trace's file cannot be written", extra={"trace_id": trace_id}, exc_info=True)
            return False
        return True

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

    def _read_kept(self, trace_id: str) -> Sequence[Event]:
        return [*self._read_file(trace_id), *self.journals.of_trace(trace_id)]

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
        self._refused: dict[str, set[str]] = {}
        self._told: set[str] = set()

    async def write(self, events: Sequence[Event]) -> None:
        """Keep events in both places, each within its own time."""
        await asyncio.gather(
            self._keep("database", self._store.append, events),
            self._keep("file", self._store.write_file, events),
        )
        for trace_id in {event.trace_id for event in events if event.type == "RUN_END"}:
            whole = any(trace_id not in self._lacking(place) for place in self._seconds)
            await asyncio.to_thread(self._store.journals.drop if whole else self._store.journals.leave, trace_id)
            for refused in self._refused.values():
                refused.discard(trace_id)

    def note(self, event: Event) -> None:
        """Keep an event in the journal of its trace at once, where it survives this process."""
        self._store.journals.note(event)

    def _lacking(self, place: str) -> set[str]:
        return {event.trace_id for event in self._missed.get(place, ())} | self._refused.get(place, set())

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
            self._refused.setdefault(place, set()).update(event.trace_id for event in batch)
            self._tell(place, str(exc))
        except Exception:
            self._refused.setdefault(place, set()).update(event.trace_id for event in batch)
            logger.exception("Traces are kept in one place only", extra={"place": place})
        else:
            self._told.discard(place)

    def _miss(self, place: str, batch: list[Event]) -> None:
        self._missed[place] = [*batch, *self._missed.get(place, ())][-_BACKLOG:]

    def _tell(self, place: str, reason: str) -> None:
        if place not in self._told:
            self._told.add(place)
            logger.warning("Traces are kept in one place only", extra={"place": place, "reason": reason})


def _append(tx: Transaction, trace_id: str, events: list[Event]) -> set[str]:
    # Locked first: writers that all found the row by INSERT would share a lock on it and stand in each other's way.
    if not tx.fetch("lock_trace", (trace_id,)):
        tx.execute("open_trace", (trace_id,))
        tx.fetch("lock_trace", (trace_id,))
    known = {str(row[0]) for row in tx.fetch("trace_event_ids", (trace_id,))}
    new = {event.event_id: event for event in events if event.event_id not in known}
    if not new:
        return set()
    seq = int(tx.fetch("last_trace_seq", (trace_id,))[0][0])
    rows = [_write_row(seq + at, event) for at, event in enumerate(new.values(), start=1)]
    tx.execute_many("insert_trace_event", rows)
    view = fold(_read_row(stored) for stored in tx.fetch("trace_events_after", (trace_id, 0)))
    tx.execute("store_trace", (*project(view).columns(), search_text(view), time.time_ns() // 1000, trace_id))
    return set(new)


def _write_row(seq: int, event: Event) -> tuple[Any, ...]:
    payload = f'{{"segment":{event.segment},"number":{event.number},"data":{event.payload}}}'
    return (event.trace_id, seq, event.event_id, event.type, event.span_id, event.time_us, payload)


def _read_row(row: Row) -> Event:
    # Cut out as it was written: reading a long trace is mostly reading JSON, which the fold does once more.
    text = str(row[6])
    head = _ROW_HEAD.match(text)
    if head is None:
        raise StorageError(f"Event {row[2]} of trace {row[1]} is not what was stored.")
    segment, number, payload = int(head[1]), int(head[2]), text[head.end() : -1]
    return Event(str(row[1]), str(row[2]), row[3], str(row[4]), segment, number, int(row[5]), payload)

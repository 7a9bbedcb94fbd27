"""Traces are kept twice; the row is the fold; neither place can hurt the run or the other."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from domain.errors import NotFound, StorageError
from domain.evidence import LedgerEntry
from domain.times import Window
from domain.verdict import Judgement
from storage.database import Database
from storage.traces import DualSink, TraceRow, TraceStore, project
from tracing import Event, Trace, fold, start_trace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "traces"


@pytest.fixture
def store(database: Database, folder: Path) -> TraceStore:
    return TraceStore(database, folder)


@pytest.fixture
async def lost() -> AsyncIterator[Database]:
    """A database that cannot be reached."""
    database = Database("mariadb://nobody@localhost/none?unix_socket=/nowhere/at.all", connections=2)
    yield database
    await database.close()


def make_run(environment: str, *, ends: bool = True) -> Trace:
    trace = Trace("why did it fail? \U0001f525", environment)
    with trace.stage("logs"):
        trace.decide("a", "b", 0.9, inputs={"x": 1})
        trace.ledger(LedgerEntry("log_counts", Window(1, 2), "", 10, 1, None, 0.1))
    trace.evidence(["log-1", "log-2"])
    trace.conclude("CONFIRMED", ["payment"])
    trace.judge(Judgement("ALLOW_ANSWER", {"grounded": 1.0}))
    if ends:
        trace.end()
    return trace


async def stored_row(database: Database, trace_id: str) -> TraceRow:
    return TraceRow.from_row((await database.fetch("one_trace", (trace_id,)))[0])


async def test_a_run_is_found_in_both_places(store: TraceStore, folder: Path, environment: str) -> None:
    async with start_trace("why?", environment, store.sink()) as trace:
        with trace.stage("logs"):
            trace.decide("a", "b", 0.9)
    view = await store.load(trace.id)
    assert view == trace.view()
    document = json.loads((folder / f"{trace.id}.json").read_text())
    assert document["schema_version"] == 1
    assert fold(map(Event.from_json, document["events"])) == view
    (row,) = await store.list(environment)
    assert row == project(view) and row.decisions == 1 and row.status == "complete"


async def test_the_row_is_the_fold_however_the_events_come(
    store: TraceStore, database: Database, environment: str
) -> None:
    chance = random.Random(7)
    for _ in range(5):
        events = list(make_run(environment).events)
        chance.shuffle(events)
        while events:
            size = chance.randint(1, 4)
            batch, events = events[:size], events[size:]
            assert await store.append(batch) == len(batch)
            assert await store.append([*batch, *batch]) == 0
            kept = [event for _, event in await store.events(batch[0].trace_id)]
            assert await stored_row(database, batch[0].trace_id) == project(fold(kept))
    assert len(await store.list(environment)) == 5


async def test_writers_at_once_store_each_event_once(store: TraceStore, database: Database, environment: str) -> None:
    run = make_run(environment)
    events = list(run.events)
    first = await store.append(events[:1])
    counts = await asyncio.gather(*(store.append([event]) for event in events * 3))
    assert first + sum(counts) == len(events)
    stored = await store.events(run.id)
    assert [seq for seq, _ in stored] == list(range(1, len(events) + 1))
    assert {event.event_id for _, event in stored} == {event.event_id for event in events}
    assert await stored_row(database, run.id) == project(run.view())
    assert [seq for seq, _ in await store.events(run.id, after_seq=7)] == list(range(8, len(events) + 1))


async def test_without_the_database_the_file_has_it_and_reconcile_brings_it(
    database: Database, lost: Database, folder: Path, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    blind = TraceStore(lost, folder)
    with caplog.at_level(logging.WARNING):
        async with start_trace("why?", environment, blind.sink(), flush_seconds=0.02) as trace:
            for number in range(4):
                trace.decide(str(number), "b", 0.5)
                await asyncio.sleep(0.03)
    assert [record.message for record in caplog.records] == ["Traces are kept in one place only"]
    assert await blind.load(trace.id) == trace.view()
    store = TraceStore(database, folder)
    assert await store.list(environment) == []
    assert await store.load(trace.id) == trace.view()
    assert await store.reconcile() == 1
    assert await store.reconcile() == 0
    assert await stored_row(database, trace.id) == project(trace.view())


async def test_without_the_folder_the_database_has_it(
    database: Database, folder: Path, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file is in the way")
    store = TraceStore(database, folder)
    with caplog.at_level(logging.WARNING):
        async with start_trace("why?", environment, store.sink()) as trace:
            trace.decide("a", "b", 0.5)
    assert len(caplog.records) == 1
    assert await store.load(trace.id) == trace.view()


async def test_without_both_the_run_goes_on(lost: Database, folder: Path, environment: str) -> None:
    folder.write_text("a file is in the way")
    store = TraceStore(lost, folder)
    async with start_trace("why?", environment, store.sink()) as trace:
        trace.decide("a", "b", 0.5)
    assert trace.status == "complete"
    with pytest.raises(StorageError):
        await store.load(trace.id)


async def test_a_database_that_hangs_does_not_hold_up_the_file_and_gets_it_later(
    database: Database, folder: Path, environment: str
) -> None:
    class Hanging(TraceStore):
        hangs = True

        async def append(self, events: Sequence[Event]) -> int:
            if self.hangs:
                await asyncio.sleep(30)
            return await super().append(events)

    store = Hanging(database, folder)
    sink = DualSink(store, database_seconds=0.1)
    first, second = make_run(environment, ends=False), make_run(environment)
    began = time.monotonic()
    await sink.write(first.events)
    assert time.monotonic() - began < 1
    assert (await store.load(first.id)).status == "running"
    store.hangs = False
    first.end()
    await sink.write([*first.events[-1:], *second.events])
    rows = {row.id: row for row in await store.list(environment)}
    assert rows == {run.id: project(run.view()) for run in (first, second)}


async def test_a_crash_leaves_what_happened_and_is_closed_later(
    store: TraceStore, database: Database, environment: str
) -> None:
    run = make_run(environment, ends=False)
    await store.sink().write(run.events)
    assert (await stored_row(database, run.id)).status == "running"
    assert await store.close_abandoned(silent_seconds=3600) == 0
    await asyncio.sleep(0.05)
    assert await store.close_abandoned(silent_seconds=0.01) >= 1
    view = await store.load(run.id)
    assert view.status == "failed" and "abandoned" in view.error and len(view.decisions) == 1
    run.end()
    await store.sink().write(run.events)
    assert (await store.load(run.id)).status == "complete"


async def test_an_amendment_is_a_new_event(store: TraceStore, database: Database, environment: str) -> None:
    run = make_run(environment)
    await store.sink().write(run.events)
    before = await store.events(run.id)
    view = await store.amend(run.id, {"outcome": "LIKELY"}, actor="ada", reason="one hop is a guess")
    assert view.outcome == "LIKELY" and view.amendments[0].reason == "one hop is a guess"
    assert (await store.amend(run.id, {"action": "ESCALATE"}, actor="bob", reason="")).outcome == "LIKELY"
    assert (await store.events(run.id))[: len(before)] == before
    row = await stored_row(database, run.id)
    assert (row.outcome, row.action) == ("LIKELY", "ESCALATE")
    with pytest.raises(ValueError, match="status"):
        await store.amend(run.id, {"status": "complete"}, actor="ada", reason="")
    with pytest.raises(NotFound):
        await store.amend("trc_20260101_000000_00000000", {}, actor="ada", reason="")


async def test_lists_are_newest_first_and_by_environment(store: TraceStore, environment: str) -> None:
    runs = []
    for _ in range(3):
        runs.append(make_run(environment))
        await store.append(runs[-1].events)
        await asyncio.sleep(0.002)
    await store.append(make_run(environment + "-other").events)
    listed = await store.list(environment)
    assert [row.id for row in listed] == [run.id for run in reversed(runs)]
    assert await store.list(environment, limit=1, before_us=listed[0].started_us) == [listed[1]]
    assert {row.environment for row in await store.list(None, limit=4)} >= {environment, environment + "-other"}


@pytest.mark.parametrize("trace_id", ["trc_20260101_000000_00000000", "../../etc/passwd", "", "trc_x"])
async def test_a_trace_that_is_not_there(store: TraceStore, trace_id: str) -> None:
    with pytest.raises(NotFound, match="trace"):
        await store.load(trace_id)


async def test_a_damaged_file_is_left_aside(store: TraceStore, folder: Path, environment: str) -> None:
    run, other = make_run(environment), make_run(environment)
    folder.mkdir()
    damaged = folder / f"{run.id}.json"
    damaged.write_text('{"events": [')
    (folder / f"{other.id}.json").write_text("{}")
    (folder / "trc_notes.json").write_text("{}")
    assert await store.reconcile() == 0
    await store.write_file(run.events)
    assert damaged.with_suffix(".damaged").read_text() == '{"events": ['
    assert await store.reconcile() == 1


async def test_a_very_long_question_is_no_problem(store: TraceStore, environment: str) -> None:
    trace = Trace("why? " * 100_000, environment)
    trace.end()
    await store.append(trace.events)
    assert (await store.load(trace.id)).status == "complete"

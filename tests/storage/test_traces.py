"""Traces are kept twice; the row is the fold; neither place can hurt the run or the other."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cli.stack import StackHandle
from domain.errors import NotFound, StorageError
from domain.evidence import LedgerEntry
from domain.times import Window
from domain.verdict import Judgement
from storage.database import Database
from storage.traces import DualSink, Reconciled, TraceRow, TraceStore, project
from tracing import Event, Trace, fold, start_trace
from tracing.events import SCHEMA_VERSION


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
    assert document["schema_version"] == SCHEMA_VERSION
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
    assert (await store.reconcile()).database == 1
    assert await store.reconcile() == Reconciled()
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
    assert time.monotonic() - began < 20
    assert (await store.load(first.id)).status == "running"
    store.hangs = False
    sink._seconds["database"] = 60.0  # enough for a busy machine
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
    bad = sorted(str(path) for path in (damaged, folder / f"{other.id}.json"))
    assert await store.reconcile() == Reconciled(damaged=tuple(bad))
    await store.write_file(run.events)
    assert damaged.with_suffix(".damaged").read_text() == '{"events": ['
    assert (await store.reconcile()).database == 1


async def test_a_very_long_question_is_no_problem(store: TraceStore, environment: str) -> None:
    trace = Trace("why? " * 100_000, environment)
    trace.end()
    await store.append(trace.events)
    assert (await store.load(trace.id)).status == "complete"


def make_long_run(environment: str) -> list[Trace]:
    """A run with an event of every kind that recorders write, paused and gone on with in a second segment."""
    first = Trace("why?", environment)
    first.note(service="checkout", intent="why", thread_id="thr-1")
    with first.stage("team", kind="agent"):
        first.route(["logs", "metrics"], "both speak", ["logs", "metrics", "code"])
        first.cache_hit("embedding", key="abc")
        with first.stage("logs", kind="tool"):
            first.retry(1, TimeoutError("slow"))
            first.model_call("m", prompt_tokens=7, completion_tokens=3, seconds=0.2, cost=0.1, prompt="p1")
            first.log("two templates", level="WARN")
    first.pause("approval", waiting_for="operator", command="restart checkout")
    first.end()
    second = Trace("why?", environment, trace_id=first.id, segment=1)
    second.resume(by="ada")
    with second.stage("act"):
        second.policy("default", "3", "ALLOW_ANSWER", "grounded")
    second.end()
    return [first, second]


async def test_the_row_of_a_long_run_is_its_fold_in_whatever_parts_it_comes(
    store: TraceStore, database: Database, environment: str
) -> None:
    chance = random.Random(11)
    for _ in range(4):
        runs = make_long_run(environment)
        events = [event for run in runs for event in run.events]
        whole = fold(events)
        chance.shuffle(events)
        for at in range(0, len(events), 5):
            await store.append([*events[at : at + 5], chance.choice(events[: at + 5])])
        assert await store.load(runs[0].id) == whole
        row = await stored_row(database, runs[0].id)
        assert row == project(whole)
        assert (row.service, row.intent, row.thread_id, row.model, row.tokens) == ("checkout", "why", "thr-1", "m", 10)
        assert (row.spans, row.open_spans, row.completion_rate) == (4, 0, 1.0)
    newest = await store.of_thread(environment, "thr-1")
    assert newest is not None and newest.status == "complete"
    assert await store.of_thread(environment, "thr-2") is None


async def test_a_paused_run_goes_on_where_it_was(store: TraceStore, environment: str) -> None:
    async with start_trace("restart it?", environment, store.sink()) as trace:
        with trace.stage("approval"):
            trace.pause("approval", waiting_for="operator")
    assert (await store.load(trace.id)).status == "paused"
    point = await store.resumption(trace.id)
    assert (point.question, point.environment, point.segment) == ("restart it?", environment, 1)
    async with start_trace(
        point.question, point.environment, store.sink(), trace_id=point.trace_id, segment=point.segment
    ) as resumed:
        resumed.resume(by="ada")
        with resumed.stage("restart"):
            pass
    view = await store.load(trace.id)
    assert (view.status, view.segments, [stage.name for stage in view.stages]) == (
        "complete",
        2,
        ["approval", "restart"],
    )
    (pause,) = view.pauses
    assert (pause.waiting_for, pause.resumed_by) == ("operator", "ada") and pause.resumed_us is not None
    with pytest.raises(NotFound):
        await store.resumption("trc_20260101_000000_00000000")


async def test_what_only_the_database_has_is_filed_again(store: TraceStore, folder: Path, environment: str) -> None:
    run, other = make_run(environment), make_run(environment)
    await store.append(run.events)
    await store.sink().write(other.events)
    await store.append(make_run(environment).events)
    path = folder / f"{run.id}.json"
    assert (await store.reconcile()).files == 0 and not path.exists()
    (folder / f"{other.id}.json").unlink()
    assert (await store.reconcile(files=True)).files >= 3
    assert fold(map(Event.from_json, json.loads(path.read_text())["events"])) == run.view()
    assert await store.reconcile(files=True) == Reconciled()


async def test_a_journal_is_gone_once_its_trace_is_stored(store: TraceStore, folder: Path, environment: str) -> None:
    async with start_trace("why?", environment, store.sink()) as trace:
        trace.decide("a", "b", 0.5)
        assert [event.type for event in store.journals.of_trace(trace.id)] == ["RUN_START", "DECISION"]
        assert list(store.journals.left_behind()) == []  # its writer lives
        assert len((await store.load(trace.id)).decisions) == 1
    assert not list(folder.glob("*.journal"))


async def test_a_disk_that_fails_in_a_run_costs_nothing(
    store: TraceStore, database: Database, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("storage.journals._STEP_BYTES", 400)  # so that its room is at an end soon

    async with start_trace("why?", environment, store.sink(), flush_seconds=0.02) as trace:
        trace.decide("before", "b", 0.5)
        monkeypatch.setattr("storage.journals.os.pwrite", full)
        monkeypatch.setattr("storage.durable_files.os.fsync", full)
        trace.decide("meanwhile", "b", 0.5)
        await asyncio.sleep(0.1)
        monkeypatch.undo()
        trace.decide("after", "b", 0.5)
    view = await store.load(trace.id)
    assert [decision.what for decision in view.decisions] == [
        "before",
        "meanwhile",
        "after",
    ] and trace.status == "complete"
    assert await stored_row(database, trace.id) == project(view)


KILLED = """
import asyncio, sys
from pathlib import Path
from storage.database import Database
from storage.traces import TraceStore
from tracing import start_trace

async def main(url, folder, environment):
    store = TraceStore(Database(url, 2), Path(folder))
    async with start_trace("why?", environment, store.sink(), flush_seconds=0.05) as trace:
        print(trace.id, flush=True)
        with trace.stage("logs"):
            number = 0
            while True:
                trace.decide(str(number), "b", 0.5)
                print(number, flush=True)
                number += 1
                if number % 50 == 0:
                    await asyncio.sleep(0.01)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("with_database", [True, False])
async def test_a_killed_run_loses_and_doubles_nothing(
    store: TraceStore, stack: StackHandle, environment: str, folder: Path, *, with_database: bool
) -> None:
    url = stack.database_url if with_database else "mariadb://nobody@localhost/none?unix_socket=/nowhere/at.all"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", KILLED, url, str(folder), environment, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    trace_id = (await process.stdout.readline()).decode().strip()
    for _ in range(400):
        await process.stdout.readline()
    process.kill()
    said = [int(line) for line in (await process.stdout.read()).split()]
    await process.wait()
    assert (await store.reconcile()).database <= 1
    view = await store.load(trace_id)
    kept = [int(decision.what) for decision in view.decisions]
    assert kept == list(range(len(kept))) and len(kept) >= max([399, *(number + 1 for number in said[:-1])])
    assert (view.status, view.open_spans) == ("running", 1)
    assert await store.reconcile() == Reconciled() and not list(folder.glob("*.journal"))
    await asyncio.sleep(0.05)
    await store.close_abandoned(silent_seconds=0.01)
    closed = await store.load(trace_id)
    assert closed.status == "failed" and closed.has_open_spans and closed.completion_rate == 0

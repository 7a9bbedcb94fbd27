"""Acknowledged by the disk, then drained: restarts, retries, refusals, an absent database, other processes."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.errors import NotFound, StorageBusy, StorageError, StorageFull, StorageUnavailable
from domain.telemetry import Change, Level, LogEvent
from storage import spool as spool_module
from storage import spooled as spooled_module
from storage.batch import Batch, PreparedBatch
from storage.database import QUERIES, Database
from storage.dead_letters import DeadLetter, DeadLetters
from storage.ingest import IngestStore, Written
from storage.spooled import SpooledStore

QUERIES["spooled_messages"] = "SELECT message FROM log_event WHERE environment = ? ORDER BY id"
QUERIES["spooled_counts"] = "SELECT COALESCE(SUM(count), 0) FROM log_count WHERE environment = ?"


class Moody(IngestStore):
    """A store whose database can be away, or fail at what a test chooses."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.error: StorageError | None = None
        self.error_for = ""
        self.tried = 0
        self.open = asyncio.Event()
        self.open.set()

    async def write_all(self, batches: Sequence[tuple[PreparedBatch, int]]) -> list[Written]:
        self.tried += 1
        await self.open.wait()
        if self.error is not None and (not self.error_for or any(b.key == self.error_for for b, _ in batches)):
            raise self.error
        return await super().write_all(batches)

    async def probe(self) -> None:
        if self.error is not None and not self.error_for:
            raise self.error
        await super().probe()


@pytest.fixture
def store(database: Database) -> Moody:
    return Moody(database)


def build(store: IngestStore, folder: Path, **more: Any) -> SpooledStore:
    limits = {"max_bytes": 10_000_000, "wait_seconds": 20.0} | more
    return SpooledStore(store, folder / "spool", DeadLetters(folder / "dead"), **limits)


def logs(environment: str, key: str, count: int = 2, service: str = "web") -> Batch:
    events = [
        LogEvent(environment, 1_700_000_000_000_000 + n, service, Level.INFO, f"{key} {n}", 7, "<*>")
        for n in range(count)
    ]
    return Batch(environment, "logs", key, 1_700_000_000_000_000, logs=events)  # fmt: skip


async def stored(database: Database, environment: str) -> list[str]:
    rows = [str(row[0]) for row in await database.fetch("spooled_messages", (environment,))]
    counted = int((await database.fetch("spooled_counts", (environment,)))[0][0])
    assert counted == len(rows)
    return rows


async def drained(spooled: SpooledStore) -> None:
    assert await spooled.wait_drained(30)


async def test_a_delivery_is_counted_exactly_and_a_retry_changes_nothing(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    change = Batch(environment, "changes", "c", 5, changes=[Change(environment, 5, "web", "deploy", "v2")] * 2)
    async with spooled.running():
        first = await spooled.take(logs(environment, "a"))
        again = await spooled.take(logs(environment, "a"))
        assert (first.accepted, first.duplicate, first.spooled) == (2, 0, False)
        assert (again.accepted, again.duplicate, again.seq, again.retry) == (0, 2, first.seq, True)
        told = await spooled.take(change)
        assert (told.accepted, told.duplicate, len(told.ids)) == (1, 1, 2)
        assert told.seq > first.seq
        assert await spooled.latest_seq() == told.seq
    assert await stored(database, environment) == ["a 0", "a 1"]
    straight = await spooled.take(logs(environment, "b"))
    assert (straight.accepted, straight.spooled) == (2, False)


async def test_bulk_deliveries_wait_for_the_database_only_while_little_is_on_its_way_or_very_much(
    store: Moody, database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spooled_module, "_FEW_RECORDS", 3)
    monkeypatch.setattr(spooled_module, "_MANY_RECORDS", 6)
    spooled = build(store, tmp_path, wait_seconds=60.0)
    async with asyncio.timeout(50), spooled.running():
        one = await spooled.take(logs(environment, "a"), bulk=True)
        assert (one.accepted, one.spooled) == (2, False)
        store.open.clear()
        few = asyncio.create_task(spooled.take(logs(environment, "few"), bulk=True))
        while spooled.status().records < 2:
            await asyncio.sleep(0.01)
        some = [await spooled.take(logs(environment, f"some {n}"), bulk=True) for n in range(2)]
        assert [(told.accepted, told.spooled) for told in some] == [(2, True)] * 2
        again = await spooled.take(logs(environment, "some 1"), bulk=True)
        assert (again.accepted, again.duplicate, again.spooled) == (0, 2, True)
        many = asyncio.create_task(spooled.take(logs(environment, "many"), bulk=True))
        while spooled.status().records < 8:
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        assert not (few.done() or many.done())
        store.open.set()
        await asyncio.gather(few, many)
        # What a sender waits for ends when the database is known to be away.
        store.error = StorageUnavailable("away")
        held = await asyncio.gather(*(spooled.take(logs(environment, f"held {n}"), bulk=True) for n in range(9)))
        assert all(told.spooled for told in held)
        store.error = None
        while spooled.status().deliveries:
            await asyncio.sleep(0.01)
    assert len(await stored(database, environment)) == 2 * (5 + 9)


async def test_while_the_database_is_away_the_spool_holds_and_then_drains_in_order(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    async with spooled.running():
        store.error = StorageUnavailable("away")
        taken = [await spooled.take(logs(environment, f"k{n}")) for n in range(20)]
        again = await spooled.take(logs(environment, "k3"))
        assert all((one.accepted, one.duplicate, one.spooled) == (2, 0, True) for one in taken)
        assert (again.accepted, again.duplicate, again.seq, again.spooled) == (0, 2, taken[3].seq, True)
        assert [one.seq for one in taken] == sorted({one.seq for one in taken})
        status = spooled.status()
        assert (status.deliveries, status.records, status.problem) == (20, 40, "away")
        assert status.bytes > 0
        assert status.oldest_seconds > 0
        assert not await spooled.wait_drained(0.2)
        store.error = None
        while spooled.status().deliveries:
            await asyncio.sleep(0.01)
    assert await stored(database, environment) == [f"k{n} {m}" for n in range(20) for m in range(2)]


async def test_what_was_acknowledged_is_stored_by_the_next_process(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    async with spooled.running():
        store.error = StorageUnavailable("away")
        before = [await spooled.take(logs(environment, f"k{n}")) for n in range(5)]
    assert await stored(database, environment) == []
    heir = build(store, tmp_path)
    async with heir.running():
        # Also known for a retry, and counted on from.
        again = await heir.take(logs(environment, "k2"))
        new = await heir.take(logs(environment, "new"))
        assert (again.accepted, again.duplicate, again.seq) == (0, 2, before[2].seq)
        assert new.seq > before[-1].seq
        store.error = None
        while heir.status().deliveries:
            await asyncio.sleep(0.01)
        assert (await heir.take(logs(environment, "k2"))).seq == before[2].seq
    assert len(await stored(database, environment)) == 12
    assert list((tmp_path / "spool").rglob("*.segment")) == []


async def test_more_than_is_kept_in_memory_is_read_from_the_disk(
    store: Moody, database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.spooled._HELD_RECORDS", 3)
    spooled = build(store, tmp_path)
    async with spooled.running():
        store.error = StorageUnavailable("away")
        for n in range(6):
            await spooled.take(logs(environment, f"k{n}"))
        assert spooled._drain.lanes[0].held_records == 2
        store.error = None
        while spooled.status().deliveries:
            await asyncio.sleep(0.01)
        assert spooled._drain.lanes[0].held_records == 0
    assert await stored(database, environment) == [f"k{n} {m}" for n in range(6) for m in range(2)]


async def test_what_the_database_refuses_is_a_dead_letter_and_blocks_nothing(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    letters = DeadLetters(tmp_path / "dead")
    async with spooled.running():
        good, bad, odd = await asyncio.gather(
            spooled.take(logs(environment, "good")),
            spooled.take(logs(environment, "bad", service="s" * 200)),
            spooled.take(logs(environment, "fine")),
        )
    assert (good.accepted, odd.accepted) == (2, 2)
    assert (bad.accepted, bad.refused) == (0, 2)
    (letter,) = letters.find_all()
    assert bad.reason.endswith(letter.id)
    assert (letter.kind, letter.environment, letter.records) == ("logs", environment, 2)
    assert "Data truncated for column 'service'" in letter.reasons[0]
    assert sorted(await stored(database, environment)) == ["fine 0", "fine 1", "good 0", "good 1"]


async def test_an_error_without_a_name_is_tried_again_and_held_where_nothing_else_goes_either(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    async with spooled.running():
        store.error, store.error_for = StorageError("strange"), "odd"
        await spooled.take(logs(environment, "odd"))
        await spooled.take(logs(environment, "good"))
        while spooled.status().deliveries:
            await asyncio.sleep(0.01)
        assert [letter.records for letter in DeadLetters(tmp_path / "dead").find_all()] == [2]
        store.error, store.error_for = StorageError("read only"), ""
        await spooled.take(logs(environment, "later"))
        tried = store.tried
        while store.tried < tried + 5:
            await asyncio.sleep(0.01)
        assert spooled.status().deliveries == 1
        store.error = None
        while spooled.status().deliveries:
            await asyncio.sleep(0.01)
    assert sorted(await stored(database, environment)) == ["good 0", "good 1", "later 0", "later 1"]


async def test_a_full_spool_says_so_and_a_full_disk_acknowledges_nothing(
    store: Moody, database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spooled = build(store, tmp_path, max_bytes=600)
    async with spooled.running():
        store.error = StorageUnavailable("away")
        with pytest.raises(StorageBusy):
            for n in range(10):
                await spooled.take(logs(environment, f"k{n}"))
        kept = spooled.status().deliveries
        assert 1 <= kept < 10
        store.error = None
        await _until_empty(spooled)

        def full(*_: object) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr(spool_module, "_sync", full)
            with pytest.raises(StorageFull):
                await spooled.take(logs(environment, "lost"))
        assert (await spooled.take(logs(environment, "lost"))).accepted == 2
    assert len(await stored(database, environment)) == 2 * kept + 2


async def _until_empty(spooled: SpooledStore) -> None:
    while spooled.status().deliveries:
        await asyncio.sleep(0.01)


async def test_a_question_waits_for_other_processes_and_the_dead_are_inherited(
    store: Moody, database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.spooled._ADOPT_SECONDS", 0.05)
    away = Moody(database)
    other, ours = build(away, tmp_path), build(store, tmp_path)
    async with ours.running():
        living = other.running()
        await living.__aenter__()
        away.error = StorageUnavailable("away")
        assert (await other.take(logs(environment, "theirs"))).spooled
        assert len(list((tmp_path / "spool").iterdir())) == 2
        assert not await ours.wait_drained(0.3)
        assert ours.status().adopted == 0
        await living.__aexit__(None, None, None)  # it ends without having drained: its lock is free
        assert await ours.wait_drained(20)
        assert await stored(database, environment) == ["theirs 0", "theirs 1"]
        while ours.status().adopted:
            await asyncio.sleep(0.01)
        again = await ours.take(logs(environment, "theirs"))
        assert (again.accepted, again.duplicate) == (0, 2)


async def test_a_caller_who_leaves_breaks_nothing(
    store: Moody, database: Database, environment: str, tmp_path: Path
) -> None:
    spooled = build(store, tmp_path)
    async with spooled.running():
        tasks = [asyncio.create_task(spooled.take(logs(environment, f"k{n}"))) for n in range(30)]
        for n, task in enumerate(tasks):
            await asyncio.sleep(0)
            if n % 2:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        again = [await spooled.take(logs(environment, f"k{n}")) for n in range(30)]
        assert all(one.accepted + one.duplicate == 2 for one in again)
    assert len(await stored(database, environment)) == 60


async def test_a_frame_that_nobody_can_read_is_a_dead_letter(store: Moody, environment: str, tmp_path: Path) -> None:
    spool = spool_module.Spool.open(tmp_path / "spool" / "000")
    assert spool is not None
    spool.append([b"\x00\x02??from another version"])
    spool.close()
    spooled = build(store, tmp_path)
    async with spooled.running():
        await _until_empty(spooled)
        assert (await spooled.take(logs(environment, "next"))).accepted == 2
    letters = DeadLetters(tmp_path / "dead")
    assert letters.read(letters.find_all()[0].id)[1] == b"\x00\x02??from another version"


def test_dead_letters_are_bounded_and_named_by_what_they_hold(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path, max_letters=3)
    blank = DeadLetter("", 0, "records", "logs", "json logs", "e", 1, 1, ("no time",))
    ids = [letters.keep(blank, f"{n}\n".encode()) for n in (0, 1, 2, 2, 3)]
    assert ids[2] == ids[3]
    assert [letter.id for letter in letters.find_all()] == [ids[4], ids[3], ids[1]]
    assert letters.read(ids[4])[1] == b"3\n"
    letters.drop(ids[4])
    for wrong in (ids[4], "../../etc/passwd", ""):
        with pytest.raises(NotFound):
            letters.read(wrong)
        with pytest.raises(NotFound):
            letters.drop(wrong)
    assert letters.count() == 2

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

import pytest

from domain.telemetry import Level, LogEvent, MetricPoint, Span, SpanKind
from domain.times import DAY_US, HOUR_US
from storage import retention as module
from storage.batch import Batch
from storage.database import QUERIES, Database, Row, Transaction
from storage.ingest import IngestStore
from storage.migrate import migrate
from storage.partitions import LogPartitions
from storage.retention import Dropped, Retention

QUERIES["retention_left"] = "SELECT message FROM log_event ORDER BY id"
QUERIES["retention_kept"] = "SELECT (SELECT COUNT(*) FROM log_template), (SELECT SUM(count) FROM log_count)"
QUERIES["retention_followed"] = "UPDATE follower SET seq = ? WHERE name = 'topology'"


@pytest.fixture
async def own(fresh_url: Callable[[], str], open_database: Callable[[str], Awaitable[Database]]) -> Database:
    database = await open_database(fresh_url())
    await migrate(database)
    return database


async def arrive(database: Database, key: str, days_ago: float, count: int = 3) -> int:
    """Store a delivery that arrived so many days ago; its records speak of one time."""
    received = time.time_ns() // 1000 - round(days_ago * 24 * HOUR_US)
    events = [LogEvent("e", 5_000_000, "web", Level.INFO, f"{key} {n}", 7, "<*>") for n in range(count)]
    span = Span("e", f"{key:0>32}", "ab" * 8, "", "web", "op", SpanKind.SERVER, 5, 5, False)
    point = MetricPoint("e", int(days_ago * 1e6), "web", "m", 1.0)
    store = IngestStore(database)
    for kind, more in (("logs", {"logs": events}), ("traces", {"spans": [span]}), ("metrics", {"metrics": [point]})):
        seq = (await store.take(Batch("e", kind, f"{key} {kind}", received, **more))).seq  # type: ignore[arg-type]
    return seq


async def left(database: Database) -> set[str]:
    return {str(row[0]).split()[0] for row in await database.fetch("retention_left")}


async def test_what_arrived_too_long_ago_goes_and_its_counts_stay(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ROWS", 2)
    for key, days in (("old", 40), ("older", 35), ("young", 20), ("new", 0)):
        seq = await arrive(own, key, days)
    retention = Retention(own, 30)
    # The topology has not read them yet.
    assert await retention.drop() == Dropped()
    assert (await retention.status()).held == 6  # three deliveries each of what is old and older
    assert await Retention(own, 0).count_held() == 0
    await own.execute("retention_followed", (seq,))
    status = await retention.status()
    assert (status.days, status.due, status.held) == (30, Dropped(6, 2, 2), 0)
    told: list[Dropped] = []
    assert await retention.drop(told.append) == Dropped(6, 2, 2)
    assert told[-1] == Dropped(6, 2, 2)
    assert len(told) > 4
    assert await left(own) == {"young", "new"}
    assert await own.fetch("retention_kept") == [(1, 12)]
    after = await retention.status()
    assert after.due == Dropped()
    assert after.oldest_us is not None
    assert abs(time.time_ns() // 1000 - after.oldest_us - 20 * 24 * HOUR_US) < HOUR_US
    assert await retention.drop() == Dropped()
    assert await Retention(own, 0).drop() == Dropped()
    assert await Retention(own, 10).drop() == Dropped(3, 1, 1)


async def test_a_clock_that_was_wrong_for_a_while_drops_nothing_young(own: Database) -> None:
    for key, days in (("first", 2), ("wrong", 400), ("last", 0)):
        seq = await arrive(own, key, days)
    await own.execute("retention_followed", (seq,))
    assert await Retention(own, 30).drop() == Dropped()
    assert await left(own) == {"first", "wrong", "last"}


async def happen(database: Database, key: str, days_ago: float, arrived_days_ago: float, count: int = 3) -> int:
    """Store log events of a day that arrived on another."""
    now_us = time.time_ns() // 1000
    at_us, received = now_us - round(days_ago * DAY_US), now_us - round(arrived_days_ago * DAY_US)
    events = [LogEvent("e", at_us, "web", Level.INFO, f"{key} {n} {'x' * 300}", 7, "<*>") for n in range(count)]
    return (await IngestStore(database).take(Batch("e", "logs", key, received, logs=events))).seq


async def days_of(database: Database) -> list[str]:
    return [part.name for part in await LogPartitions(database).list()]


async def test_days_go_at_once_and_what_came_late_stays(own: Database) -> None:
    now_us = time.time_ns() // 1000
    partitions = LogPartitions(own)
    assert await days_of(own) == ["later"]
    assert await partitions.prepare(now_us - 40 * DAY_US) == 4
    assert await partitions.prepare(now_us - 39 * DAY_US) == 1
    assert await partitions.prepare(now_us) == 4  # the days on which no server ran have one together
    assert await partitions.prepare(now_us) == 0
    assert len(await days_of(own)) == 10

    for key, days, arrived in (("a", 38.5, 38.5), ("b", 37.5, 37.5), ("c", 1.5, 1.5), ("late", 38.5, 1.2), ("d", 0, 0)):
        seq = await happen(own, key, days, arrived)
    await own.execute("retention_followed", (seq,))
    deleted: list[Dropped] = []
    assert await Retention(own, 30).drop(deleted.append) == Dropped(6)
    assert deleted[-1].log_events - deleted[0].log_events < 3  # a day went whole; of the other the late ones stay
    assert await left(own) == {"c", "late", "d"}
    # What is older than every day that is left has a place as well.
    await happen(own, "old", 400, 0)
    assert await left(own) == {"c", "late", "d", "old"}
    assert await Retention(own, 30).drop() == Dropped()


async def test_a_server_makes_the_days_before_they_are_written_to(own: Database) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(Retention(own, 30).run(stop))
    async with asyncio.timeout(30):
        while len(await days_of(own)) == 1:
            await asyncio.sleep(0.05)
    stop.set()
    await running
    assert len(await days_of(own)) == 5  # today, three ahead, and what lies later


async def test_a_day_in_use_is_waited_for_and_loses_nothing(own: Database) -> None:
    """Between the look at a day and its drop a delivery for it arrives."""
    now_us = time.time_ns() // 1000
    partitions = LogPartitions(own)
    await partitions.prepare(now_us - 5 * DAY_US)
    await happen(own, "first", 5, 5)
    store = IngestStore(own)
    event = LogEvent("e", now_us - 5 * DAY_US, "web", Level.INFO, "between", 7, "<*>")
    between = asyncio.get_running_loop()

    def meanwhile(tx: Transaction, name: str, parameters: Sequence[object] = ()) -> list[Row]:
        rows = fetch(tx, name, parameters)
        if name == "count_log_events":
            taking = store.take(Batch("e", "logs", "between", now_us, logs=[event]))
            asyncio.run_coroutine_threadsafe(taking, between).result(30)
        return rows

    fetch = Transaction.fetch
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Transaction, "fetch", meanwhile)
        assert await partitions.drop(1, now_us) == 0
    assert await left(own) == {"first", "between"}


async def test_what_is_too_much_goes_oldest_first(own: Database) -> None:
    now_us = time.time_ns() // 1000
    for day in range(12, -1, -1):
        await LogPartitions(own).prepare(now_us - day * DAY_US)
        seq = await happen(own, f"d{day:02}", day, day, count=400)
    await own.execute("retention_followed", (seq,))
    full = await Retention(own, 0).status()
    assert full.size > 13 * 400 * 300
    dropped = await Retention(own, 0, full.size // 2).drop()
    assert 13 * 400 * 0.4 < dropped.log_events < 13 * 400 * 0.7
    days = sorted(await left(own))
    assert days[0] == "d00"
    assert days == [f"d{day:02}" for day in range(len(days))]
    after = await Retention(own, 0, full.size // 2).status()
    assert after.size < full.size * 0.75
    assert await Retention(own, 0, full.size).drop() == Dropped()

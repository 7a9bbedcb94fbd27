from __future__ import annotations

import time
from collections.abc import Awaitable, Callable

import pytest

from domain.telemetry import Level, LogEvent, MetricPoint, Span, SpanKind
from domain.times import HOUR_US
from storage import retention as module
from storage.batch import Batch
from storage.database import QUERIES, Database
from storage.ingest import IngestStore
from storage.migrate import migrate
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
    await own.execute("retention_followed", (seq,))
    status = await retention.status()
    assert (status.days, status.due) == (30, Dropped(6, 2, 2))
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

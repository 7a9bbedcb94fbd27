"""What a search reads from the store: the lines of one request, wherever they lie in time."""

from __future__ import annotations

import pytest

from domain.telemetry import Level, LogEvent
from domain.times import DAY_US, SECOND_US, Window
from storage.batch import Batch
from storage.database import Database
from storage.ingest import IngestStore
from storage.search import SearchStore

NOW = 1_790_000_100_000_000  # a border of two slots of the index
TRACE, OTHER = "ab" * 16, "cd" * 16


def line(environment: str, time_us: int, message: str, trace_id: str = TRACE, level: Level = Level.INFO) -> LogEvent:
    return LogEvent(environment, time_us, "web", level, message, 7, "<*>", "", trace_id)


@pytest.fixture
async def store(database: Database, environment: str) -> SearchStore:
    events = [
        line(environment, NOW - 1, "first"),
        line(environment, NOW, "second"),
        line(environment, NOW + SECOND_US, "failed", level=Level.ERROR),
        line(environment, NOW + 2 * SECOND_US, "another's", OTHER),
        line(environment, NOW - 40 * DAY_US, "long ago", "ee" * 16),
        line(environment, NOW - 40 * DAY_US - 90_000 * SECOND_US, "the day before", "ee" * 16),
        line(environment, -5, "before 1970", "ff" * 16),
        line(f"{environment}-2", NOW, "elsewhere"),
    ]
    await IngestStore(database).take(Batch(environment, "logs", "lines", NOW, logs=events))
    return SearchStore(database)


async def test_the_lines_of_a_request_are_found_the_gravest_first(store: SearchStore, environment: str) -> None:
    ever = Window(-DAY_US, NOW + DAY_US)

    async def found(trace_id: str, window: Window = ever, limit: int = 10) -> list[str]:
        return [row.message for row in await store.lines_of_trace(environment, window, trace_id, limit)]

    assert await found(TRACE) == ["failed", "first", "second"]
    assert await found(TRACE, limit=2) == ["failed", "first"]
    assert await found(TRACE, Window(NOW, NOW + SECOND_US)) == ["second"]
    assert await found("ee" * 16) == ["the day before", "long ago"]
    assert await found("ee" * 16, Window(NOW - DAY_US, NOW + DAY_US)) == []
    assert await found("ff" * 16) == ["before 1970"]
    assert await found("00" * 16) == []

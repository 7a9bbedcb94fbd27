"""Log events come out of the database as they were put in, by file or as JSON, and are counted as they are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import storage
from domain.errors import StorageRefused
from domain.telemetry import Level, LogEvent
from domain.times import SLOT_US
from storage.database import QUERIES, Database
from storage.ingest import Batch, IngestStore
from storage.log_rows import count_arrivals, make_log_rows, merge_counts
from storage.migrate import split_statements

QUERIES["log_rows_stored"] = (
    "SELECT service, level, template_id, message, attributes FROM log_event WHERE environment = ? ORDER BY id"
)
QUERIES["log_rows_arrived"] = (
    "SELECT service, node, template_id, level, slot_us, count, first_us, last_us FROM log_arrival WHERE environment = ? "
    "ORDER BY seq, service, node, template_id, level, slot_us"
)
QUERIES["log_rows_forget"] = "DELETE FROM log_arrival WHERE environment = ?"
QUERIES["log_rows_files_on"] = "SET GLOBAL local_infile = 1"
QUERIES["log_rows_files_off"] = "SET GLOBAL local_infile = 0"

AWKWARD = (
    "NULL", "\\N", "", " ", "a\tb\nc\r\nd", "back\\slash \\", "\"quoted\" 'text'", "é 😀 \U0010ffff", "x" * 60_000, "1\x1f2\x1e3",
)  # fmt: skip


def event(environment: str, message: str, at_us: int = 0, service: str = "web", node: str = "") -> LogEvent:
    return LogEvent(environment, 10**15 + at_us, service, Level.WARN, message, 7, "t", node, attributes={"k": message})


@pytest.fixture(params=["files", "no files"])
async def files(request: pytest.FixtureRequest, database: Database) -> AsyncIterator[None]:
    if request.param == "files":
        yield
        return
    await database.execute("log_rows_files_off")
    try:
        yield
    finally:
        await database.execute("log_rows_files_on")


@pytest.mark.usefixtures("files")
async def test_lines_come_out_as_they_were_put_in(database: Database, environment: str) -> None:
    batches = [
        Batch(environment, "logs", f"{environment}-{at}", 1, logs=[event(environment, text), event(environment, "end")])
        for at, text in enumerate(AWKWARD)
    ]
    store = IngestStore(database)
    for batch in batches:
        assert (await store.take(batch)).accepted == 2
    stored = await database.fetch("log_rows_stored", (environment,))
    expected = [text.translate({0x1E: " ", 0x1F: " "}) for text in AWKWARD]
    assert [row[3] for row in stored[::2]] == expected
    assert {row[3] for row in stored[1::2]} == {"end"}
    assert {row[:3] for row in stored} == {("web", 13, 7)}


async def test_what_does_not_fit_is_refused_whole(database: Database, environment: str) -> None:
    batch = Batch(
        environment, "logs", environment, 1, logs=[event(environment, "a"), event(environment, "b", service="s" * 200)]
    )
    with pytest.raises(StorageRefused, match="service"):
        await IngestStore(database).take(batch)
    assert await database.fetch("log_rows_stored", (environment,)) == []
    assert await database.fetch("log_rows_arrived", (environment,)) == []


@given(st.lists(st.text(), max_size=5))
def test_every_text_keeps_to_its_field(messages: list[str]) -> None:
    rows = make_log_rows([event("e", message) for message in messages], lambda attributes: "{}").rows(4)
    blanked = [message.translate({0x1E: " ", 0x1F: " "}) for message in messages]
    assert [(row[0], row[1], row[9], row[10]) for row in rows] == [(4, "e", message, "{}") for message in blanked]


def test_arrivals_and_counts_say_how_many_and_when() -> None:
    events = [event("e", "m", at, node=node) for at, node in ((5, "n1"), (3, "n1"), (9, "n2"), (SLOT_US, "n1"))]
    arrivals = count_arrivals(events)
    assert [(row[2], row[5] - 10**15, *(row[6:7]), row[7] - 10**15, row[8] - 10**15) for row in arrivals] == [
        ("n1", 0, 2, 3, 5), ("n1", SLOT_US, 1, SLOT_US, SLOT_US), ("n2", 0, 1, 9, 9),
    ]  # fmt: skip
    assert [(row[1] - 10**15, row[5], row[6] - 10**15, row[7] - 10**15) for row in merge_counts(arrivals)] == [
        (0, 3, 3, 9), (SLOT_US, 1, SLOT_US, SLOT_US),
    ]  # fmt: skip


async def test_the_migration_counts_what_was_not_followed_yet(database: Database, environment: str) -> None:
    logs = [event(environment, "m", at * SLOT_US // 4, node=f"n{at % 2}") for at in range(12)]
    await IngestStore(database).take(Batch(environment, "logs", environment, 1, logs=logs))
    counted = await database.fetch("log_rows_arrived", (environment,))
    assert sum(row[5] for row in counted) == len(logs) and len(counted) == 6
    await database.execute("log_rows_forget", (environment,))
    folder = Path(storage.__file__).parent / "migrations"
    (script,) = folder.glob("*_log_arrivals.sql")
    statements = list(split_statements(script.read_text(encoding="utf-8")))
    for _ in range(2):
        await database.transaction(lambda tx: tx.run_script(statements))
        assert await database.fetch("log_rows_arrived", (environment,)) == counted

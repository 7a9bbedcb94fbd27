"""Counts of a window are what was written in it, also where it cuts slots, lines are only counted, or dropped by now."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import pytest

from domain.telemetry import Level, LogEvent
from domain.times import SECOND_US, SLOT_US, Window
from storage.batch import Batch
from storage.database import QUERIES, Database
from storage.ingest import IngestStore
from storage.log_counts import LogCounts
from storage.telemetry import Telemetry

START = 1_790_000_000_000_000
SPAN = 5 * SLOT_US
LEVELS = (Level.INFO, Level.ERROR)

QUERIES["log_counts_forget_lines"] = "DELETE FROM log_event WHERE environment = ?"


def events(environment: str, count: int, seed: int) -> list[LogEvent]:
    choose = random.Random(seed)
    return [
        LogEvent(
            environment,
            START + choose.randrange(SPAN),
            choose.choice(("web", "cart")),
            choose.choice(LEVELS),
            f"line {n}",
            choose.choice((7, 8)),
            "line <*>",
        )
        for n in range(count)
    ]


async def store(database: Database, environment: str, kept: Sequence[LogEvent], counted: Sequence[LogEvent]) -> None:
    batch = Batch(environment, "logs", environment, START, logs=kept, counted=counted)
    assert (await IngestStore(database).take(batch)).accepted == len(kept) + len(counted)
    again = await IngestStore(database).take(batch)
    assert (again.accepted, again.duplicate) == (0, len(kept) + len(counted))


def expected(lines: Sequence[LogEvent], window: Window) -> Counter[tuple[str, int, int]]:
    return Counter((e.service, e.template_id, int(e.level)) for e in lines if window.holds(e.time_us))


def windows(seed: int) -> list[Window]:
    choose = random.Random(seed)
    edges = [sorted(choose.sample(range(START, START + SPAN), 2)) for _ in range(12)]
    one = START + 3 * SECOND_US
    edges += [[START, START + SPAN], [START + SLOT_US, START + 3 * SLOT_US], [one, one + SECOND_US], [one, one]]
    return [Window(start, end) for start, end in edges]


async def found(database: Database, environment: str, window: Window) -> dict[tuple[str, int, int], int]:
    return {count[:3]: count.lines for count in await Telemetry(database).template_counts(environment, window)}


async def test_every_window_is_counted_exactly_while_its_lines_are_kept(database: Database, environment: str) -> None:
    lines = events(environment, 300, 1)
    await store(database, environment, lines, [])
    for window in windows(2):
        assert await found(database, environment, window) == expected(lines, window), window
        counts = await Telemetry(database).template_counts(environment, window)
        for count in counts:
            times = [
                e.time_us
                for e in lines
                if (e.service, e.template_id, int(e.level)) == count[:3] and window.holds(e.time_us)
            ]
            assert (count.first_us, count.last_us) == (min(times), max(times))


async def test_lines_that_have_no_row_count_wherever_a_window_begins(database: Database, environment: str) -> None:
    kept, counted = events(environment, 200, 3), events(environment, 200, 4)
    await store(database, environment, kept, counted)
    await check_shared_out(database, environment, [*kept, *counted])


async def test_counts_outlive_the_lines_wherever_a_window_begins(database: Database, environment: str) -> None:
    lines = events(environment, 400, 5)
    await store(database, environment, lines, [])
    assert await database.execute("log_counts_forget_lines", (environment,)) == 400
    await check_shared_out(database, environment, lines)


async def check_shared_out(database: Database, environment: str, lines: Sequence[LogEvent]) -> None:
    """Whole slots are exact; of the at most two slots that a window cuts, few lines are on the wrong side of the cut."""
    for window in windows(6):
        wrong = Counter(await found(database, environment, window))
        wrong.subtract(expected(lines, window))
        cuts = sum(bool(edge % SLOT_US) for edge in (window.start_us, window.end_us))
        assert sum(map(abs, wrong.values())) <= 14 * cuts, window
        if window.start_us == window.end_us:
            assert not wrong
    half = START + SPAN // 2 + 123_457
    parts = [await found(database, environment, window) for window in (Window(START, half), Window(half, START + SPAN))]
    assert abs(sum(sum(part.values()) for part in parts) - len(lines)) <= 8


async def test_a_single_line_is_counted_on_its_side_of_the_cut(database: Database, environment: str) -> None:
    at = START + 4 * SECOND_US
    event = LogEvent(environment, at, "web", Level.INFO, "alone", 7, "alone")
    await store(database, environment, [], [event])
    assert await found(database, environment, Window(START + 1, at)) == {}
    assert await found(database, environment, Window(START + 1, at + 1)) == {("web", 7, 9): 1}
    assert await found(database, environment, Window(at, at + 1)) == {("web", 7, 9): 1}
    assert await found(database, environment, Window(at + 1, START + 2 * SLOT_US)) == {}


@pytest.mark.parametrize("step_us", [SLOT_US, 2 * SLOT_US, 60 * SECOND_US])
async def test_steps_sum_up_to_the_window(database: Database, environment: str, step_us: int) -> None:
    lines = events(environment, 300, 7)
    await store(database, environment, lines, [])
    counts = LogCounts(database)
    for window in windows(8):
        steps = await counts.by_step(environment, window, step_us, "", 0, 0)
        wanted = Counter((e.time_us - e.time_us % step_us, int(e.level)) for e in lines if window.holds(e.time_us))
        assert {(step.start_us, step.level): step.lines for step in steps} == wanted
        some = await counts.by_step(environment, window, step_us, "cart", Level.ERROR, 8)
        chosen = expected(lines, window)["cart", 8, int(Level.ERROR)]
        assert sum(step.lines for step in some) == chosen


async def test_since_when_a_template_is_written_is_known(database: Database, environment: str) -> None:
    lines = events(environment, 100, 9)
    await store(database, environment, lines, [])
    first = {number: min(e.time_us for e in lines if e.template_id == number) for number in (7, 8)}
    telemetry = Telemetry(database)
    assert await telemetry.seen_before(environment, (7, 8, 9), START + SPAN) == first
    assert await telemetry.seen_before(environment, (7, 8), min(first.values())) == {}
    assert await telemetry.seen_before(f"{environment}-other", (7, 8), START + SPAN) == {}
    assert await telemetry.seen_before(environment, (), START + SPAN) == {}

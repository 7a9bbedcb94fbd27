"""Requests read off the counters of a mesh as they come, in any portions, each once."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Sequence

import pytest

from diagnosis.metered_requests import MeterMemory
from domain.noticed import METERED, RequestSlot
from domain.observed import MeterPoint
from domain.times import SECOND_US, floor_slot

T0 = 1_790_000_000 * SECOND_US
STEP_US = 30 * SECOND_US
MOMENTS = 40
BROKEN = 30


def samples(*, cumulative: bool = True) -> Iterator[list[MeterPoint]]:
    """Yield what a proxy says each half minute of 100 requests to cart, 40 of which fail from a moment on."""
    totals = {"200": 5e6, "503": 90.0}
    spent = 700.0
    name = "requests_total" if cumulative else "requests"
    for at in range(MOMENTS):
        failed = 40 if at >= BROKEN else 0
        grown = {"200": 100 - failed, "503": failed}
        spent += 100 * (0.5 if at >= BROKEN else 0.02)
        totals = {code: totals[code] + count for code, count in grown.items()}
        said = {code: totals[code] if cumulative else float(count) for code, count in grown.items()}
        yield [
            *(_point(name, at, value, {"code": code}) for code, value in said.items()),
            *([_point("duration_seconds_sum", at, spent, {})] if cumulative else []),
        ]


def _point(name: str, at: int, value: float, labels: dict[str, str]) -> MeterPoint:
    text = json.dumps(labels)
    return MeterPoint("mesh", name, name + text, "cart", "web", text, T0 + at * STEP_US, value)


def counts(slots: Sequence[RequestSlot]) -> list[tuple[int, int, int]]:
    return [(slot.slot_us, slot.requests, slot.errors) for slot in slots]


@pytest.mark.parametrize("per_turn", [1, 3, MOMENTS])
@pytest.mark.parametrize("cumulative", [True, False])
def test_every_moment_counts_once_however_many_come_at_a_time(per_turn: int, cumulative: bool) -> None:
    every = list(samples(cumulative=cumulative))
    memory = MeterMemory()
    found: list[RequestSlot] = []
    for at in range(0, MOMENTS, per_turn):
        part = [point for points in every[at : at + per_turn] for point in points]
        found += memory.take(part, max(point.time_us for point in part))
    found += memory.take([], T0 + MOMENTS * STEP_US)
    assert {slot.operation for slot in found} == {METERED}
    told = {at: (requests, errors) for at, requests, errors in counts(found)}
    assert len(told) == len(found)
    for at in range(1, MOMENTS):
        slot_us = floor_slot(T0 + at * STEP_US)
        assert told[slot_us] == (100, 40 if at >= BROKEN else 0)
    if cumulative:
        assert found[5].durations.quantile_us(0.5) == pytest.approx(20_000, rel=0.1)
        assert found[-1].durations.quantile_us(0.5) == pytest.approx(500_000, rel=0.1)


def test_one_that_is_built_again_goes_on_where_the_other_stopped() -> None:
    every = list(samples())
    first = MeterMemory()
    before = [slot for points in every[:20] for slot in first.take(points, points[0].time_us)]
    heard = [point for points in every[:20] for point in points]
    again = MeterMemory(heard, {"cart": max(slot.slot_us for slot in before) + 10 * SECOND_US - 1})
    rest = [slot for points in every[20:] for slot in again.take(points, points[0].time_us)]
    other = [slot for points in every[20:] for slot in first.take(points, points[0].time_us)]
    assert counts(rest) == counts(other)
    assert not set(counts(before)) & set(counts(rest))


def test_shares_count_by_the_requests_that_they_are_of() -> None:
    choose = random.Random(2)
    memory = MeterMemory()
    slots: list[RequestSlot] = []
    for at in range(20):
        points = [
            _point("rps", at, 10 + choose.random(), {}),
            _point("error_rate", at, 0.25, {}),
            _point("latency_p95_ms", at, 80 + choose.random(), {}),
        ]
        slots += memory.take(points, points[0].time_us + 20 * SECOND_US)
    assert all(300 <= slot.requests <= 330 for slot in slots)
    assert all(slot.errors == pytest.approx(0.25 * slot.requests, abs=1) for slot in slots)
    assert slots[-1].durations.quantile_us(0.5) == pytest.approx(80_000, rel=0.1)

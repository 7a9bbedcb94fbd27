"""Sketches of durations add up, and their quantiles are nearly right."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.sketch import LatencySketch, bucket_of

_durations = st.lists(st.integers(1, 2**40), min_size=1, max_size=60)


@given(_durations, _durations, st.sampled_from([0.5, 0.9, 0.95, 1.0]))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_parts_add_up_and_can_be_taken_out_again(one: list[int], other: list[int], share: float) -> None:
    both = LatencySketch.of(one).plus(LatencySketch.of(other))
    assert both == LatencySketch.of([*one, *other])
    assert LatencySketch.from_text(both.to_text()) == both
    taken = {bucket: -count for bucket, count in LatencySketch.of(other).counts.items()}
    assert both.plus(LatencySketch(taken)) == LatencySketch.of(one)
    ordered = sorted([*one, *other])
    exact = ordered[max(0, -(-round(share * len(ordered) * 1000) // 1000) - 1)]
    assert bucket_of(both.quantile_us(share)) == pytest.approx(bucket_of(exact), abs=1)


@given(st.integers(1, 2**50))
def test_a_quantile_is_at_most_nine_percent_off(duration_us: int) -> None:
    off = abs(LatencySketch.of([duration_us]).quantile_us(0.5) - duration_us)
    assert off <= 0.091 * duration_us + 0.5  # 0.5: rounded to whole microseconds


def test_nothing_has_no_quantile() -> None:
    assert (LatencySketch().quantile_us(0.5), LatencySketch().total, LatencySketch().to_text()) == (0, 0, "")


def test_above_counts_whole_buckets() -> None:
    sketch = LatencySketch.of([100, 1_000, 10_000, 100_000])
    assert [sketch.above(limit) for limit in (50, 500, 1_000, 10**9)] == [4, 3, 2, 0]

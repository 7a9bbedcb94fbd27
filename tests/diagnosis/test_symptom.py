"""When is something wrong: the scan over buckets of requests."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.symptom import find_symptoms, usual_slow_us
from domain.observed import EntryBucket


def buckets(errors: list[int], requests: int = 20, name: str = "POST /checkout") -> list[EntryBucket]:
    return [EntryBucket("shop", name, at, requests, bad, 10.0, 0, requests) for at, bad in enumerate(errors)]


def test_a_stretch_of_failures_is_found_with_its_bounds() -> None:
    (symptom,) = find_symptoms(buckets([0] * 20 + [9] * 10), 1_000_000, "errors")
    assert symptom.start_us == 20_000_000
    assert symptom.end_us == 30_000_000
    assert symptom.share == pytest.approx(0.45)
    assert not symptom.recovered


def test_a_recovered_blip_is_called_so() -> None:
    (symptom,) = find_symptoms(buckets([0] * 10 + [15] * 5 + [0] * 15), 1_000_000, "errors")
    assert (symptom.start_us, symptom.end_us, symptom.recovered) == (10_000_000, 15_000_000, True)


def test_between_two_bursts_nothing_has_recovered() -> None:
    bursts = [0] * 20 + [15, 0, 0, 0, 0, 15, 0, 0, 0, 0, 15] + [0] * 6
    (symptom,) = find_symptoms(buckets(bursts), 1_000_000, "errors")
    assert not symptom.recovered


@pytest.mark.parametrize("usual", [0, 1, 2])
def test_a_steady_share_of_failures_is_usual(usual: int) -> None:
    assert find_symptoms(buckets([usual] * 60), 1_000_000, "errors") == []


def test_a_few_scattered_failures_are_no_symptom() -> None:
    assert find_symptoms(buckets([0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 1] * 5), 1_000_000, "errors") == []


def test_failing_from_the_first_request_on_is_found() -> None:
    assert len(find_symptoms(buckets([20] * 10), 1_000_000, "errors")) == 1


def test_the_usual_duration_survives_a_fault_of_most_of_the_time() -> None:
    rows = [EntryBucket("s", "op", at, 10, 0, 9.0 if at < 10 else 14.0, 0, 0) for at in range(35)]
    assert usual_slow_us(rows)["s", "op"] < 200_000


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60))
def test_bounds_are_within_the_data_and_order_does_not_matter(errors: list[int]) -> None:
    rows = buckets(errors)
    found = find_symptoms(rows, 1_000_000, "errors")
    assert found == find_symptoms(list(reversed(rows)), 1_000_000, "errors")
    for symptom in found:
        assert 0 <= symptom.start_us < symptom.end_us <= len(errors) * 1_000_000
        assert 0 < symptom.bad <= symptom.requests


def test_half_of_all_requests_failing_for_as_long_as_can_be_seen_is_not_health() -> None:
    assert len(find_symptoms(buckets([10] * 60), 1_000_000, "errors")) == 1


def test_two_troubles_with_a_long_calm_between_them_are_two() -> None:
    minutes = [0] * 20 + [15] * 4 + [0] * 20 + [6] * 5
    first, second = sorted(find_symptoms(buckets(minutes), 60_000_000, "errors"), key=lambda s: s.start_us)
    assert (first.start_us, first.end_us, first.recovered) == (20 * 60_000_000, 24 * 60_000_000, True)
    assert (second.start_us, second.recovered) == (44 * 60_000_000, False)
    assert first.evidence > second.evidence


def test_bursts_that_come_again_and_again_are_one_trouble() -> None:
    minutes = [0] * 20 + [15, 0, 0, 0, 0] * 6
    (symptom,) = find_symptoms(buckets(minutes), 60_000_000, "errors")
    assert not symptom.recovered


def test_trouble_that_began_is_told_from_what_was_always_like_that() -> None:
    (begun,) = find_symptoms(buckets([0] * 20 + [9] * 10), 1_000_000, "errors")
    assert begun.begun
    (always,) = find_symptoms(buckets([9] * 30), 1_000_000, "errors")
    assert not always.begun


def test_a_few_failures_in_every_minute_hide_no_outage_and_are_none() -> None:
    chronic = [1, 0, 0, 1, 0, 2, 0, 1] * 12
    assert find_symptoms(buckets(chronic, requests=5), 4_000_000, "errors") == []
    (symptom,) = find_symptoms(buckets([*chronic, 3, 4, 3, 3, 4, 3, 4, 3], requests=5), 4_000_000, "errors")
    assert symptom.start_us == pytest.approx(96 * 4_000_000, abs=16_000_000)

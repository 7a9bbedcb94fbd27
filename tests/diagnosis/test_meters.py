"""Requests, failures and durations read off metrics of many habits."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import accumulate

import pytest

from diagnosis.golden import bad_stretch, find_excesses, golden_signals, symptom_of
from diagnosis.meter_shifts import replace_shifts
from diagnosis.meters import Meter, read_meters, role_of, says_failed
from domain.observed import MeterPoint, MetricShift
from domain.times import MINUTE_US, Window

SPLIT = 10 * MINUTE_US
REQUESTS = [90.0, 95, 88, 91, 90, 92, 94, 89, 90, 93] + [91.0] * 5
FAILED = [0.0] * 10 + [40.0, 45, 41, 44, 43]


def sent(name: str, values: Sequence[float], first: int = 0, about: str = "cart", **labels: str) -> list[MeterPoint]:
    said = json.dumps(labels)
    return [
        MeterPoint("mesh", name, f"{name}{about}{said}", about, "web", said, (first + at) * MINUTE_US, value)
        for at, value in enumerate(values)
    ]


def grown(values: Sequence[float], begin: float = 0.0) -> list[float]:
    return list(accumulate(values, initial=begin))[1:]


def meter(meters: Sequence[Meter], role: str) -> Meter:
    (found,) = (m for m in meters if m.role == role)
    return found


def shift_of(meters: Sequence[Meter], role: str) -> MetricShift:
    (found,) = (s for s in replace_shifts([], meters, SPLIT) if s.role == role)
    return found


def test_counters_are_read_by_their_growth() -> None:
    meters = read_meters([*sent("requests_total", grown(REQUESTS, 5e6)), *sent("errors_total", grown(FAILED, 700))])
    assert list(meter(meters, "traffic").samples.values()) == REQUESTS[1:]
    assert list(meter(meters, "errors").samples.values()) == FAILED[1:]


def test_a_counter_that_begins_anew_grew_by_what_it_holds() -> None:
    values = [*grown(REQUESTS[:8], 5e6), *grown(REQUESTS[8:])]
    assert list(meter(read_meters(sent("requests_total", values)), "traffic").samples.values()) == REQUESTS[1:]


def test_a_gauge_that_goes_up_and_down_is_no_counter() -> None:
    found = meter(read_meters(sent("request_count", REQUESTS)), "traffic")
    assert not found.derived
    assert list(found.samples.values()) == REQUESTS


def test_failures_that_begin_and_become_more_are_no_counter() -> None:
    rising = [0.0] * 10 + [12.0, 50, 55, 57, 60]
    assert list(meter(read_meters(sent("errors", rising)), "errors").samples.values()) == rising


def test_failures_are_told_by_labels_even_where_their_series_is_new() -> None:
    good = sent("http_requests_total", grown(REQUESTS, 1e6), code="200")
    bad = sent("http_requests_total", grown(FAILED[10:]), first=10, code="503")
    errors = shift_of(read_meters([*good, *bad]), "errors")
    assert errors.before_mean == 0.0
    assert errors.after_mean == pytest.approx(42.6)
    assert (errors.service, errors.name, errors.series) == bad[0][:3]  # the record that shows it is one that there is
    quiet = shift_of(read_meters(good), "errors")
    assert (quiet.before_max, quiet.after_max) == (0.0, 0.0)


def test_a_sum_and_a_count_are_a_mean() -> None:
    seconds = [n * (0.02 if at < 10 else 0.5) for at, n in enumerate(REQUESTS)]
    points = sent("http_duration_seconds_sum", grown(seconds, 9.0))
    points += sent("http_duration_seconds_count", grown(REQUESTS, 100))
    slow = shift_of(read_meters(points), "latency")
    assert slow.before_mean == pytest.approx(0.02)
    assert slow.after_mean == pytest.approx(0.5)
    # Alone the sum says nothing but that there was work.
    assert shift_of(read_meters(sent("http_duration_seconds_sum", grown(seconds))), "latency").before_count == 0


@pytest.mark.parametrize(
    ("labels", "failed"),
    [
        ({"status": "500"}, True),
        ({"http.response.status_code": "404"}, False),
        ({"response_code": "5xx"}, True),
        ({"outcome": "SERVER_ERROR"}, True),
        ({"outcome": "SUCCESS"}, False),
        ({"success": "false"}, True),
        ({"error": "true"}, True),
        ({"error.type": "KeyError"}, True),
        ({"grpc_code": "Unavailable"}, True),
        ({"path": "/error", "country_code": "DE"}, None),
        ({}, None),
    ],
)
def test_labels_say_how_requests_ended(labels: dict[str, str], failed: bool | None) -> None:
    assert says_failed(labels) is failed


def test_a_bare_quantile_is_one_of_time() -> None:
    assert role_of("p99") == "latency"
    assert role_of("response_size_bytes.p99") is None


def test_where_nobody_knows_who_calls_whom_failures_name_no_cause() -> None:
    points = [p for name in ("cart", "stock") for p in sent("errors_total", grown(FAILED, 3), about=name)]
    excesses = find_excesses(replace_shifts([], read_meters(points), SPLIT))
    felt = symptom_of(excesses, [], [])
    assert felt is not None
    _, unexplained = golden_signals(excesses["errors"], felt, [], Window(SPLIT, 2 * SPLIT), {})
    assert unexplained == {"cart": 0.05, "stock": 0.05}
    _, unexplained = golden_signals(excesses["errors"], felt, [("cart", "stock")], Window(SPLIT, 2 * SPLIT), {})
    assert unexplained == {"cart": 0.05, "stock": 1.0}


@pytest.mark.parametrize(
    ("after", "over"), [([40.0, 45, 0, 0, 0], True), (FAILED[10:], False), ([40.0, 45, 41, 0, 0], False)]
)
def test_trouble_that_is_over_is_seen_to_be(after: list[float], over: bool) -> None:
    meters = read_meters([*sent("errors_total", grown([*FAILED[:10], *after], 3))])
    excess = find_excesses(replace_shifts([], meters, SPLIT))["errors"]["cart"]
    first, last, ended = bad_stretch(meter(meters, "errors").samples, excess, SPLIT)
    assert (first, ended) == (SPLIT, over)
    assert last == SPLIT + (sum(1 for value in after if value) - 1) * MINUTE_US

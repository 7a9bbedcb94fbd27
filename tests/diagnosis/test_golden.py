"""Causes from metrics alone: what a dependency explains, and what nothing explains."""

from __future__ import annotations

import pytest

from diagnosis.golden import asked_role, find_excesses, golden_signals, symptom_of
from diagnosis.meters import role_of
from domain.observed import MetricShift
from domain.times import Window

CALLS = [("web", "search"), ("search", "store"), ("web", "ads")]
WINDOW = Window(0, 600_000_000)


def shift(service: str, name: str, before: float, after: float, *, low: float | None = None) -> MetricShift:
    return MetricShift(
        service,
        name,
        "0" * 16,
        12,
        before,
        0.01 * before,
        before,
        3,
        after,
        after,
        after if low is None else low,
        service,
    )


def latencies(**after: float) -> list[MetricShift]:
    before = {"web": 0.080, "search": 0.030, "store": 0.010, "ads": 0.020}
    return [shift(s, "latency.Average", before[s], after.get(s, before[s])) for s in before]


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("latency.p95", "latency"),
        ("http.server.request.duration.p50", "latency"),
        ("availability.Average", "availability"),
        ("http_5xx_total", "errors"),
        ("requests.Sum", "traffic"),
        ("CpuUsage(m)", None),
    ],
)
def test_roles_are_told_by_the_words_of_the_name(name: str, role: str | None) -> None:
    assert role_of(name) == role


def test_the_slow_callee_explains_its_caller_and_nothing_explains_the_callee() -> None:
    excesses = find_excesses(latencies(web=0.180, search=0.120))
    felt = symptom_of(excesses, [], CALLS)
    assert felt is not None
    assert felt.service == "web"
    signals, unexplained = golden_signals(excesses["latency"], felt, CALLS, WINDOW, {})
    assert unexplained["search"] == 1.0
    assert unexplained["web"] < 0.2
    assert {s.service for s in signals} == {"web", "search"}


def test_availability_is_weighed_by_the_requests_that_failed() -> None:
    shifts = [
        shift("web", "availability", 100.0, 99.0, low=97.0),
        shift("search", "availability", 100.0, 99.0, low=96.0),
        shift("web", "requests.Sum", 700.0, 700.0),
        shift("search", "requests.Sum", 1000.0, 1000.0),
    ]
    excesses = find_excesses(shifts)
    assert excesses["errors"]["web"].amount == pytest.approx(21)
    assert excesses["errors"]["search"].amount == pytest.approx(40)


def test_steady_metrics_have_no_excess() -> None:
    assert find_excesses(latencies()) == {}
    assert symptom_of({}, [], CALLS) is None


def test_the_question_decides_between_slow_and_failing() -> None:
    assert asked_role("web latency violates its SLO") == "latency"
    assert asked_role("why does web fail?") == "errors"
    assert asked_role("what is wrong?") is None


def test_a_young_series_is_as_noisy_as_its_sisters() -> None:
    sisters = [shift(f"s{n}", "latency.Average", 0.1, 0.1)._replace(before_deviation=0.03) for n in range(5)]
    young = shift("young", "latency.Average", 0.1, 0.13)._replace(before_count=5, before_deviation=0.001)
    assert find_excesses([*sisters, young]) == {}
    assert "young" in find_excesses([*sisters, young._replace(after_mean=0.4, after_max=0.4)])["latency"]


def test_one_far_sample_among_usual_ones_is_chance() -> None:
    usual = shift("web", "latency.Average", 0.1, 0.101)._replace(before_deviation=0.01, after_max=0.14, after_count=12)
    assert find_excesses([usual]) == {}


def test_a_single_failed_request_is_everyday_life() -> None:
    assert find_excesses([shift("web", "request_errors", 0.0, 1.0 / 3)._replace(after_max=1.0)]) == {}

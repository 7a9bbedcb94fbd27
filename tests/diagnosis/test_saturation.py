"""Full resources are told from busy ones, from what is left of them, and from a neighbour's."""

from __future__ import annotations

import pytest

from diagnosis.saturation import resource_of, saturation_signals
from domain.observed import MetricShift


def shift(
    name: str, before: float, after: float, service: str = "cart", deviation: float = 0.5, count: int = 30
) -> MetricShift:
    return MetricShift(
        service, name, "1", count, before, deviation, before * 1.2, 6, after, after * 1.05, after * 0.9, service
    )


def strengths(*shifts: MetricShift, work: float = 1.0) -> dict[str, float]:
    signals = saturation_signals(shifts, {}, 0, {s.about: work for s in shifts})
    return {signal.service: signal.strength for signal in signals}


@pytest.mark.parametrize(
    ("name", "fault_class"),
    [
        ("CpuUsageRate(%)", "resource"),
        ("container_memory_working_set_bytes", "resource"),
        ("db.client.connections.usage", "capacity"),
        ("kafka_consumer_lag", "capacity"),
        ("cpu_limit", None),
        ("memory_available_bytes", None),
        ("request_duration_seconds", None),
        ("orders_placed", None),
    ],
)
def test_resources_are_known_by_the_words_of_the_field(name: str, fault_class: str | None) -> None:
    assert resource_of(name) == fault_class


def test_a_processor_that_runs_full_is_seen_in_spite_of_one_earlier_spike() -> None:
    assert strengths(shift("cpu_usage_percent", 4.0, 90.0, deviation=15.0)) == {"cart": 1.0}
    assert strengths(shift("cpu_usage_percent", 4.0, 90.0, count=2)) == {"cart": 1.0}


def test_more_work_is_no_saturation() -> None:
    assert strengths(shift("cpu_millicores", 100, 350)) != {}
    assert strengths(shift("cpu_millicores", 100, 350), work=3.2) == {}


def test_what_moves_a_little_or_stays_low_is_no_saturation() -> None:
    assert strengths(shift("cpu_usage_percent", 60, 70)) == {}
    assert strengths(shift("cpu_usage_percent", 2, 9)) == {}
    assert strengths(shift("connections_in_use", 5, 14, deviation=4.0)) == {}


def test_the_node_of_several_services_says_less_about_each() -> None:
    found = strengths(shift("node_cpu_percent", 20, 95, "cart"), shift("node_cpu_percent", 20, 95, "stock"))
    assert set(found) == {"cart", "stock"}
    assert max(found.values()) < 0.5

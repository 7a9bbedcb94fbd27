"""Quantiles of cumulative histograms tell of the time since the last sample."""

from __future__ import annotations

import json
from typing import Any

from ingest.bucket_memory import BucketMemory
from ingest.otlp import JSON, decode_metrics

SECOND_NS = 1_000_000_000
START_NS = 1_780_000_000 * SECOND_NS


def p95(
    memory: BucketMemory | None, minute: int, counts: list[int], host: str = "a", temporality: int = 2
) -> float | None:
    at = START_NS + minute * 60 * SECOND_NS
    point: dict[str, Any] = {
        "startTimeUnixNano": str(START_NS),
        "timeUnixNano": str(at),
        "count": sum(counts),
        "sum": 1.0,
        "max": 999.0,
        "bucketCounts": counts,
        "explicitBounds": [10, 100, 1000],
        "attributes": [{"key": "route", "value": {"stringValue": "/"}}],
    }
    metric = {"name": "ms", "histogram": {"aggregationTemporality": temporality, "dataPoints": [point]}}
    resource = {"attributes": [{"key": "service.instance.id", "value": {"stringValue": host}}]}
    body = {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}
    found = decode_metrics(json.dumps(body).encode(), JSON, "e", 0, memory).records
    return next((record.value for record in found if record.name == "ms.p95"), None)


def test_a_series_that_was_fast_for_an_hour_is_slow_at_once() -> None:
    memory = BucketMemory()
    assert p95(memory, 1, [100, 0, 0, 0]) == 9.5  # it began a minute ago
    assert p95(memory, 60, [10_000, 0, 0, 0]) == 9.5
    slow = p95(memory, 61, [10_000, 0, 100, 0])
    assert slow is not None
    assert slow > 900
    fast = p95(None, 61, [10_000, 0, 100, 0])
    assert fast is not None
    assert fast < 10


def test_what_cannot_be_told_is_not_told() -> None:
    memory = BucketMemory()
    assert p95(memory, 60, [10_000, 0, 0, 0]) is None  # nobody knows how it was before
    assert p95(memory, 60, [10_000, 0, 9, 0]) is None  # the same time again
    assert p95(memory, 59, [9_000, 0, 0, 0]) is None  # late
    assert p95(memory, 61, [5, 0, 0, 0]) is None  # it began anew
    assert p95(memory, 62, [105, 0, 0, 0]) == 9.5
    assert p95(memory, 63, [105, 0, 0, 0]) is None  # nothing happened
    assert p95(memory, 64, [205, 0, 0, 0], host="b") is None  # another instance
    assert p95(memory, 64, [0, 0, 7, 0], temporality=1) is not None  # deltas are of their own time


def test_the_memory_is_bounded() -> None:
    memory = BucketMemory(series=2)
    for key in "abc":
        memory.counts_since(key, 0, 1, [1])
    assert memory.counts_since("a", 0, 2, [3]) == []  # forgotten
    assert memory.counts_since("c", 0, 2, [3]) == [2]

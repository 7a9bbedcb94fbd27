"""Requests per slot as metrics tell of them: for services that send no request traces but count what they answer.

The newest samples of each series are remembered, since a counter says something only beside what it held before. A
moment is given out once, a little after it, when the series that belong together have all been heard.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from statistics import median

from diagnosis.meter_shifts import keep_one_name
from diagnosis.meters import SHARE, Meter, Role, SeriesKey, microseconds, read_meters
from domain.noticed import METERED, RequestSlot
from domain.observed import MeterPoint
from domain.sketch import LatencySketch, bucket_of
from domain.times import SECOND_US, floor_slot

SAMPLES = 12
_AT_ONCE = 4
# With fewer samples nobody knows a counter from a gauge.
_KNOWN = 7
WAIT_US = 10 * SECOND_US
MAX_SERIES = 20_000
# What a sample of a rate or of a duration stands for where nothing counts requests.
_UNCOUNTED = 10.0
_PER_SECOND = re.compile(r"(?<![a-z])(?:rps|qps|ops|rate)(?![a-z])|per.?sec|throughput", re.IGNORECASE)


class MeterMemory:
    """The newest samples of the request metrics of one environment, and up to when each service was given out."""

    def __init__(self, points: Iterable[MeterPoint] = (), given: Mapping[str, int] | None = None) -> None:
        self._series: dict[SeriesKey, dict[int, MeterPoint]] = {}
        self._by_service: dict[str, set[SeriesKey]] = defaultdict(set)
        self._given = dict(given or {})
        self._waiting: set[str] = set()
        self._add(points)

    def take(self, points: Iterable[MeterPoint], head_us: int) -> list[RequestSlot]:
        """Take samples in; return the slots that are complete, given the newest time that anything speaks of.

        What was sent long ago comes many samples at a time: they are taken in as they would have come then.
        """
        slots: list[RequestSlot] = []
        for part in _portions(points):
            self._add(part)
            reached_us = max(point.time_us for point in part)
            slots += self._give_all_out(reached_us)
        return slots + self._give_all_out(head_us)

    def _give_all_out(self, head_us: int) -> list[RequestSlot]:
        return [slot for service in sorted(self._waiting) for slot in self._give_out(service, head_us - WAIT_US)]

    def _add(self, points: Iterable[MeterPoint]) -> None:
        for point in points:
            key = (point.service, point.name, point.series)
            if key not in self._series and len(self._series) >= MAX_SERIES:
                continue
            held = self._series.setdefault(key, {})
            held[point.time_us] = point
            if len(held) > SAMPLES:
                del held[min(held)]
            self._by_service[point.about].add(key)
            self._waiting.add(point.about)

    def _give_out(self, service: str, until_us: int) -> list[RequestSlot]:
        held = [self._series[key] for key in sorted(self._by_service[service])]
        if max(map(len, held)) < _KNOWN:
            return []
        newest = max(moment for samples in held for moment in samples)
        given = self._given.get(service, 0)
        if newest <= given or min(moment for s in held for moment in s if moment > given) > until_us:
            return []
        meters = read_meters(point for samples in held for point in samples.values())
        found = [slot for slot, at in requests_of(service, meters) if given < at <= until_us]
        self._given[service] = min(newest, until_us)
        if newest <= until_us:
            self._waiting.discard(service)
        return found


def _portions(points: Iterable[MeterPoint]) -> Iterator[list[MeterPoint]]:
    """Yield samples by time, a few of each series at once."""
    part: list[MeterPoint] = []
    taken: Counter[SeriesKey] = Counter()
    for point in sorted(points, key=lambda p: p.time_us):
        key = (point.service, point.name, point.series)
        if taken[key] == _AT_ONCE:
            yield part
            part, taken = [], Counter()
        part.append(point)
        taken[key] += 1
    if part:
        yield part


def requests_of(service: str, meters: Sequence[Meter]) -> list[tuple[RequestSlot, int]]:
    """Return the requests of a service at each moment that its meters speak of, and that moment."""
    chosen = keep_one_name(meters)
    moments = sorted({moment for meter in chosen for moment in meter.samples})
    if not moments:
        return []
    step = median(b - a for a, b in itertools.pairwise(moments)) if len(moments) > 1 else SECOND_US
    by_role: dict[Role, list[Meter]] = defaultdict(list)
    for meter in chosen:
        by_role[meter.role].append(meter)
    found = []
    for moment in moments:
        counts = _count(by_role["traffic"], moment, step / SECOND_US)
        requests, errors, durations = _add_up(by_role, counts, moment)
        if requests:
            slot_us = floor_slot(moment)
            slot = RequestSlot("", service, METERED, slot_us, requests, min(errors, requests), 0, durations)
            found.append((slot, moment))
    return found


def _count(traffic: Sequence[Meter], moment: int, step_seconds: float) -> dict[tuple[str, str], float]:
    counts: dict[tuple[str, str], float] = defaultdict(float)
    for meter in traffic:
        if moment in meter.samples:
            per_second = _PER_SECOND.search(meter.name) and not meter.derived
            counts[meter.source, meter.version] += meter.samples[moment] * (step_seconds if per_second else 1.0)
    return dict(counts)


def _add_up(
    by_role: Mapping[Role, Sequence[Meter]], counts: Mapping[tuple[str, str], float], moment: int
) -> tuple[int, int, LatencySketch]:
    """Return requests, failures and durations of one moment."""
    counted = sum(counts.values())
    heard = [m for role in ("errors", "availability", "latency") for m in by_role.get(role, ()) if moment in m.samples]
    places = {(meter.source, meter.version) for meter in heard}
    requests = round(counted) if counts else round(_UNCOUNTED * len(places))

    def of(meter: Meter) -> float:
        return counts.get((meter.source, meter.version), counted / len(places)) if counts else _UNCOUNTED

    errors = 0.0
    failing = [m for m in heard if m.role == "errors"] or [m for m in heard if m.role == "availability"]
    for meter in failing:
        share = _share(meter, moment)
        errors += meter.samples[moment] if share is None else share * of(meter)
    durations: dict[int, int] = defaultdict(int)
    for meter in heard:
        if meter.role == "latency" and of(meter) >= 1:
            durations[bucket_of(round(meter.samples[moment] * microseconds(meter.name)))] += round(of(meter))
    return requests, round(errors), LatencySketch(dict(durations))


def _share(meter: Meter, moment: int) -> float | None:
    """Return the share of requests that failed where a meter tells a share; None where it counts failures."""
    if meter.derived or not SHARE.search(meter.name):
        return None
    whole = 100.0 if max(meter.samples.values()) > 1.0 or "percent" in meter.name.lower() else 1.0
    value = min(max(meter.samples[moment] / whole, 0.0), 1.0)
    return 1.0 - value if meter.role == "availability" else value

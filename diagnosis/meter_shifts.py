"""Meters set beside what else is compared: before and after a moment, and between versions of one service."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean, pstdev

from diagnosis.meters import AVERAGE, NO_COUNT, Meter, Role, microseconds
from domain.observed import MetricShift, VersionLoad
from domain.times import Window


def replace_shifts(
    shifts: Sequence[MetricShift], meters: Sequence[Meter], split_us: int, guard_us: int = 0
) -> list[MetricShift]:
    """Return the shifts with those of derived meters in place of the series that these were read from."""
    derived = [meter for meter in meters if meter.derived]
    gone = {key for meter in derived for key in meter.read}
    return [s for s in shifts if s[:3] not in gone] + [
        _shift(meter, split_us, guard_us) for meter in _all_versions(derived)
    ]


def _all_versions(meters: Sequence[Meter]) -> list[Meter]:
    """Return meters with the versions of a service added up: a new version has no baseline of its own."""
    groups: dict[tuple[str, str, str, str, str], list[Meter]] = defaultdict(list)
    for meter in meters:
        groups[meter.series[0], meter.about, meter.source, meter.role, meter.name].append(meter)
    joined = []
    for held in groups.values():
        best = max(held, key=lambda m: (math.fsum(m.samples.values()), m.series))
        if len(held) == 1 or best.role == "latency":
            joined += held
            continue
        sums: dict[int, float] = defaultdict(float)
        for meter in held:
            for moment, value in meter.samples.items():
                sums[moment] += value
        joined.append(replace(best, version="", samples=dict(sorted(sums.items())), derived=True))
    return joined


def _shift(meter: Meter, split_us: int, guard_us: int) -> MetricShift:
    before = [value for moment, value in meter.samples.items() if moment < split_us - guard_us]
    after = [value for moment, value in meter.samples.items() if moment >= split_us]
    return MetricShift(
        *meter.series,
        len(before),
        fmean(before) if before else None,
        pstdev(before) if before else None,
        max(before, default=None),
        len(after),
        fmean(after) if after else None,
        max(after, default=None),
        min(after, default=None),
        meter.about,
        meter.role,
    )


def find_version_loads(meters: Sequence[Meter], window: Window, bucket_us: int) -> list[VersionLoad]:
    """Return what each version of a service took in per bucket: requests, failures, durations.

    Where nothing counts requests, each sample of a duration stands for one.
    """
    chosen = keep_one_name([m for m in meters if m.version and m.role != "availability"])
    sums: dict[tuple[str, str, int], dict[Role, list[float]]] = defaultdict(lambda: defaultdict(list))
    first: dict[tuple[str, str, int], int] = {}
    for meter in chosen:
        unit = microseconds(meter.name) if meter.role == "latency" else 1.0
        for moment, value in meter.samples.items():
            if not window.start_us <= moment < window.end_us:
                continue
            key = (meter.about, meter.version, (moment - window.start_us) // bucket_us)
            sums[key][meter.role].append(value * unit)
            first[key] = min(first.get(key, moment), moment)
    loads = []
    for key, held in sorted(sums.items()):
        requests = math.fsum(held["traffic"]) or float(len(held["latency"]))
        slow = math.fsum(held["latency"]) / max(1, len(held["latency"]))
        loads.append(VersionLoad(*key, requests, math.fsum(held["errors"]), slow * requests, first[key]))
    return loads


def keep_one_name(meters: Sequence[Meter]) -> list[Meter]:
    """Keep one metric per service and role: what counts the failures counts the requests too, else the largest does.

    Of durations a mean that was worked out is the first choice, and one that says that it is one is the next.
    """
    totals: dict[tuple[str, Role], dict[str, float]] = defaultdict(lambda: defaultdict(float))
    derived: set[str] = set()
    for meter in meters:
        if meter.role == "latency" or not NO_COUNT.search(meter.name):
            totals[meter.about, meter.role][meter.name] += math.fsum(meter.samples.values())
            derived |= {meter.name} if meter.derived and meter.samples else set()
    failing = {about: held.keys() for (about, role), held in totals.items() if role == "errors"}

    def order(about: str, role: Role, name: str) -> tuple[object, ...]:
        if role == "latency":
            return (name not in derived, not AVERAGE.search(name), bool(NO_COUNT.search(name)), name)
        return (name not in failing.get(about, ()), -totals[about, role][name], name)

    best = {key: min(held, key=lambda name: order(*key, name)) for key, held in totals.items()}
    return [meter for meter in meters if best.get((meter.about, meter.role)) == meter.name]

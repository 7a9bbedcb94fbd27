"""Latency, errors and traffic of services from their metrics alone: for systems that send no request traces.

Metrics are told apart by their names (the field's usual words), and compared between services only under one name. A
service's excess is how much worse it got; calls explain their caller's excess as far as their own excess reaches. The
service with an excess that nothing below it explains is where it starts.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from diagnosis.signals import Ref, Signal
from domain.observed import MetricShift, VersionLoad, VersionSeries
from domain.times import Window

type Role = Literal["latency", "errors", "availability", "traffic"]

_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("availability", re.compile(r"availab|success.?rate|uptime", re.IGNORECASE)),
    ("errors", re.compile(r"error|fault|fail|5xx|exception", re.IGNORECASE)),
    ("latency", re.compile(r"latenc|duration|response.?time|elapsed|\brt\b", re.IGNORECASE)),
    (
        "traffic",
        re.compile(r"requests?\b|calls?\b|\bcount\b|throughput|\bqps\b|\brps\b|\bops\b|invocations", re.IGNORECASE),
    ),
)
_AVERAGE = re.compile(r"average|avg|mean|p50|median", re.IGNORECASE)
# A level must move by this many of its own deviations, and by this share of itself (availability: of its distance to
# full), before it says anything.
_MIN_SCORE = 3.0
_MIN_CHANGE = 0.1
_MIN_DROP = 0.2  # percentage points of availability
_FULL_SHARE = 0.5
# The mean since must lie this many of its own standard errors away; with fewer samples from before than `_FEW` nothing
# is known of the deviation, and it must have grown by this share.
_MIN_MEAN_SCORE = 3.0
_FEW = 4
_MANY = 12
_FEW_CHANGE = 0.5
_MIN_ERRORS = 3.0
_MOST_SURPRISING = 30.0
_COUNTER = re.compile(r"(?:total|count|sum)$", re.IGNORECASE)


def role_of(name: str) -> Role | None:
    """Return what a metric measures, by the words in its name; None where it is none of the four."""
    words = name.replace("_", " ")  # request_count: an underscore is no end of a word to a pattern
    return next((role for role, pattern in _ROLES if pattern.search(words)), None)


@dataclass(frozen=True, slots=True)
class Excess:
    """By how much a service got worse: in seconds (or the metric's unit) of latency, or in failed requests.

    `surprise` is by how many deviations of a mean the samples since differ from those before.
    """

    service: str
    role: Role
    amount: float
    before: float
    after: float
    shift: MetricShift
    surprise: float = 0.0


def find_excesses(shifts: Sequence[MetricShift]) -> dict[Role, dict[str, Excess]]:
    """Return, for latency and for errors, the excess of each service that got worse."""
    chosen = {role: _choose_name(role, shifts) for role in ("latency", "errors", "availability", "traffic")}
    noise = {name: _usual_noise(shifts, name) for name in chosen.values()}
    traffic = {s.about: s.after_mean or 0.0 for s in shifts if s.name == chosen["traffic"]}
    found: dict[Role, dict[str, Excess]] = defaultdict(dict)
    for shift in shifts:
        role = next((r for r, name in chosen.items() if name == shift.name), None)
        if role is None or role == "traffic":
            continue
        excess = _excess(role, shift, traffic.get(shift.about, 1.0), noise[shift.name])
        kind: Role = "latency" if role == "latency" else "errors"
        if excess and excess.amount > getattr(found[kind].get(shift.about), "amount", 0.0):
            found[kind][shift.about] = excess
    return dict(found)


def _choose_name(role: str, shifts: Iterable[MetricShift]) -> str:
    """One name per role, so that services are compared in one unit: a mean before a percentile, the most common first."""
    counts: dict[str, int] = defaultdict(int)
    for shift in shifts:
        if role_of(shift.name) == role:
            counts[shift.name] += 1
    return min(counts, key=lambda n: (not _AVERAGE.search(n), -counts[n], n), default="")


def _usual_noise(shifts: Iterable[MetricShift], name: str) -> float:
    """Return the usual deviation of a metric's series, as a share of their mean: what is expected of a young one."""
    known = [
        (s.before_deviation or 0.0) / abs(s.before_mean)
        for s in shifts
        if s.name == name and s.before_count >= _MANY and s.before_mean
    ]
    return median(known) if known else 0.0


def _excess(role: str, shift: MetricShift, traffic: float, noise: float) -> Excess | None:
    if not shift.before_count or not shift.after_count or shift.before_mean is None:
        return None
    before = shift.before_mean
    worst = shift.after_min if role == "availability" else shift.after_max
    if worst is None:
        return None
    moved = before - worst if role == "availability" else worst - before
    # A handful of samples that happen to agree does not make a steady series.
    spread = max(shift.before_deviation or 0.0, (noise if shift.before_count < _MANY else 0.02) * abs(before), 1e-9)
    enough = _MIN_DROP if role == "availability" else _MIN_CHANGE * abs(before)
    if moved < enough or (role != "availability" and not _stands_out(role, shift, moved, spread)):
        return None
    match role:
        case "availability":
            full = 100.0 if before > 1.5 else 1.0
            amount = moved / full * max(traffic, 1.0)
        case "errors":
            amount = moved
        case _:
            amount = moved
    kind: Role = "latency" if role == "latency" else "errors"
    return Excess(shift.about, kind, amount, before, worst, shift, _surprise(shift, spread))


def _stands_out(role: str, shift: MetricShift, moved: float, spread: float) -> bool:
    """True where neither the farthest sample nor the mean of the samples since is chance."""
    before, after = shift.before_mean or 0.0, shift.after_mean or 0.0
    if role == "errors" and (shift.after_max or 0.0) >= 1.0 and after * shift.after_count < _MIN_ERRORS:
        return False
    if shift.before_count < _FEW:
        return moved >= abs(before) and after - before >= _FEW_CHANGE * abs(before)
    return moved >= _MIN_SCORE * spread and after - before >= _MIN_MEAN_SCORE * spread / math.sqrt(shift.after_count)


def _surprise(shift: MetricShift, spread: float) -> float:
    if shift.before_count < 2 or shift.before_mean is None or shift.after_mean is None:
        return 0.0
    size = math.sqrt(shift.before_count * shift.after_count / (shift.before_count + shift.after_count))
    return min(abs(shift.after_mean - shift.before_mean) / spread, _MOST_SURPRISING) * size


def symptom_of(
    excesses: Mapping[Role, Mapping[str, Excess]],
    asked: Sequence[str],
    calls: Iterable[tuple[str, str]],
    role: Role | None = None,
) -> Excess | None:
    """Return the excess that users feel: of the service and the role asked about, else the worst that nobody calls."""
    calls = list(calls)
    callees = {callee for _, callee in calls}
    every = [e for kind in ("errors", "latency") for e in excesses.get(kind, {}).values()]
    every = [e for e in every if e.role == role] or every
    if asked:
        # A service that only calls others has no metrics of its own: what it feels is what it calls.
        called = {callee for caller, callee in calls if caller in asked}
        every = [e for e in every if e.service in asked] or [e for e in every if e.service in called]
    else:
        every = [e for e in every if e.service not in callees] or every
    return min(every, key=lambda e: (-_relative(e), e.role, e.service), default=None)


def asked_role(text: str) -> Role | None:
    """Return whether a question speaks of slowness or of failures; None where it says neither or both."""
    slow = re.search(r"latenc|slow|response time|duration|time.?out", text, re.IGNORECASE) is not None
    failing = re.search(r"fail|error|availab|down\b|broken|5xx|success", text, re.IGNORECASE) is not None
    return None if slow == failing else "latency" if slow else "errors"


def _relative(excess: Excess) -> float:
    return excess.amount / max(abs(excess.before), 1e-9) if excess.role == "latency" else excess.amount


def golden_signals(
    excesses: Mapping[str, Excess],
    felt: Excess,
    calls: Iterable[tuple[str, str]],
    window: Window,
    peaks: Mapping[tuple[str, str, str], int],
) -> tuple[list[Signal], dict[str, float]]:
    """Return the signals of services that got worse like the symptom did, and the share that nothing below explains."""
    below: dict[str, list[str]] = defaultdict(list)
    for caller, callee in sorted(set(calls)):
        if caller != callee:
            below[caller].append(callee)
    signals, unexplained = [], {}
    for service, excess in sorted(excesses.items()):
        moment = peaks.get(excess.shift[:3])
        refs = (
            ()
            if moment is None
            else (
                Ref.to(
                    "metric",
                    service=excess.shift.service,
                    name=excess.shift.name,
                    series=excess.shift.series,
                    time_us=moment,
                ),
            )
        )
        signals.append(
            Signal(
                service=service,
                name="slow_here" if excess.role == "latency" else "failing_here",
                strength=min(1.0, excess.amount / (_FULL_SHARE * felt.amount)) if felt.amount else 0.0,
                onset_us=window.start_us,
                text=f"{excess.shift.name} of {service} went from {excess.before:.4g} to {excess.after:.4g}",
                refs=refs,
            )
        )
        deeper = max((excesses[c].amount for c in below.get(service, ()) if c in excesses), default=0.0)
        unexplained[service] = max(0.05, 1.0 - deeper / excess.amount)
    return signals, unexplained


def find_version_loads(points: Sequence[VersionSeries], start_us: int, bucket_us: int) -> list[VersionLoad]:
    """Return what each version of a service took in per bucket, as edge metrics tell: requests, failures, durations.

    Counters that only grow count by their growth. Where nothing counts requests, each sample stands for one.
    """
    sums: dict[tuple[str, str, int], dict[Role, list[float]]] = defaultdict(lambda: defaultdict(list))
    first: dict[tuple[str, str, int], int] = {}
    for point, value in _growth(points):
        role = _counted_role(point.name)
        if role is not None:
            key = (point.destination, point.version, (point.time_us - start_us) // bucket_us)
            sums[key][role].append(value * _microseconds(point.name) if role == "latency" else value)
            first[key] = min(first.get(key, point.time_us), point.time_us)
    loads = []
    for key, held in sorted(sums.items()):
        service, version, bucket = key
        requests = math.fsum(held["traffic"]) or float(len(held["latency"]))
        slow = math.fsum(held["latency"]) / max(1, len(held["latency"]))
        loads.append(
            VersionLoad(service, version, bucket, requests, math.fsum(held["errors"]), slow * requests, first[key])
        )
    return loads


def _counted_role(name: str) -> Role | None:
    """Return what a sample of an edge metric adds to: of a histogram its count are requests, the rest says nothing alone."""
    role = role_of(name)
    if role == "latency" and _COUNTER.search(name):
        return "traffic" if name.lower().endswith("count") else None
    if role == "availability" or re.search(r"bucket$|p9\d$|max$|min$", name, re.IGNORECASE):
        return None
    return role


def _growth(points: Sequence[VersionSeries]) -> list[tuple[VersionSeries, float]]:
    """Return the value of each sample, or by how much it grew where its series is a counter that never falls."""
    by_series: dict[tuple[str, str, str], list[VersionSeries]] = defaultdict(list)
    for point in points:
        by_series[point.service, point.name, point.series].append(point)
    found: list[tuple[VersionSeries, float]] = []
    for held in by_series.values():
        held.sort(key=lambda p: p.time_us)
        steps = list(itertools.pairwise(held))
        if _COUNTER.search(held[0].name) and len(steps) >= _FEW and all(a.value <= b.value for a, b in steps):
            found += [(later, later.value - earlier.value) for earlier, later in steps]
        else:
            found += [(point, point.value) for point in held]
    return found


def _microseconds(name: str) -> float:
    if re.search(r"(?:^|[._])(?:s|sec|secs|seconds)(?:$|[._])", name, re.IGNORECASE):
        return 1_000_000.0
    return 1.0 if re.search(r"(?:^|[._])(?:us|micros\w*)(?:$|[._])", name, re.IGNORECASE) else 1_000.0

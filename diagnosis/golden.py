"""Latency, errors and traffic of services from their metrics alone: for systems that send no request traces.

Metrics are told apart by their names (the field's usual words), and compared between services only under one name. A
service's excess is how much worse it got; calls explain their caller's excess as far as their own excess reaches. The
service with an excess that nothing below it explains is where it starts.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from diagnosis.meters import AVERAGE, Role, role_of
from diagnosis.signals import Ref, Signal
from domain.observed import MetricShift
from domain.times import Window

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
_FELT = 0.5


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

    @property
    def plain(self) -> bool:
        """True where it is enough for people to notice who were not told to look."""
        before, after = self.shift.before_mean or 0.0, self.shift.after_mean or 0.0
        return self.role != "latency" or after - before >= _FELT * abs(before)


def find_excesses(shifts: Sequence[MetricShift]) -> dict[Role, dict[str, Excess]]:
    """Return, for latency and for errors, the excess of each service that got worse."""
    heard = {shift.about for shift in shifts if shift.before_count >= _FEW and _role(shift)}
    shifts = [_from_zero(shift) if shift.about in heard else shift for shift in shifts]
    chosen = {role: _choose_names(role, shifts) for role in ("latency", "errors", "availability", "traffic")}
    noise = {name: _usual_noise(shifts, name) for names in chosen.values() for name in names.values()}
    traffic = {s.about: s.after_mean or 0.0 for s in shifts if s.name == chosen["traffic"].get(s.about)}
    found: dict[Role, dict[str, Excess]] = defaultdict(dict)
    for shift in shifts:
        role = _role(shift)
        if role is None or role == "traffic" or shift.name != chosen[role].get(shift.about):
            continue
        excess = _excess(role, shift, traffic.get(shift.about, 1.0), noise[shift.name])
        kind: Role = "latency" if role == "latency" else "errors"
        if excess and excess.amount > getattr(found[kind].get(shift.about), "amount", 0.0):
            found[kind][shift.about] = excess
    return dict(found)


def _role(shift: MetricShift) -> Role | None:
    return shift.role or role_of(shift.name)


def _from_zero(shift: MetricShift) -> MetricShift:
    """Failures that were never counted before, of a service that was heard of: there were none."""
    if _role(shift) != "errors" or shift.before_count:
        return shift
    return shift._replace(before_count=_FEW, before_mean=0.0, before_deviation=0.0, before_max=0.0)


def _choose_names(role: str, shifts: Iterable[MetricShift]) -> dict[str, str]:
    """One name per role and service, the same for all that have it: a mean before a percentile, the most common first."""
    services: dict[str, set[str]] = defaultdict(set)
    counts: dict[str, int] = defaultdict(int)
    for shift in shifts:
        if _role(shift) == role:
            services[shift.about].add(shift.name)
            counts[shift.name] += 1
    # Quantiles of a few wide buckets jump; a mean that was worked out of sums does not.
    worked_out = {shift.name for shift in shifts if shift.role == role}
    order = sorted(counts, key=lambda n: (n not in worked_out, not AVERAGE.search(n), -counts[n], n))
    return {about: next(name for name in order if name in names) for about, names in services.items()}


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
    calls = sorted(set(calls))
    for caller, callee in calls:
        if caller != callee:
            below[caller].append(callee)
    placed = {service for call in calls for service in call}
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
        callees = below.get(service, ()) if service in placed else _perhaps_below(excess, excesses)
        deeper = max((excesses[c].amount for c in callees if c in excesses), default=0.0)
        unexplained[service] = max(0.05, 1.0 - deeper / excess.amount)
    return signals, unexplained


def _perhaps_below(excess: Excess, excesses: Mapping[str, Excess]) -> list[str]:
    """Where nobody knows whom a service calls, anybody else in trouble may be the reason.

    Of durations a little more is known: who calls another takes longer than that one does.
    """
    others = [e for service, e in sorted(excesses.items()) if service != excess.service]
    return [e.service for e in others if e.role != "latency" or e.before < excess.before]


def bad_stretch(samples: Mapping[int, float], excess: Excess, split_us: int) -> tuple[int, int, bool]:
    """Return the first and the last moment since a split at which an excess shows, and whether it is over.

    It is over where at least two samples, and as many as the trouble had, have been as usual since.
    """
    half = (excess.after - excess.before) / 2
    since = sorted((moment, value) for moment, value in samples.items() if moment >= split_us)
    bad = [at for at, (_, value) in enumerate(since) if half and (value - excess.before) / half >= 1.0]
    if not bad:
        return split_us, split_us, False
    calm = len(since) - 1 - bad[-1]
    return since[bad[0]][0], since[bad[-1]][0], calm >= max(2, min(bad[-1] - bad[0] + 1, 4))

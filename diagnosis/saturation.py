"""What runs full: processors, memory, disks, pools and queues, told by the usual words in the names of their metrics.

A resource counts as saturated when its use multiplied, or came close to its whole, by more than the work did that the
service took in. Its own deviation of before says little here: one earlier spike would hide every later one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence

from diagnosis.signals import Ref, Signal
from domain.observed import MetricShift
from domain.verdict import FaultClass

_RESOURCES: tuple[tuple[FaultClass, re.Pattern[str]], ...] = (
    (
        "capacity",
        re.compile(r"pool|connections?|threads?|workers?|slots?|queue|backlog|\blag\b|descriptors|\bfds?\b", re.I),
    ),
    (
        "resource",
        re.compile(r"cpu|processor|throttl|memory|\bmem\b|heap|\brss\b|working.?set|disk|filesystem|inode", re.I),
    ),
)
# Metrics of how long or how often something happens, or of what is left, are not of how full something is.
_NO_USE = re.compile(
    r"latenc|duration|seconds|time\b|free|available|idle|limit|request(?:ed|s)?\b|capacity|\bmax\b", re.I
)
_SHARE = re.compile(r"%|percent|ratio|rate|utili[sz]ation|usage", re.IGNORECASE)
_GROWN = 2.5
_NEARLY_FULL = 0.85
_FULL_GROWN = 1.3
_SHARED = 0.3
# Requests may be counted over a baseline that is mostly silence: work is not believed to have grown more than this.
_MOST_WORK = 4.0
_MIN_AFTER = 2
_MIN_BEFORE = 4


def saturation_signals(
    shifts: Sequence[MetricShift],
    peaks: Mapping[tuple[str, str, str], int],
    split_us: int,
    work: Mapping[str, float],
) -> list[Signal]:
    """Return one signal per service and kind of resource that runs full.

    `peaks` holds the time of each series' farthest sample, `work` by which factor the work of a service grew. A value
    that several services report alike belongs to what they share, mostly a node, and says less about each.
    """
    alike = Counter((s.name, s.before_mean, s.after_mean) for s in shifts)
    found: dict[tuple[str, FaultClass], Signal] = {}
    for shift in shifts:
        fault_class = resource_of(shift.name)
        strength = fullness(shift, work.get(shift.about, 1.0)) if fault_class else 0.0
        if not fault_class or not strength:
            continue
        shared = alike[shift.name, shift.before_mean, shift.after_mean] > 1
        moment = peaks.get(shift[:3])
        key = {"service": shift.service, "name": shift.name, "series": shift.series, "time_us": moment}
        signal = Signal(
            service=shift.about,
            name="saturated",
            strength=strength * (_SHARED if shared else 1.0),
            onset_us=split_us,
            text=f"{shift.name} of {shift.about} rose from {shift.before_mean:.4g} to {shift.after_mean:.4g} on average",
            refs=(Ref.to("metric", **key),) if moment is not None else (),
            fault_class=fault_class,
        )
        known = found.get((shift.about, fault_class))
        if known is None or (signal.strength, signal.text) > (known.strength, known.text):
            found[shift.about, fault_class] = signal
    return [found[key] for key in sorted(found)]


def resource_of(name: str) -> FaultClass | None:
    """Return the fault class that a full resource stands for, by a metric's name; None where it is no resource."""
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[_.]", " ", name)
    if _NO_USE.search(words):
        return None
    return next((fault_class for fault_class, pattern in _RESOURCES if pattern.search(words)), None)


def fullness(shift: MetricShift, work: float) -> float:
    """Return how much fuller a resource became, 0 to 1, beyond what the growth of the work explains."""
    before, after, highest = shift.before_mean, shift.after_mean, shift.after_max
    if before is None or after is None or highest is None or shift.after_count < _MIN_AFTER:
        return 0.0
    grown = after / max(before, 1e-9)
    whole = _whole(shift)
    short = shift.before_count < _MIN_BEFORE
    if whole and highest >= _NEARLY_FULL * whole and grown >= (_GROWN if short else _FULL_GROWN):
        return 1.0
    if short:
        return 0.0
    grown /= min(max(1.0, work), _MOST_WORK)
    noise = after - before < 3 * (shift.before_deviation or 0.0)
    if grown < _GROWN or noise or (whole and after < 0.3 * whole):
        return 0.0
    return min(1.0, 0.4 + 0.1 * grown)


def _whole(shift: MetricShift) -> float:
    """Return what a share of something can be at most: 100 or 1; 0 where the metric is no share."""
    top = max(shift.before_max or 0.0, shift.after_max or 0.0)
    if not _SHARE.search(shift.name):
        return 0.0
    return (
        1.0
        if top <= 1.05 and "%" not in shift.name and "percent" not in shift.name.lower()
        else 100.0
        if top <= 110
        else 0.0
    )

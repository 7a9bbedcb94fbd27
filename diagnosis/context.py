"""What happened around a service: changes, metrics that left their range, silence."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from diagnosis.signals import Ref, Signal
from domain.observed import Activity, ChangeRow, MetricShift
from domain.times import MINUTE_US, SECOND_US, Window, format_us
from domain.verdict import FaultClass

CHANGE_REACH_US = 60 * MINUTE_US
_CHANGE_FRESH_US = 2 * MINUTE_US
_CHANGE_SLACK_US = 5 * SECOND_US
_METRIC_SCORE = 6.0
_METRICS_PER_SERVICE = 3


def change_signals(changes: Sequence[ChangeRow], onset_us: int) -> list[Signal]:
    """A change counts the more, the shorter before the symptom it came; never one that came after."""
    signals = []
    for change in changes:
        lag = onset_us - change.time_us
        if lag < -_CHANGE_SLACK_US or lag > CHANGE_REACH_US:
            continue
        late = max(0, lag - _CHANGE_FRESH_US) / (CHANGE_REACH_US - _CHANGE_FRESH_US)
        fault_class: FaultClass = "config" if change.kind in ("config", "flag") else "code"
        what = f"{change.kind} of {change.service}" + (f" {change.version}" if change.version else "")
        signals.append(
            Signal(
                service=change.service,
                name="changed",
                strength=1.0 - 0.8 * late,
                onset_us=change.time_us,
                text=f"{what} at {format_us(change.time_us)}: {change.summary[:200]}",
                refs=(Ref.to("change", id=change.id),),
                fault_class=fault_class,
                change_id=change.id,
            )
        )
    return signals


def metric_signals(
    shifts: Sequence[MetricShift], peaks: Mapping[tuple[str, str, str], int], split_us: int
) -> list[Signal]:
    """Series whose mean moved by many of their own deviations. `peaks` holds the time of each one's farthest sample."""
    found: dict[str, list[Signal]] = defaultdict(list)
    for shift in shifts:
        score = metric_score(shift)
        if score < _METRIC_SCORE:
            continue
        key = (shift.service, shift.name, shift.series)
        moment = peaks.get(key)
        refs = (
            ()
            if moment is None
            else (Ref.to("metric", service=shift.service, name=shift.name, series=shift.series, time_us=moment),)
        )
        found[shift.about].append(
            Signal(
                service=shift.about,
                name="metric_shift",
                strength=min(1.0, score / 40),
                onset_us=split_us,
                text=f"{shift.name} of {shift.about} went from {shift.before_mean:.4g} to {shift.after_mean:.4g} on average",
                refs=refs,
            )
        )
    return [
        signal
        for service in sorted(found)
        for signal in sorted(found[service], key=lambda s: (-s.strength, s.text))[:_METRICS_PER_SERVICE]
    ]


def metric_score(shift: MetricShift) -> float:
    """Return by how many deviations of the baseline a series' mean moved; 0 where there is too little to say."""
    if shift.before_count < 4 or shift.after_count < 2 or shift.before_mean is None or shift.after_mean is None:
        return 0.0
    spread = max(shift.before_deviation or 0.0, 0.05 * abs(shift.before_mean), 1e-9)
    return abs(shift.after_mean - shift.before_mean) / spread


def silence_signals(
    before: Mapping[str, Activity], after: Mapping[str, Activity], baseline: Window, window: Window
) -> list[Signal]:
    """Services that took in steady work before and hardly any now."""
    signals = []
    scale = window.seconds / baseline.seconds if baseline.seconds else 0.0
    for service, was in sorted(before.items()):
        expected = was.requests * scale
        now = after.get(service)
        count = now.requests if now else 0
        if expected < 10 or count > 0.3 * expected:
            continue
        signals.append(
            Signal(
                service=service,
                name="silent",
                strength=1.0 - count / expected,
                onset_us=max(window.start_us, was.last_us),
                text=f"{service} took in {count} requests where {expected:.0f} were usual",
            )
        )
    return signals


def growth_of_work(
    before: Mapping[str, Activity], after: Mapping[str, Activity], baseline: Window, window: Window
) -> dict[str, float]:
    """Return by which factor the requests per second of each service grew."""
    scale = window.seconds / baseline.seconds if baseline.seconds else 0.0
    return {
        service: after[service].requests / (was.requests * scale)
        for service, was in before.items()
        if service in after and was.requests * scale >= 1
    }

"""Versions of a service that ran side by side: read from request traces, or from edge metrics that name a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.state import Deps, Plan
from diagnosis.context import CHANGE_REACH_US
from diagnosis.meter_shifts import find_version_loads
from diagnosis.meters import Meter
from diagnosis.signals import Ref, Signal
from diagnosis.versions import VersionGap, compare_versions, version_signals
from domain.times import SECOND_US, Window

_BUCKET_US = 30 * SECOND_US
_METRIC_BUCKET_US = 60 * SECOND_US
_RECORDS = 2

type _Refs = Mapping[tuple[str, str], Sequence[Ref]]


async def read_versions(environment: str, plan: Plan, meters: Sequence[Meter], deps: Deps) -> list[Signal]:
    """Return the signals of versions that went bad while others of their service served well."""
    telemetry, ledger, window = deps.telemetry, deps.ledger, plan.window
    refs: _Refs
    if plan.spans:
        loads = await ledger.note(
            "versions side by side", window, telemetry.version_loads(environment, window, _BUCKET_US)
        )
        gaps = compare_versions(loads)
        refs = {(gap.service, gap.version): await _examples(environment, gap, window, deps) for gap in gaps}
    else:
        gaps = compare_versions(find_version_loads(meters, window, _METRIC_BUCKET_US))
        refs = {(gap.service, gap.version): _worst_samples(meters, gap, window) for gap in gaps}
    if not gaps:
        return []
    reach = Window(window.start_us - CHANGE_REACH_US, window.end_us)
    changes = await ledger.note("changes of versions", reach, telemetry.changes(environment, reach))
    return version_signals(gaps, changes, refs, window)


async def _examples(environment: str, gap: VersionGap, window: Window, deps: Deps) -> list[Ref]:
    found = await deps.telemetry.version_examples(environment, gap.service, gap.version, window)
    return [Ref.to("span", trace_id=trace, span_id=span) for trace, span in found]


def _worst_samples(meters: Sequence[Meter], gap: VersionGap, window: Window) -> list[Ref]:
    """Return the records of the worst moments of a version, of the metric that shows it."""
    samples = [
        (value, moment, meter.series)
        for meter in meters
        if (meter.about, meter.version, meter.role) == (gap.service, gap.version, gap.kind)
        for moment, value in meter.samples.items()
        if window.start_us <= moment < window.end_us
    ]
    worst = sorted(samples, key=lambda s: (-s[0], s[1], s[2]))[:_RECORDS]
    return [
        Ref.to("metric", service=service, name=name, series=series, time_us=moment)
        for _, moment, (service, name, series) in worst
    ]

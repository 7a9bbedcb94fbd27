"""Versions of a service that ran side by side: read from request traces, or from edge metrics that name a version."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.state import Deps, Plan
from diagnosis.context import CHANGE_REACH_US
from diagnosis.golden import find_version_loads
from diagnosis.signals import Ref, Signal
from diagnosis.versions import VersionGap, compare_versions, version_signals
from domain.observed import VersionSeries
from domain.times import SECOND_US, Window

_BUCKET_US = 30 * SECOND_US
_METRIC_BUCKET_US = 60 * SECOND_US
_RECORDS = 2

type _Refs = Mapping[tuple[str, str], Sequence[Ref]]


async def read_versions(environment: str, plan: Plan, deps: Deps) -> list[Signal]:
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
        points = await ledger.note("versions side by side", window, telemetry.version_points(environment, window))
        gaps = compare_versions(find_version_loads(points, window.start_us, _METRIC_BUCKET_US))
        refs = {(gap.service, gap.version): _worst_points(points, gap) for gap in gaps}
    if not gaps:
        return []
    reach = Window(window.start_us - CHANGE_REACH_US, window.end_us)
    return version_signals(gaps, await deps.telemetry.changes(environment, reach), refs, window)


async def _examples(environment: str, gap: VersionGap, window: Window, deps: Deps) -> list[Ref]:
    found = await deps.telemetry.version_examples(environment, gap.service, gap.version, window)
    return [Ref.to("span", trace_id=trace, span_id=span) for trace, span in found]


def _worst_points(points: Sequence[VersionSeries], gap: VersionGap) -> list[Ref]:
    held = [p for p in points if (p.destination, p.version) == (gap.service, gap.version) and gap.shown_by(p.name)]
    worst = sorted(held, key=lambda p: (-p.value, p.time_us, p.series))[:_RECORDS]
    return [Ref.to("metric", service=p.service, name=p.name, series=p.series, time_us=p.time_us) for p in worst]

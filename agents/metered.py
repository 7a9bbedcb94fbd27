"""Metrics of requests as the agents look at them: counters by their growth, failures by their labels."""

from __future__ import annotations

from collections.abc import Sequence

from agents.state import Deps
from diagnosis.meter_shifts import replace_shifts
from diagnosis.meters import Meter, read_meters, role_of
from domain.observed import MeterPoint, MetricShift
from domain.times import MINUTE_US, Window

_PROBE_US = 40 * MINUTE_US
_LONG_US = 8 * MINUTE_US


async def read_metered(environment: str, window: Window, deps: Deps) -> list[Meter]:
    """Return how many requests came, failed and how long they took, as the metrics of a window tell it.

    Of metrics that are what their names say only the newest samples are read: the stores sum up the rest.
    """
    names = [name for name in await deps.telemetry.metric_names(environment, window) if role_of(name)]
    if not names:
        return []
    newest = Window(max(window.start_us, window.end_us - _PROBE_US), window.end_us)
    meters = read_meters(await _read_points(environment, newest, names, deps))
    families = {meter.name for meter in meters if meter.derived}
    families |= {name for meter in meters if meter.derived for _, name, _ in meter.read}
    if newest == window or (meters and not families):
        return meters
    families = families or set(names)  # nothing was sent lately
    whole = read_meters(await _read_points(environment, window, sorted(families), deps))
    return [meter for meter in meters if meter.name not in families] + whole


async def _read_points(environment: str, window: Window, names: Sequence[str], deps: Deps) -> list[MeterPoint]:
    said = ", ".join(names[:8])
    return await deps.ledger.note(
        "request metrics", window, deps.telemetry.meter_points(environment, window, names), filter=said
    )


async def read_shifts(
    environment: str, window: Window, split_us: int, meters: Sequence[Meter], deps: Deps
) -> list[MetricShift]:
    """Return every metric series of a window before and after a moment, the meters in place of what they were read from."""
    # A sample often bears the time at which its interval began: the last one may be of both sides.
    guard_us = MINUTE_US if split_us - window.start_us >= _LONG_US else 0
    shifts = await deps.ledger.note(
        "metric series", window, deps.telemetry.metric_shifts(environment, window, split_us, guard_us)
    )
    return replace_shifts(shifts, meters, split_us, guard_us)

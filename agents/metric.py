"""The metric agent: which series left their range, and which services fell silent."""

from __future__ import annotations

from collections.abc import Sequence

from agents.metered import read_metered, read_shifts
from agents.state import Deps, Plan, Report, State
from agents.versions import read_versions
from diagnosis.context import growth_of_work, metric_score, metric_signals, silence_signals
from diagnosis.golden import find_excesses, golden_signals, symptom_of
from diagnosis.meters import role_of
from diagnosis.saturation import fullness, resource_of, saturation_signals
from diagnosis.signals import Signal
from diagnosis.versions import explain_callers
from domain.errors import GraphError
from domain.observed import MetricShift
from domain.times import Window
from tracing.trace import current_trace

_PEAKS = 20
_MIN_SCORE = 6.0


async def read_metrics(state: State, deps: Deps) -> State:
    """Compare every metric series and every service's traffic before and after the symptom began."""
    plan, environment = state["plan"], state["question"].environment
    if plan.symptom is None:
        return {"reports": {"metric": Report()}}
    telemetry, split = deps.telemetry, plan.window.start_us
    whole = Window(plan.baseline.start_us, plan.window.end_us)
    # Where request traces are, they tell of requests better than any metric.
    meters = [] if plan.spans else await read_metered(environment, whole, deps)
    shifts = await read_shifts(environment, whole, split, meters, deps)
    moved = sorted((s for s in shifts if metric_score(s) >= _MIN_SCORE), key=lambda s: (-metric_score(s), s[:3]))
    full = [s for s in shifts if resource_of(s.name) and fullness(s, 1.0)]
    peaks = {}
    for shift in [*moved[:_PEAKS], *sorted(full)[:_PEAKS]]:
        extreme = await telemetry.metric_extreme(environment, shift, plan.window, shift.before_mean or 0.0)
        if extreme is not None:
            peaks[shift[:3]] = extreme[0]
    work: dict[str, float] = {}
    silent: list[Signal] = []
    if plan.spans:
        note = deps.ledger.note
        before = await note("requests per service", plan.baseline, telemetry.activity(environment, plan.baseline))
        after = await note("requests per service", plan.window, telemetry.activity(environment, plan.window))
        silent = silence_signals(before, after, plan.baseline, plan.window)
        work = growth_of_work(before, after, plan.baseline, plan.window)
    signals = metric_signals(shifts, peaks, split) + saturation_signals(shifts, peaks, split, work) + silent
    versions = await read_versions(environment, plan, meters, deps)
    signals += versions
    unexplained: dict[str, float] = {}
    if not plan.spans:
        golden, unexplained = await _golden(environment, plan, shifts, deps)
        signals += golden
        if versions:
            unexplained = explain_callers(
                unexplained, versions, await read_calls(environment, plan.window.end_us, deps)
            )
    current_trace().decide(
        what=f"{len(signals)} metric signals from {len(shifts)} series",
        why="each series' mean was compared with its own deviation before the symptom",
        confidence=0.6 if shifts else 0.2,
        alternatives=[],
        inputs={"moved": [f"{s.service} {s.name}" for s in moved[:5]]},
    )
    missing = () if shifts else ("metrics: none were reported in this window",)
    return {"reports": {"metric": Report(signals=tuple(signals), not_seen=missing, unexplained=unexplained)}}


async def _golden(
    environment: str, plan: Plan, shifts: Sequence[MetricShift], deps: Deps
) -> tuple[list[Signal], dict[str, float]]:
    """Latency and errors from metrics alone, for a system that sends no request traces."""
    excesses = find_excesses(shifts)
    calls = await read_calls(environment, plan.window.end_us, deps)
    service, name = (plan.symptom.service, plan.symptom.operation) if plan.symptom else ("", "")
    role = role_of(name) if plan.symptom and plan.symptom.kind == "metrics" else None
    felt = symptom_of(excesses, [service] if service else [], calls, "errors" if role == "availability" else role)
    if felt is None:
        return [], {}
    alike = excesses[felt.role]
    peaks = {}
    for excess in sorted(alike.values(), key=lambda e: (-e.amount, e.service))[:_PEAKS]:
        extreme = await deps.telemetry.metric_extreme(environment, excess.shift, plan.window, excess.before)
        if extreme is not None:
            peaks[excess.shift[:3]] = extreme[0]
    return golden_signals(alike, felt, calls, plan.window, peaks)


async def read_calls(environment: str, moment_us: int, deps: Deps) -> list[tuple[str, str]]:
    """Return who calls whom as of a moment; nobody, where the graph cannot be reached."""
    try:
        moment = Window(max(0, moment_us - 1), moment_us)
        edges = await deps.ledger.note("calls as of", moment, deps.graph.edges_as_of(environment, moment.start_us))
    except GraphError:
        return []
    return sorted({(edge.source, edge.target) for edge in edges})

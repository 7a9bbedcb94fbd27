"""The log agent: which lines are new, which burst, which stopped, and whom they name."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agents.state import Deps, Plan, Report, State
from diagnosis.logs import compare_templates, log_signals
from diagnosis.sequences import find_broken, sequence_signals
from diagnosis.signals import Ref, Signal
from domain.observed import TemplateCount, TracedLine
from domain.times import SLOT_US, Window
from tracing.trace import current_trace

_EXAMPLES = 12
_MIN_REQUESTS = 5
_LINES = 20_000
_LONG_SECONDS = 300
# Where nothing from before is stored every line looks new.
_UNCOMPARED = 0.5


async def read_logs(state: State, deps: Deps) -> State:
    """Compare log templates before and after the symptom began."""
    plan, environment = state["plan"], state["question"].environment
    if plan.symptom is None:
        return {"reports": {"log": Report()}}
    telemetry, ledger = deps.telemetry, deps.ledger
    earlier = _well_before(plan.baseline)
    before = await ledger.note("templates before", earlier, telemetry.template_counts(environment, earlier))
    after = await ledger.note("templates since", plan.window, telemetry.template_counts(environment, plan.window))
    if not before and not after:
        return {"reports": {"log": Report(not_seen=("logs: no log events were reported in this window",))}}
    old = {count.template_id for count in before}
    ids = {count.template_id for count in (*before, *after)}
    texts = await telemetry.template_texts(ids)
    fresh = {count.template_id for count in after} - old
    known = await telemetry.seen_before(environment, fresh, plan.baseline.start_us)
    shifts = compare_templates(
        before,
        after,
        await _scales(environment, plan, deps),
        texts,
        known,
        plan.window.start_us,
        await _foretold(environment, plan, after, deps),
    )
    found = log_signals(shifts, plan.window, plan.services)
    if not before:
        found = [replace(signal, strength=_UNCOMPARED * signal.strength) for signal in found]
    signals = await _with_examples(found, plan, environment, deps)
    signals += await _sequences(environment, plan, texts, deps)
    current_trace().decide(
        what=f"{len(signals)} log signals from {len(shifts)} templates",
        why="templates were compared with their own rate before the symptom",
        confidence=0.8 if before else 0.3,
        alternatives=[],
        inputs={"strongest": [f"{s.service} {s.name} {s.strength:.2f}" for s in _strongest(signals)[:5]]},
    )
    not_seen = () if before else ("logs from before the symptom: every template looks new",)
    return {"reports": {"log": Report(signals=tuple(signals), not_seen=not_seen)}}


def _well_before(baseline: Window) -> Window:
    """The first lines of the trouble may be written before it shows: they are not how things usually are."""
    return Window(baseline.start_us, baseline.end_us - (SLOT_US if baseline.seconds >= _LONG_SECONDS else 0))


async def _foretold(
    environment: str, plan: Plan, after: Sequence[TemplateCount], deps: Deps
) -> dict[tuple[str, int], float]:
    """Return the share of a template's rate that it had in the gap between the baseline and a stated start."""
    gap = Window(plan.baseline.end_us, plan.window.start_us)
    if gap.seconds < 1 or plan.window.seconds < 1:
        return {}
    counts = await deps.telemetry.template_counts(environment, gap)
    rates = {(c.service, c.template_id): c.lines / gap.seconds for c in counts}
    return {
        key: min(1.0, rates[key] * plan.window.seconds / count.lines)
        for count in after
        if (key := (count.service, count.template_id)) in rates and count.lines
    }


async def _sequences(environment: str, plan: Plan, texts: Mapping[int, str], deps: Deps) -> list[Signal]:
    """Compare which line follows which within requests, where lines say to which request they belong."""
    if not plan.spans:
        return []
    telemetry, ledger = deps.telemetry, deps.ledger
    before = await ledger.note(
        "lines of requests before", plan.baseline, telemetry.traced_lines(environment, plan.baseline, _LINES)
    )
    if not before:
        return []
    after = await ledger.note(
        "lines of requests since", plan.window, telemetry.traced_lines(environment, plan.window, _LINES)
    )
    entered = (
        await telemetry.operation_counts(environment, _covered(before, plan.baseline)),
        await telemetry.operation_counts(environment, _covered(after, plan.window)),
    )
    return sequence_signals(find_broken(before, after, texts, entered), texts, plan.window)


def _covered(lines: Sequence[TracedLine], window: Window) -> Window:
    """The part of a window that the lines read speak of: all of it, unless there were more than are read."""
    if len(lines) < _LINES:
        return window
    return Window(window.start_us, max(line.time_us for line in lines) + 1)


async def _scales(environment: str, plan: Plan, deps: Deps) -> dict[str, float]:
    """Return by how much each service's work grew from the baseline to the window; "" holds the ratio of their lengths.

    Lines are compared per request where requests are counted: twice the traffic writes twice the lines.
    """
    length = plan.window.seconds / plan.baseline.seconds if plan.baseline.seconds else 0.0
    scales = {"": length}
    if plan.spans:
        before = await deps.telemetry.activity(environment, plan.baseline)
        after = await deps.telemetry.activity(environment, plan.window)
        for service, was in before.items():
            if was.requests >= _MIN_REQUESTS:
                now = after.get(service)
                scales[service] = (now.requests if now else 0) / was.requests
    return scales


def _strongest(signals: list[Signal]) -> list[Signal]:
    return sorted(signals, key=lambda s: (-s.strength, s.service, s.text))


async def _with_examples(signals: list[Signal], plan: Plan, environment: str, deps: Deps) -> list[Signal]:
    """Put the first real line of a template before the count of its lines, for the strongest signals."""
    chosen = _strongest([s for s in signals if s.refs and s.name in ("new_error_log", "error_burst")])[:_EXAMPLES]
    keys = [signal.refs[0].as_key() for signal in chosen]
    rows = await asyncio.gather(
        *(deps.telemetry.log_examples(environment, key["template_id"], key["service"], plan.window, 1) for key in keys)
    )
    found = {
        id(signal): replace(signal, refs=(Ref.to("log", id=lines[0].id), *signal.refs))
        for signal, lines in zip(chosen, rows, strict=True)
        if lines
    }
    return [found.get(id(signal), signal) for signal in signals]

"""The code agent: what changed before the symptom, and what the orchestrator did. Lines: `code_lines`."""

from __future__ import annotations

from agents.metric import read_calls
from agents.state import Deps, Report, State
from diagnosis.context import CHANGE_REACH_US, change_signals
from diagnosis.orchestrator import event_signals
from domain.times import Window
from tracing.trace import current_trace


async def read_changes(state: State, deps: Deps) -> State:
    """Collect changes that came before the symptom and trouble that the orchestrator reports."""
    plan, environment = state["plan"], state["question"].environment
    if plan.symptom is None:
        return {"reports": {"code": Report()}}
    reach = Window(plan.window.start_us - CHANGE_REACH_US, plan.window.end_us)
    changes = await deps.ledger.note("changes", reach, deps.telemetry.changes(environment, reach))
    around = Window(plan.baseline.start_us, plan.window.end_us)
    events = await deps.ledger.note(
        "orchestrator events", around, deps.telemetry.orchestrator_events(environment, around)
    )
    calls = await read_calls(environment, plan.window.end_us, deps) if events else []
    known = sorted({*plan.services, *(service for call in calls for service in call)})
    signals = [*change_signals(changes, plan.window.start_us), *event_signals(events, known, plan.window)]
    current_trace().decide(
        what=f"{len(changes)} change(s) and {len(events)} orchestrator event(s) are in reach of the symptom",
        why="a change can only matter if it came before; a restart if it falls into the window",
        confidence=0.7,
        alternatives=[],
        inputs={"changes": [f"{c.kind} {c.service} {c.version}" for c in changes[-5:]]},
    )
    return {"reports": {"code": Report(signals=tuple(signals))}}

"""What is told of an investigation while it runs: the plan, findings, decisions, and the verdict as soon as it is settled."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from agents.state import Plan, Report
from domain.times import format_us
from domain.verdict import Verdict
from tracing.trace import current_trace

_SIGNALS = 3


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that is told: `plan`, `finding`, `decision`, `verdict` or `token`.

    `again` says that the process before this one should have told it.
    """

    name: str
    data: Mapping[str, Any]
    again: bool = False


def tell_update(agent: str, update: Mapping[str, Any] | None) -> Iterator[Told]:
    """Yield what an agent's update of the shared state has to tell."""
    for decision in _decisions_of(agent):
        yield Told("decision", {"agent": agent, **decision})
    for name, held in (update or {}).items():
        match held:
            case Plan() if name == "plan" and agent == "planner":
                yield Told("plan", _plan_json(held))
            case Verdict() if agent in ("diagnosis", "explainer"):
                causes = [
                    {"service": c.service, "fault_class": c.fault_class, "path": list(c.path)} for c in held.causes
                ]
                yield Told("verdict", {"outcome": held.outcome, "causes": causes, "reasons": list(held.reasons)})
            case Mapping() if name == "reports":
                yield from (_finding(who, report) for who, report in held.items() if isinstance(report, Report))


def tell_left(state: Mapping[str, Any]) -> Iterator[Told]:
    """Yield what a state that another process left has to tell."""
    parts = {"planner": "plan", "log": "reports", "diagnosis": "verdict"}
    for agent, name in parts.items():
        yield from (replace(told, again=True) for told in tell_update(agent, {name: state.get(name)}))


def last_decision(agent: str) -> str:
    """Return what an agent decided last."""
    return next((told["what"] for told in reversed(_decisions_of(agent))), "")


def tell_tokens(answer: str) -> Iterator[Told]:
    """Yield the text of a judged answer piece by piece: no word is told before it was checked."""
    yield from (Told("token", {"text": line}) for line in answer.splitlines(keepends=True))


def _decisions_of(agent: str) -> list[dict[str, Any]]:
    view = current_trace().view()
    spans = {stage.span_id for stage in view.stages if stage.name == agent}
    return [
        {"what": d.what, "why": d.why, "confidence": d.confidence, "alternatives": list(d.alternatives)}
        for d in view.decisions
        if d.span_id in spans
    ]


def _plan_json(plan: Plan) -> dict[str, Any]:
    symptom = plan.symptom
    return {
        "services": list(plan.subject.services),
        "window": {"from": format_us(plan.window.start_us), "to": format_us(plan.window.end_us)},
        "symptom": None
        if symptom is None
        else {"service": symptom.service, "operation": symptom.operation, "kind": symptom.kind, "bad": symptom.bad},
        "clarification": plan.clarification,
    }


def _finding(agent: str, report: Report) -> Told:
    strongest = sorted(report.signals, key=lambda signal: -signal.strength)[:_SIGNALS]
    signals = [{"service": s.service, "signal": s.name, "text": s.text} for s in strongest]
    return Told(
        "finding",
        {"agent": agent, "signals": len(report.signals), "strongest": signals, "not_seen": list(report.not_seen)},
    )

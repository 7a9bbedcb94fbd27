"""The model that judges: it sees the reasoning behind a verdict as numbers under made-up names, and may only lower it.

No word of any record, and no name that a stranger could choose, is in what it reads: there is nothing in it that could give it
orders. What it says is a choice from short lists.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.models import DOUBT, Doubt
from agents.state import Plan
from diagnosis.ranking import Candidate
from domain.times import SECOND_US
from domain.verdict import Verdict
from inference.desk import ModelDesk
from tracing.trace import current_trace

_SHOWN = 6
_WHY = {
    "none": "the numbers do not carry it",
    "close_rival": "another service is nearly as suspicious",
    "order": "the order of the onsets is not clear",
    "inferred_hops": "hops of the path are inferred",
    "few_requests": "few requests went bad",
    "missing_sources": "sources were silent",
}


@dataclass(frozen=True, slots=True)
class Doubted:
    """A verdict after a model's doubt: the same, or lower by one step; `gap` says what it would look at next."""

    verdict: Verdict
    gap: str = ""


async def doubt_verdict(desk: ModelDesk, verdict: Verdict, plan: Plan, ranking: Sequence[Candidate]) -> Doubted:
    """Let a model doubt a verdict that names a cause."""
    if not verdict.causes or plan.symptom is None or not desk.has("plan"):
        return Doubted(verdict)
    text = describe_case(verdict, plan, ranking)
    doubt = await desk.ask(
        "plan", DOUBT, Doubt, text, what="a language model's doubts about the verdict", max_tokens=150
    )
    return Doubted(verdict) if doubt is None else apply_doubt(verdict, doubt)


def apply_doubt(verdict: Verdict, doubt: Doubt) -> Doubted:
    """Return the verdict as a doubt leaves it. CONFIRMED becomes LIKELY; nothing ever becomes surer."""
    current_trace().decide(
        what=f"model judge: {doubt.opinion}",
        why=_WHY[doubt.why] if doubt.opinion != "agree" else "the numbers carry the outcome",
        confidence=0.5,
        alternatives=["agree", "too_sure", "need_more"],
        inputs={"look_at": doubt.look_at},
    )
    gap = "" if doubt.look_at == "nothing" else f"a language model would look at the {doubt.look_at} next"
    match doubt.opinion:
        case "agree":
            return Doubted(verdict)
        case "need_more":
            return Doubted(verdict, gap)
        case "too_sure" if verdict.outcome == "CONFIRMED":
            reasons = (*verdict.reasons[:2], f"A language model doubts it: {_WHY[doubt.why]}", *verdict.reasons[2:])
            return Doubted(replace(verdict, outcome="LIKELY", reasons=reasons), gap)
        case "too_sure":
            return Doubted(verdict, f"a language model doubts the verdict: {_WHY[doubt.why]}")


def describe_case(verdict: Verdict, plan: Plan, ranking: Sequence[Candidate]) -> str:
    """Return the reasoning behind a verdict without a word or a name of the watched systems."""
    symptom = plan.symptom
    if symptom is None:
        raise ValueError("the plan has no symptom")
    names = {symptom.service: "S0"}
    for candidate in ranking:
        names.setdefault(candidate.service, f"S{len(names)}")
    for cause in verdict.causes:
        for service in cause.path:
            names.setdefault(service, f"S{len(names)}")
    lines = [
        f"Outcome: {verdict.outcome}",
        f"Symptom at S0: {symptom.kind}, {symptom.bad} of {symptom.requests} bad, usually {symptom.usual_share:.3f}",
        f"Sources that could not be seen: {len(verdict.not_seen)}",
    ]
    for cause in verdict.causes:
        path = " -> ".join(names[service] for service in cause.path)
        lines.append(f"Cause: {names[cause.service]}, path {path}, {len(cause.inferred_hops)} hops inferred")
    for candidate in ranking[:_SHOWN]:
        seconds = (candidate.onset_us - symptom.start_us) / SECOND_US
        lines.append(
            f"{names[candidate.service]}: score {candidate.score:.2f} (own {candidate.own:.2f}, reach {candidate.reach:.2f}, "
            f"unexplained {candidate.unexplained:.2f}), {len(candidate.signals)} signals, began {seconds:+.0f} s from the symptom"
        )
    return "\n".join(lines)

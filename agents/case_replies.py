"""What every way in replies with about cases and reviews, and the decision on traces of other programs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from domain.errors import QuestionError
from domain.times import LATEST_US, format_us
from review.opinion import Opinion
from review.policy import Policy, hash_input
from review.signals import trace_signals
from storage.cases import Case, CaseMove
from storage.evaluations import Evaluation
from tracing.events import Event, EventType, encode_payload, make_event_id
from tracing.trace import start_trace
from tracing.view import TraceView

if TYPE_CHECKING:
    from agents.services import Services

_JUDGE = "policy"
_NUMBER = 1_000_000  # behind everything that the run itself recorded


async def list_cases(
    services: Services, environment: str = "", status: str = "", limit: int = 50, before_us: int = LATEST_US
) -> dict[str, Any]:
    """Return the newest cases, and how many there are of each status."""
    found = await services.rulings.cases.page(environment, status, limit, before_us)
    counts = await services.rulings.cases.counts(environment)
    return {"cases": [_case_line(case) for case in found], "counts": dict(counts)}


async def read_case(services: Services, case_id: str) -> dict[str, Any]:
    """Return a case, everything that happened to it, and the decision that opened it; raises NotFound."""
    case = await services.rulings.cases.get(case_id)
    events = await services.rulings.cases.events(case_id)
    decisions = await services.rulings.evaluations.of_trace(case.trace_id)
    opened_by = next((evaluation_line(held) for held in decisions if held.id == case.evaluation_id), None)
    lines = [{**asdict(event), "time": format_us(event.time_us)} for event in events]
    return {**_case_line(case), "decision": opened_by, "events": lines}


async def move_case(services: Services, case_id: str, move: CaseMove, actor: str, text: str = "") -> dict[str, Any]:
    """Acknowledge, resolve or reopen a case and return it; raises NotFound or QuestionError."""
    await services.rulings.cases.move(case_id, move, actor, text)
    return await read_case(services, case_id)


async def comment_case(services: Services, case_id: str, actor: str, text: str) -> dict[str, Any]:
    """Add a comment to a case and return it; raises NotFound, or QuestionError for an empty one."""
    if not text.strip():
        raise QuestionError("The comment is empty.")
    await services.rulings.cases.add_event(case_id, "comment", actor, text)
    return await read_case(services, case_id)


async def review_trace(
    services: Services, trace_id: str, passed: bool | None, note: str, tags: Sequence[str], reviewer: str
) -> dict[str, Any]:
    """Keep what a person says of a run and return all that was said of it; raises NotFound for an unknown run."""
    view = await services.traces.load(trace_id)
    await services.rulings.evaluations.review(view.id, reviewer, passed, note, tags[:20])
    return await read_reviews(services, view.id)


async def read_reviews(services: Services, trace_id: str) -> dict[str, Any]:
    """Return what judges, policies and people made of a run."""
    reviews = await services.rulings.evaluations.reviews(trace_id)
    decisions = await services.rulings.evaluations.of_trace(trace_id)
    lines = [{**asdict(review), "created": format_us(review.created_us)} for review in reviews]
    latest = {review.reviewer: review.passed for review in reviews}
    said = [passed for passed in latest.values() if passed is not None]
    return {
        "trace_id": trace_id,
        "user_review_passed": None if not said else all(said),
        "reviews": lines,
        "decisions": [evaluation_line(held) for held in decisions],
    }


async def decide_trace(
    services: Services, trace_id: str, request: Mapping[str, Any], response: Mapping[str, Any]
) -> dict[str, Any]:
    """Let the policy that holds decide about any trace, keep the decision, and return it; raises NotFound.

    The same input under the same version of the policy is decided once (`cached`). The decision becomes a span of the trace.
    """
    began = time.perf_counter()
    view = await services.traces.load(trace_id)
    policy = await services.rulings.active_policy(view.environment)
    opinion, judged_in = await _ask_judge(services, view, policy)
    signals = trace_signals(view, request, response)
    signals["model"] = {"asked": False} if opinion is None else {"asked": True, **opinion.as_signals()}
    before = await services.rulings.evaluations.of_input(hash_input(policy, signals))
    if before is not None and before.trace_id == view.id:
        return evaluation_line(before) | {"cached": True, "case_id": await _case_of(services, before)}
    about = {"service": view.facts.get("service"), "intent": view.facts.get("intent"), "outcome": view.outcome}
    evaluation, case = await services.rulings.record(
        policy,
        signals,
        environment=view.environment,
        trace_id=view.id,
        judge=_JUDGE,
        title=view.question or view.name or view.id,
        about=about,
        gaps=opinion.gaps if opinion else (),
    )
    facts = {"policy": evaluation.policy} | ({"judged_in": judged_in} if judged_in else {})
    await services.traces.append(_judge_span(view, evaluation, facts, time.perf_counter() - began))
    return evaluation_line(evaluation) | {"cached": False, "case_id": case.id if case else None}


async def _ask_judge(services: Services, view: TraceView, policy: Policy) -> tuple[Opinion | None, str]:
    """Return what the model judge thinks of a run, where one is set, and the id of the run in which it was asked."""
    from agents.model_judge import ask_model_judge, brief_of_trace, recall_opinion
    from inference.budget import Budget
    from inference.desk import ModelDesk

    brief = brief_of_trace(view)
    if brief is None or not services.models.has("judge"):
        return None, ""
    keep = services.prompts.keep if services.prompts else None
    desk = ModelDesk(services.models, services.guard, Budget(services.settings), keep)
    if before := await recall_opinion(desk, brief, policy, services.rulings.opinions):
        return before, ""
    sink, enabled = services.traces.sink(), services.settings.tracing
    async with start_trace(f"Judge {view.id}: {view.question}", view.environment, sink, enabled=enabled) as trace:
        trace.note(intent="judge")
        return await ask_model_judge(desk, brief, policy, services.rulings.opinions), trace.id


def evaluation_line(held: Evaluation) -> dict[str, Any]:
    """Return a decision as plain JSON."""
    return {
        "id": held.id,
        "trace_id": held.trace_id,
        "created": format_us(held.created_us),
        "judge": held.judge,
        "action": held.action,
        "policy": held.policy,
        "policy_version": held.policy_version,
        "rule": held.rule,
        "reason": held.reason,
        "severity": held.severity,
        "input_hash": held.input_hash,
        "signals": dict(held.signals),
        "gaps": list(held.gaps),
    }


async def _case_of(services: Services, held: Evaluation) -> str | None:
    cases = await services.rulings.cases.of_trace(held.trace_id)
    return next((case.id for case in cases if case.evaluation_id == held.id or case.reason == held.reason), None)


def _case_line(case: Case) -> dict[str, Any]:
    return {**asdict(case), "opened": format_us(case.opened_us), "changed": format_us(case.changed_us)}


def _judge_span(view: TraceView, held: Evaluation, facts: Mapping[str, str], seconds: float) -> list[Event]:
    """Return the events by which a judge's run stands in the trace that it judged; always the same for a decision."""
    span_id = f"judge.{held.id}"
    records: list[tuple[EventType, Mapping[str, Any]]] = [
        ("STAGE_START", {"name": "judge", "parent": "", "kind": "judge", "facts": dict(facts)}),
        ("JUDGE", {"action": held.action, "scores": {}, "gaps": list(held.gaps), "by": held.judge}),
        (
            "POLICY",
            {
                **{"name": held.policy, "version": str(held.policy_version), "action": held.action},
                **{"rule": held.rule, "reason": held.reason},
            },
        ),
        ("STAGE_END", {"status": "complete", "seconds": seconds, "error": "", "facts": {}}),
    ]
    segment = max(0, view.segments - 1)
    return [
        Event(
            view.id,
            make_event_id(view.id, span_id, kind, 0),
            kind,
            span_id,
            segment,
            _NUMBER + number,
            held.created_us,
            encode_payload(data),
        )
        for number, (kind, data) in enumerate(records)
    ]

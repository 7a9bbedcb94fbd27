"""The answer to a question of why, as the JSON contract has it (docs/api.md)."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from agents.question import Question
from agents.state import State
from domain.times import format_us
from domain.verdict import Cause, Verdict
from inference.budget import Budget


def budget_body(budget: Budget, began: float) -> dict[str, Any]:
    """Return what a run took that began at a moment of `time.perf_counter`."""
    return {
        "seconds": round(time.perf_counter() - began, 3),
        "tokens": budget.tokens,
        "cost": round(budget.cost, 6),
    }


def verdict_answer(question: Question, state: State, trace_id: str, not_seen: tuple[str, ...]) -> dict[str, Any]:
    """Return the answer that a state which came to its end holds; `not_seen` is added to what the verdict says of that."""
    verdict, judgement, runbook = state["verdict"], state["judgement"], state.get("runbook")
    return {
        "answer": state["answer"],
        "language": told.language if (told := state.get("told")) and told.headline else "en",
        "kind": "clarify" if state["plan"].clarification else "why",
        "environment": question.environment,
        "thread_id": question.thread_id,
        "incident_id": question.incident_id,
        "trace_id": trace_id,
        "verdict": _verdict_body(verdict, not_seen),
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in state["claims"]],
        "remarks": [{"text": remark.text, "evidence": list(remark.evidence)} for remark in state.get("remarks", ())],
        "runbook": asdict(runbook) if runbook else None,
        "workflow": None,
        "judge": asdict(judgement),
        "window": {"from": format_us(state["plan"].window.start_us), "to": format_us(state["plan"].window.end_us)},
    }


def _verdict_body(verdict: Verdict, not_seen: tuple[str, ...]) -> dict[str, Any]:
    return {
        "outcome": verdict.outcome,
        "reasons": list(verdict.reasons),
        "causes": [_cause_body(cause) for cause in verdict.causes],
        "ranking": [asdict(ranked) for ranked in verdict.ranking],
        "ruled_out": [asdict(ruled) for ruled in verdict.ruled_out],
        "not_seen": [*verdict.not_seen, *not_seen],
    }


def _cause_body(cause: Cause) -> dict[str, Any]:
    body: dict[str, Any] = {
        "service": cause.service,
        "fault_class": cause.fault_class,
        "confidence": cause.confidence,
        "onset": format_us(cause.onset_us),
        "path": list(cause.path),
        "inferred_hops": list(cause.inferred_hops),
        "evidence": list(cause.evidence),
        "hop_evidence": {hop: list(ids) for hop, ids in cause.hop_evidence.items()},
    }
    if cause.component:
        body["component"] = cause.component
    if cause.change_id:
        body["change"] = cause.change_id
    if cause.code:
        body["code"] = asdict(cause.code)
    return body

"""Signals: what a policy may ask of an answer or of a trace, as nested names with plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domain.verdict import Verdict
from review.answer import AnswerJudgement
from tracing.view import TraceView

JUDGE_SPAN = "judge.evl-"  # how the ids of the spans begin by which decisions stand in the traces that they are about


def answer_signals(
    verdict: Verdict,
    judged: AnswerJudgement,
    *,
    environment: str,
    service: str,
    clarification: bool,
    symptom: bool,
    doubted: bool = False,
    model: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the signals of one of our own answers.

    `doubted` says that the model that words answers doubts the verdict, `model` is what a model judge said, None where none was asked.
    """
    return {
        "answer": {
            "outcome": verdict.outcome,
            "clarification": clarification,
            "symptom": symptom,
            "doubted": doubted,
            "causes": len(verdict.causes),
            "confidence": verdict.causes[0].confidence if verdict.causes else None,
            "fault_class": verdict.causes[0].fault_class if verdict.causes else None,
            "inferred_hops": sum(len(cause.inferred_hops) for cause in verdict.causes),
            "not_seen": len(verdict.not_seen),
            "claims": len(judged.claims),
        },
        "scores": dict(judged.scores),
        "checks": {"complete": not judged.unchecked},
        "model": {"asked": False} if model is None else {"asked": True, **model},
        "environment": environment,
        "service": service,
    }


def trace_signals(view: TraceView, request: Mapping[str, Any], response: Mapping[str, Any]) -> dict[str, Any]:
    """Return the signals of any trace, with what its sender says of the request and the response.

    What a sender says stands under `request` and `response` alone: it cannot pass for something that was measured here.
    """
    # What judged the trace before is no part of what is judged: else the same input would never be the same.
    spans = view.spans - sum(stage.span_id.startswith(JUDGE_SPAN) for stage in view.stages)
    evals = {held.name: {"score": held.score, "passed": held.passed} for held in view.evals}
    reviews = [held.user_review_passed for held in view.evals if held.user_review_passed is not None]
    return {
        "request": dict(request),
        "response": dict(response),
        "trace": {
            "status": view.status,
            "spans": spans,
            "failed_spans": view.failed_spans,
            "open_spans": view.open_spans,
            "completion_rate": (spans - view.open_spans) / spans if spans else 1.0,
            "seconds": view.seconds,
            "tokens": view.model.prompt_tokens + view.model.completion_tokens,
            "cost": view.model.cost,
            "model_calls": view.model.calls,
            "decisions": len(view.decisions),
            "evidence": len(view.cited),
            "has_error": bool(view.error),
        },
        "evals": evals,
        "user_review_passed": reviews[-1] if reviews else None,
        "environment": view.environment,
        "text": {"input": view.question, "output": view.answer},
    }

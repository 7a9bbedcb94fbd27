"""What happened in a run, in the order of the clock: for people who read a trace from top to bottom."""

from __future__ import annotations

from typing import Any

from tracing.scorecard import walk_stages
from tracing.view import TraceView


def timeline(view: TraceView) -> list[dict[str, Any]]:
    """Return the happenings of a run, earliest first, each with `time_us`, `what`, `span_id`, `text` and its facts."""
    names = {stage.span_id: stage.name for _, stage in walk_stages(view)}
    found: list[dict[str, Any]] = []

    def add(time_us: int, what: str, span_id: str, text: str, **facts: object) -> None:
        stage = names.get(span_id, "")
        found.append({"time_us": time_us, "what": what, "span_id": span_id, "stage": stage, "text": text, **facts})

    for _, stage in walk_stages(view):
        about = {"status": stage.status, "kind": stage.kind, "seconds": stage.seconds, "error": stage.error}
        add(stage.start_us, "stage", stage.span_id, stage.name, **about)
    for decision in view.decisions:
        add(
            decision.time_us,
            "decision",
            decision.span_id,
            decision.what,
            why=decision.why,
            confidence=decision.confidence,
        )
    for call in view.model_calls:
        tokens = call.prompt_tokens + call.completion_tokens
        add(call.time_us, "model call", call.span_id, call.model, tokens=tokens, cost=call.cost, error=call.error)
    for route in view.routes:
        add(route.time_us, "route", route.span_id, ", ".join(route.to), why=route.why)
    for retry in view.retries:
        add(retry.time_us, "retry", retry.span_id, f"attempt {retry.attempt} failed", error=retry.error)
    for pause in view.pauses:
        add(pause.paused_us, "pause", pause.span_id, pause.waiting_for or pause.reason)
        if pause.resumed_us is not None:
            add(pause.resumed_us, "resume", pause.span_id, pause.resumed_by)
    for line in view.logs:
        add(line.time_us, "log", line.span_id, line.text, level=line.level)
    for result in view.evals:
        add(result.time_us, "eval", result.span_id, result.name, score=result.score, passed=result.passed)
    for amendment in view.amendments:
        add(amendment.time_us, "amendment", amendment.span_id, amendment.reason, actor=amendment.actor)
    return sorted(found, key=lambda entry: entry["time_us"])

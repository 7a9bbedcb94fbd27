"""Reading the payloads of events, which hold whatever their writers put there: nothing here raises."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast, get_args

from tracing.events import Event, StageStatus, Status
from tracing.view import Decision, EvalView, JudgeView, LogLine, ModelCall, PolicyView, Query, Route

type Data = Mapping[str, Any]


def read_decision(event: Event, data: Data) -> Decision:
    """Return the decision that an event holds."""
    return Decision(
        event_id=event.event_id,
        span_id=event.span_id,
        time_us=event.time_us,
        what=read_text(data.get("what")),
        why=read_text(data.get("why")),
        confidence=read_optional(data.get("confidence")),
        alternatives=read_texts(data.get("alternatives")),
        inputs=read_mapping(data.get("inputs")),
    )


def read_query(event: Event, data: Data) -> Query:
    """Return the entry of the search ledger that an event holds."""
    reporting = data.get("reporting")
    return Query(
        span_id=event.span_id,
        query=read_text(data.get("query")),
        start_us=int(read_number(data.get("start_us"))),
        end_us=int(read_number(data.get("end_us"))),
        filter=read_text(data.get("filter")),
        rows_scanned=int(read_number(data.get("rows_scanned"))),
        rows_returned=int(read_number(data.get("rows_returned"))),
        reporting=reporting if isinstance(reporting, bool) else None,
        seconds=read_number(data.get("seconds")),
        error=read_text(data.get("error")),
    )


def read_model_call(event: Event, data: Data) -> ModelCall:
    """Return the model call that an event holds."""
    return ModelCall(
        span_id=event.span_id,
        time_us=event.time_us,
        model=read_text(data.get("model")),
        prompt_tokens=int(read_number(data.get("prompt_tokens"))),
        completion_tokens=int(read_number(data.get("completion_tokens"))),
        seconds=read_number(data.get("seconds")),
        cost=read_number(data.get("cost")),
        prompt=read_text(data.get("prompt")),
        response=read_text(data.get("response")),
        cached=data.get("cached") is True,
        error=read_text(data.get("error")),
    )


def read_route(event: Event, data: Data) -> Route:
    """Return the choice of a way that an event holds."""
    to, options = read_texts(data.get("to")), read_texts(data.get("options"))
    return Route(event.span_id, event.time_us, to, read_text(data.get("why")), options)


def read_log(event: Event, data: Data) -> LogLine:
    """Return the line that an event holds."""
    level, text = read_text(data.get("level")) or "INFO", read_text(data.get("text"))
    return LogLine(event.span_id, event.time_us, level, text, read_mapping(data.get("facts")))


def read_judge(data: Data) -> JudgeView:
    """Return what a judge said."""
    scores = {
        str(name): float(score)
        for name, score in read_mapping(data.get("scores")).items()
        if isinstance(score, int | float) and not isinstance(score, bool)
    }
    gaps, strengths = read_texts(data.get("gaps")), read_texts(data.get("strengths"))
    return JudgeView(read_text(data.get("by")), read_text(data.get("action")), scores, gaps, strengths)


def read_policy(data: Data) -> PolicyView:
    """Return what a policy decided."""
    return PolicyView(*(read_text(data.get(name)) for name in ("name", "version", "action", "rule", "reason")))


def read_eval(event: Event, data: Data) -> EvalView:
    """Return the result of an evaluation."""
    return EvalView(
        span_id=event.span_id,
        time_us=event.time_us,
        name=read_text(data.get("name")),
        score=read_optional(data.get("score")),
        passed=_truth(data.get("passed")),
        model=read_text(data.get("model")),
        label=read_text(data.get("label")),
        explanation=read_text(data.get("explanation")),
        user_review_passed=_truth(data.get("user_review_passed")),
        facts=read_mapping(data.get("facts")),
    )


def read_status(value: object) -> Status:
    """Return the status of a run; "failed" for what is none."""
    return cast(Status, value) if value in get_args(Status.__value__) else "failed"


def read_stage_status(value: object) -> StageStatus:
    """Return the status of a stage; "failed" for what is none."""
    return cast(StageStatus, value) if value in get_args(StageStatus.__value__) else "failed"


def read_mapping(value: object) -> dict[str, Any]:
    """Return a mapping, empty for what is none."""
    return value if isinstance(value, dict) else {}


def read_texts(value: object) -> tuple[str, ...]:
    """Return the items of a list as texts."""
    return tuple(str(held) for held in value) if isinstance(value, list | tuple) else ()


def read_text(value: object) -> str:
    """Return a text; empty for nothing."""
    return "" if value is None else str(value)


def read_number(value: object, default: float = 0.0) -> float:
    """Return a finite number."""
    if isinstance(value, int | float) and abs(value) < 1e300 and math.isfinite(value):
        return float(value)
    return default


def read_optional(value: object) -> float | None:
    """Return a number, or None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 1e300:
        return None
    return float(value) if math.isfinite(value) else None


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """Return `target` changed by a JSON merge patch (RFC 7386): None takes a name away, objects are merged."""
    merged = dict(target)
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            held = merged.get(name)
            merged[name] = merge_patch(held if isinstance(held, dict) else {}, value)
        else:
            merged[name] = value
    return merged


def _truth(value: object) -> bool | None:
    return value if isinstance(value, bool) else None

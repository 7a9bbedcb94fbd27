"""Agent traces of others: whatever the order, however often, whatever was written into them."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import PayloadError
from ingest.agent_events import TraceKey, read_span_id, span_events
from ingest.agent_spans import is_agent_span, read_agent_span
from ingest.agent_traces import Form, decode_agent_records
from tracing import Event, TraceView, fold
from tracing.scorecard import scorecard, to_json, walk_stages
from tracing.timeline import timeline

NOW = 1_800_000_000_000_000
TRACE = {
    "trace_id": "11111111-1111-1111-1111-111111111111",
    "name": "chat",
    "status": "success",
    "start_time": "2026-02-07T10:00:00Z",
    "end_time": "2026-02-07T10:00:04Z",
    "model": "gpt-4.1-mini",
    "environment": "prod",
    "user_id": "u-1",
    "session_id": "s-1",
    "input_text": "why?",
    "output_text": "because",
    "attributes": {"team": "search"},
    "user_review_passed": True,
}


def span(number: int, parent: int | None = None, **more: Any) -> dict[str, Any]:
    return {
        "span_id": f"span-{number}",
        "parent_span_id": "" if parent is None else f"span-{parent}",
        "name": f"step {number}",
        "span_type": "llm" if number % 2 else "tool",
        "status": "success",
        "start_time": f"2026-02-07T10:00:0{number}Z",
        "end_time": f"2026-02-07T10:00:0{number + 1}Z",
        "model": "m" if number % 2 else "",
        "input_tokens": 10,
        "output_tokens": 2,
        **more,
    }


BODY = {"trace": TRACE, "spans": [span(0), span(1, 0, attributes={"k": 5}), span(2, 0, status="error", error="boom")]}
EVENTS = [
    {
        "trace_id": TRACE["trace_id"],
        "span_id": "span-1",
        "environment": "prod",
        "event_type": kind,
        "event_time": "2026-02-07T10:00:05Z",
        "payload": payload,
        "idempotency_key": kind,
    }
    for kind, payload in (
        ("LOG", {"message": "tool started", "k": 5}),
        ("DECISION", {"what": "answer", "why": "enough was found", "confidence": 0.8, "alternatives": ["ask back"]}),
        ("AMENDMENT", {"patch": {"attributes": {"retry": 1, "k": None}, "name": "renamed"}, "reason": "wrong name"}),
    )
]


def records(form: Form, value: Any, environment: str = "default") -> list[list[Event]]:
    found = decode_agent_records(form, value, environment, NOW)
    assert found.rejected == 0, found.errors
    return found.records


def everything() -> list[Event]:
    parts = [*records("traces", BODY), *records("spans", {"events": EVENTS})]
    return [event for record in parts for event in record]


def test_a_trace_reads_as_it_was_sent() -> None:
    view = fold(everything())
    assert (view.source, view.external_id, view.environment) == ("ingest", TRACE["trace_id"], "prod")
    assert (view.name, view.question, view.answer, view.status) == ("chat", "why?", "because", "complete")
    assert (view.seconds, view.spans, view.failed_spans, view.open_spans) == (4.0, 3, 1, 0)
    assert view.facts["thread_id"] == "s-1" and view.facts["team"] == "search"
    (root,) = view.stages
    assert [stage.name for stage in root.stages] == ["renamed", "step 2"]
    assert root.stages[0].facts == {"retry": 1} and root.stages[0].kind == "model"
    assert root.stages[1].error == "boom" and root.stages[1].kind == "tool"
    assert (view.model.calls, view.model.prompt_tokens) == (3, 30)
    assert view.decisions[0].alternatives == ("ask back",) and view.logs[0].facts == {"k": 5}
    assert view.evals[0].user_review_passed is True and view.amendments[0].reason == "wrong name"
    assert [entry["what"] for entry in timeline(view)][:3] == ["stage", "stage", "model call"]


@given(st.randoms(use_true_random=False))
def test_order_and_repetition_do_not_matter(chance: random.Random) -> None:
    events = everything()
    again = events + everything()
    chance.shuffle(again)
    assert fold(again) == fold(events)
    assert {event.event_id for event in again} == {event.event_id for event in events}


def test_a_run_that_is_told_in_parts_ends_when_its_end_is_told() -> None:
    begun = {"trace": {**TRACE, "status": "running", "end_time": None, "user_review_passed": None}, "spans": []}
    child = {"trace": None, "spans": [span(1, 0, trace_id=TRACE["trace_id"], status="running", end_time=None)]}
    events = [event for record in records("traces", child, "prod") for event in record]
    view = fold(events)
    assert (view.status, view.open_spans, [stage.name for stage in view.stages]) == ("running", 1, ["step 1"])
    events += [event for record in records("traces", [begun, BODY]) for event in record]
    view = fold(events)
    assert (view.status, view.question, view.open_spans) == ("complete", "why?", 0)


def test_spans_alone_make_a_trace_that_ends_with_its_root() -> None:
    spans = [span(n, None if n == 0 else 0, trace_id="t") for n in range(3)]
    parts = [records("traces", {"spans": part}) for part in (spans[1:], spans)]
    views = [fold(event for record in part for event in record) for part in parts]
    assert [view.status for view in views] == ["running", "complete"]
    assert views[1].name == "step 0" and views[1].ended_us is not None


def test_langgraph_runs_are_traces_with_a_stage_per_node() -> None:
    run = {
        "trace_id": "33333333",
        "run_id": "lg-run-001",
        "graph_name": "agent_router",
        "status": "success",
        "start_time": "2026-02-07T10:00:00Z",
        "end_time": "2026-02-07T10:00:04Z",
        "nodes": [
            {
                "node_id": "plan",
                "node_name": "planner",
                "node_type": "router",
                "start_time": "2026-02-07T10:00:00Z",
                "end_time": "2026-02-07T10:00:01Z",
                "input_state": {"question": "..."},
                "output_state": {"route": "retrieval"},
                "attempt": 2,
                "idempotency_key": "plan-1",
            },
            {
                "node_id": "retrieve",
                "parent_node_id": "plan",
                "node_type": "tool",
                "start_time": "2026-02-07T10:00:01Z",
            },
        ],
    }
    view = fold(event for record in records("langgraph", run) for event in record)
    assert (view.name, view.status, view.facts["run_id"]) == ("agent_router", "complete", "lg-run-001")
    (plan,) = view.stages
    assert (plan.name, plan.attempts, json.loads(plan.facts["output"])) == ("planner", 2, {"route": "retrieval"})
    assert (plan.stages[0].name, plan.stages[0].kind, plan.stages[0].status) == ("retrieve", "tool", "open")
    assert view.has_open_spans and view.completion_rate == 0.5


@pytest.mark.parametrize(
    ("form", "value", "rejected", "word"),
    [
        ("traces", {"trace": {"trace_id": "t"}}, 1, "start_time"),
        ("traces", {"trace": TRACE, "spans": [{"span_id": "x"}]}, 1, "start_time"),
        ("traces", {"trace": TRACE, "spans": [span(1, 9)], "allow_missing_parent": False}, 1, "parent"),
        ("traces", {"spans": [span(1)]}, 1, "names no trace"),
        ("spans", {"events": [{**EVENTS[0], "event_type": "VERDICT"}]}, 1, "VERDICT"),
        ("spans", [{**EVENTS[0], "environment": "x" * 65}], 1, "longer"),
        ("evals", [{"trace_id": "t"}], 1, "eval_name"),
        ("langgraph", {**TRACE, "nodes": [{"node_id": "n"}]}, 1, "start_time"),
    ],
)
def test_a_bad_record_is_rejected_alone(form: Form, value: Any, rejected: int, word: str) -> None:
    found = decode_agent_records(form, value, "", NOW)
    assert found.rejected == rejected and word in found.errors[0]


@pytest.mark.parametrize("value", [1, "x", [1], [[]], None])
def test_a_body_of_another_shape_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError):
        decode_agent_records("traces", value, "", NOW)


def test_nobody_says_by_an_event_how_a_run_was_judged() -> None:
    patch = {"outcome": "CONFIRMED", "action": "ALLOW_ANSWER", "note": "seen", "attributes": {"a": 1}}
    event = {**EVENTS[2], "span_id": "", "payload": {"patch": patch}}
    view = fold([*everything(), *records("spans", [event])[0]])
    assert (view.outcome, view.action, view.note, view.facts["a"]) == ("", "", "seen", 1)


def test_equal_ids_of_two_environments_are_two_traces() -> None:
    ids = {TraceKey(name, "t").id for name in ("a", "b", "")}
    assert len(ids) == 3 and all(len(held) == 36 for held in ids)
    assert read_span_id("x y") == read_span_id("x y") != read_span_id("x z") and read_span_id("") == ""
    assert read_span_id("amendment") != "amendment"


def test_circles_of_parents_are_cut() -> None:
    spans = [span(0, 2, trace_id="t"), span(1, 0, trace_id="t"), span(2, 1, trace_id="t"), span(3, 3, trace_id="t")]
    view = fold(event for record in records("traces", {"spans": spans}) for event in record)
    assert sorted(stage.name for _, stage in walk_stages(view)) == [f"step {n}" for n in range(4)]


def test_a_very_deep_trace_can_be_told() -> None:
    spans = [
        {**span(1), "trace_id": "t", "span_id": f"s{n}", "parent_span_id": f"s{n - 1}" if n else ""}
        for n in range(2000)
    ]
    view = fold(event for record in records("traces", {"spans": spans}) for event in record)
    told = json.dumps(to_json(view))
    assert told.count('"span_id": "s') == 2000 + 2 * 2000 // 2  # each stage, and each one's model call
    assert scorecard(view)


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        (
            {"gen_ai.operation.name": "chat", "gen_ai.request.model": "m", "gen_ai.usage.input_tokens": 7},
            ("model", "m", 7),
        ),
        ({"openinference.span.kind": "LLM", "llm.model_name": "m", "llm.token_count.prompt": 7}, ("model", "m", 7)),
        ({"langfuse.observation.type": "generation", "gen_ai.response.model": "m"}, ("model", "m", 0)),
        ({"gen_ai.operation.name": "execute_tool", "gen_ai.request.model": "m"}, ("tool", "", 0)),
        ({"traceloop.span.kind": "workflow"}, ("agent", "", 0)),
        ({"openinference.span.kind": "EVALUATOR"}, ("judge", "", 0)),
        ({"gen_ai.operation.name": "invoke_agent"}, ("agent", "", 0)),
        ({"gen_ai.system": "x", "gen_ai.usage.input_tokens": "many"}, ("chain", "", 0)),
    ],
)
def test_spans_of_every_convention_are_read(attributes: dict[str, Any], expected: tuple[str, str, int]) -> None:
    assert is_agent_span(attributes)
    read = otlp(attributes)
    assert (read.kind, read.model, read.prompt_tokens) == expected


def test_prompts_that_are_spread_over_attributes_are_put_together() -> None:
    read = otlp(
        {
            "openinference.span.kind": "LLM",
            "llm.input_messages.0.message.role": "system",
            "llm.input_messages.0.message.content": "be kind",
            "llm.input_messages.1.message.content": "hello",
            "llm.output_messages.0.message.content": "hi",
        }
    )
    assert json.loads(read.facts["input"]) == [{"role": "system", "content": "be kind"}, {"content": "hello"}]
    assert json.loads(read.facts["output"]) == [{"content": "hi"}]
    assert set(read.facts) == {"input", "output", "openinference.span.kind"}


def test_an_interrupt_is_a_pause_and_an_evaluation_event_is_an_evaluation() -> None:
    interrupt = ("exception", 5, {"exception.type": "langgraph.errors.GraphInterrupt"})
    score = {"gen_ai.evaluation.name": "faithful", "gen_ai.evaluation.score.value": 0.5}
    paused = otlp({"openinference.span.kind": "CHAIN"}, events=[interrupt], status_code=2)
    failed = otlp({"openinference.span.kind": "CHAIN"}, events=[("gen_ai.evaluation.result", 5, score)], status_code=2)
    assert (paused.status, failed.status) == ("paused", "failed")
    assert fold(span_events(failed)).evals[0].score == 0.5


@given(
    st.dictionaries(
        st.sampled_from([*TRACE, "spans", "trace", "events", "nodes"]),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        ),
    ),
    st.sampled_from(["traces", "spans", "langgraph", "evals"]),
)
def test_anything_can_be_sent(raw: dict[str, Any], form: Form) -> None:
    try:
        found = decode_agent_records(form, {**TRACE, **raw, "eval_name": "x"}, "", NOW)
    except PayloadError:
        assert form == "spans"  # what it names `events` is no array of objects
        return
    for record in found.records:
        view: TraceView = fold(record)
        assert scorecard(view) and json.dumps(to_json(view)) and timeline(view) is not None


def otlp(attributes: dict[str, Any], **more: Any) -> Any:
    return read_agent_span(
        **{
            "environment": "e",
            "service": "bot",
            "trace_id": "t",
            "span_id": "s",
            "parent_id": "",
            "name": "n",
            "start_us": 1,
            "end_us": 2,
            "status_code": 0,
            "status_message": "",
            "attributes": attributes,
            **more,
        }
    )

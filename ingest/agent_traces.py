"""Agent traces as JSON: traces with spans, single events, LangGraph runs with nodes, and results of evaluations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from domain.errors import PayloadError
from domain.telemetry import DEFAULT_ENVIRONMENT
from domain.times import parse_time_us
from ingest.agent_events import (
    OWN_TRACE,
    RUN_SPAN,
    AgentSpan,
    OwnTrace,
    TraceKey,
    clean_facts,
    imply_start,
    is_running,
    make_event,
    read_kind,
    read_span_id,
    read_status,
    span_events,
)
from ingest.fields import clean_environment, clean_text
from ingest.payload import MAX_ERRORS
from tracing.events import Event, EventType

type Form = Literal["traces", "spans", "langgraph", "evals"]

type _Time = Annotated[int, BeforeValidator(parse_time_us)]
type _Id = Annotated[str, Field(min_length=1, max_length=191)]
type _Text = Annotated[str, BeforeValidator(lambda value: _as_text(value))]
type _Facts = Annotated[dict[str, Any], BeforeValidator(lambda value: {} if value is None else value)]


class _Sent(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Trace(_Sent):
    trace_id: _Id
    status: str = "running"
    name: _Text = ""
    start_time: _Time
    end_time: _Time | None = None
    model: _Text = ""
    service: _Text = ""
    environment: str = ""
    user_id: _Text = ""
    session_id: _Text = ""
    input_text: _Text = ""
    output_text: _Text = ""
    error: _Text = ""
    attributes: _Facts = Field(default_factory=dict)
    user_review_passed: bool | None = None
    idempotency_key: str = ""


class _Span(_Sent):
    span_id: _Id
    trace_id: str = ""
    parent_span_id: _Text = ""
    name: _Text = "span"
    span_type: _Text = "chain"
    status: str = "running"
    start_time: _Time
    end_time: _Time | None = None
    error: _Text = ""
    input: Any = None
    output: Any = None
    model: _Text = ""
    input_tokens: int = Field(0, ge=0, le=2**40)
    output_tokens: int = Field(0, ge=0, le=2**40)
    cost: float = Field(0.0, ge=0, le=1e12)
    attributes: _Facts = Field(default_factory=dict)
    idempotency_key: str = ""


class _SpanEvent(_Sent):
    trace_id: _Id
    span_id: str = ""
    event_type: str
    event_time: _Time
    environment: str = ""
    payload: _Facts = Field(default_factory=dict)
    idempotency_key: str = ""


class _Node(_Sent):
    node_id: _Id
    node_name: _Text = ""
    node_type: _Text = "chain"
    parent_node_id: _Text = ""
    status: str = ""
    start_time: _Time
    end_time: _Time | None = None
    input_state: Any = None
    output_state: Any = None
    error: _Text = ""
    model: _Text = ""
    input_tokens: int = Field(0, ge=0, le=2**40)
    output_tokens: int = Field(0, ge=0, le=2**40)
    cost: float = Field(0.0, ge=0, le=1e12)
    attempt: int = Field(1, ge=1, le=1000)
    attributes: _Facts = Field(default_factory=dict)
    idempotency_key: str = ""


class _GraphRun(_Trace):
    status: str = "success"
    run_id: _Text = ""
    graph_name: _Text = ""
    nodes: list[Any] = Field(default_factory=list)


class _Eval(_Sent):
    trace_id: _Id
    span_id: str = ""
    eval_name: Annotated[str, Field(min_length=1, max_length=191)]
    eval_model: _Text = ""
    score: float | None = None
    passed: bool | None = None
    label: _Text = ""
    explanation: _Text = ""
    metadata: _Facts = Field(default_factory=dict)
    user_review_passed: bool | None = None
    environment: str = ""
    event_time: _Time | None = None
    idempotency_key: str = ""


@dataclass(slots=True)
class AgentRecords:
    """The events of a delivery, grouped by the record they came from, and what was wrong with other records."""

    records: list[list[Event]] = field(default_factory=list)
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    traces: dict[str, str] = field(default_factory=dict)  # our id of each trace by the sender's

    def reject(self, reason: str) -> None:
        """Count a record that is not taken."""
        self.rejected += 1
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(reason[:500])

    def take(self, trace: TraceKey, events: Iterable[Event]) -> None:
        """Add the events of one record."""
        self.records.append(list(events))
        self.traces[trace.external_id] = trace.id


def decode_agent_records(form: Form, value: Any, environment: str, now_us: int) -> AgentRecords:
    """Return the events of a JSON body; a bad record is rejected alone, a body of another shape raises PayloadError."""
    found = AgentRecords()
    for number, raw in enumerate(_items(form, value), 1):
        try:
            match form:
                case "traces":
                    _take_trace(found, raw, environment)
                case "spans":
                    _take_event(found, _SpanEvent.model_validate(raw), environment)
                case "langgraph":
                    _take_graph_run(found, _GraphRun.model_validate(raw), environment)
                case "evals":
                    _take_eval(found, _Eval.model_validate(raw), environment, now_us)
        except (ValidationError, ValueError) as exc:
            found.reject(f"record {number}: {_reason(exc)}")
    return found


def _items(form: Form, value: Any) -> list[Any]:
    if form == "spans" and isinstance(value, dict) and "events" in value:
        value = value["events"]
    items = value if isinstance(value, list) else [value]
    if not all(isinstance(item, dict) for item in items):
        raise PayloadError("The body must be one JSON object or an array of objects: see docs/traces.md.")
    return items


# -- traces and spans --------------------------------------------------------------------------------------------------


def _take_trace(found: AgentRecords, raw: Mapping[str, Any], environment: str) -> None:
    """Take `{"trace": {...}, "spans": [...]}`, a trace alone, or spans of a trace that is named by each of them."""
    spans = raw.get("spans") or []
    if not isinstance(spans, list):
        raise ValueError("spans: must be an array")
    said = raw.get("trace", raw if "trace_id" in raw else None)
    trace = None if said is None else _Trace.model_validate(said)
    key = None
    if trace is not None:
        key = TraceKey(_environment(trace.environment, environment), trace.trace_id)
        found.take(key, _trace_events(key, trace))
    known = {read_span_id(str(span.get("span_id", ""))) for span in spans if isinstance(span, dict)}
    for number, held in enumerate(spans, 1):
        try:
            span = _Span.model_validate(held)
            name = span.trace_id or (trace.trace_id if trace else "")
            if not name:
                raise ValueError("it names no trace")
            where = key.environment if key else _environment("", environment)
            parent = read_span_id(span.parent_span_id)
            if raw.get("allow_missing_parent") is False and parent and parent not in known:
                raise ValueError("its parent is not in this delivery, and allow_missing_parent is false")
            owner = TraceKey(where, name)
            found.take(owner, span_events(_read_span(owner, span)))
        except (ValidationError, ValueError) as exc:
            found.reject(f"span {number}: {_reason(exc)}")


def _trace_events(key: TraceKey, trace: _Trace) -> Iterable[Event]:
    data = {"source": "ingest", "environment": key.environment, "external_id": key.external_id}
    begun = {**data, "name": trace.name[:191], "question": clean_text(trace.input_text)}
    yield imply_start(key, trace.start_time)
    yield make_event(key, "RUN_START", RUN_SPAN, trace.start_time, begun)
    said = {
        "model": trace.model,
        "service": trace.service,
        "user_id": trace.user_id,
        "thread_id": trace.session_id,
        **trace.attributes,
    }
    if trace.output_text:
        said["answer"] = trace.output_text
    if facts := clean_facts({name: value for name, value in said.items() if value not in (None, "")}):
        yield make_event(key, "NOTE", RUN_SPAN, trace.end_time or trace.start_time, {"facts": facts})
    if trace.end_time is not None or not is_running(trace.status):
        end_us = trace.end_time or trace.start_time
        seconds = max(0, end_us - trace.start_time) / 1e6
        status = read_status(trace.status)
        end = {"status": status, "seconds": seconds, "error": clean_text(trace.error, 4_000)}
        yield make_event(key, "RUN_END", RUN_SPAN, end_us, end)
    if trace.user_review_passed is not None:
        passed = trace.user_review_passed
        review = {"name": "user_review", "passed": passed, "user_review_passed": passed}
        yield make_event(key, "EVAL", RUN_SPAN, trace.end_time or trace.start_time, review)


def _read_span(key: TraceKey, span: _Span) -> AgentSpan:
    running = span.end_time is None and is_running(span.status)
    return AgentSpan(
        trace=key,
        span_id=read_span_id(span.span_id),
        parent_id=read_span_id(span.parent_span_id),
        name=span.name,
        kind=read_kind(span.span_type),
        start_us=span.start_time,
        end_us=None if running else span.end_time or span.start_time,
        status="complete" if is_running(span.status) else read_status(span.status),
        error=span.error,
        facts=_facts(span.attributes, span.input, span.output),
        model=span.model,
        prompt_tokens=span.input_tokens,
        completion_tokens=span.output_tokens,
        cost=span.cost,
        key=span.idempotency_key,
    )


def _facts(attributes: Mapping[str, Any], given: Any, put_out: Any) -> dict[str, Any]:
    said = {"input": given, "output": put_out}
    return {**{name: value for name, value in said.items() if value is not None}, **attributes}


# -- LangGraph ---------------------------------------------------------------------------------------------------------


def _take_graph_run(found: AgentRecords, run: _GraphRun, environment: str) -> None:
    key = TraceKey(_environment(run.environment, environment), run.trace_id)
    facts = {**run.attributes, "run_id": run.run_id, "graph": run.graph_name}
    named = run.model_copy(update={"name": run.name or run.graph_name, "attributes": facts})
    found.take(key, _trace_events(key, named))
    for number, raw in enumerate(run.nodes, 1):
        try:
            node = _Node.model_validate(raw)
            found.take(key, _node_events(key, node))
        except ValidationError as exc:
            found.reject(f"node {number}: {_reason(exc)}")


def _node_events(key: TraceKey, node: _Node) -> Iterable[Event]:
    span = AgentSpan(
        trace=key,
        span_id=read_span_id(node.node_id),
        parent_id=read_span_id(node.parent_node_id),
        name=node.node_name or node.node_id,
        kind=read_kind(node.node_type),
        start_us=node.start_time,
        end_us=node.end_time,
        status=read_status(node.status),
        error=node.error,
        facts=_facts(node.attributes, node.input_state, node.output_state),
        model=node.model,
        prompt_tokens=node.input_tokens,
        completion_tokens=node.output_tokens,
        cost=node.cost,
        key=node.idempotency_key,
    )
    yield from span_events(span)
    for attempt in range(1, node.attempt):
        yield make_event(key, "RETRY", read_span_id(node.node_id), node.start_time, {"attempt": attempt, "error": ""})


# -- events and evaluations --------------------------------------------------------------------------------------------

_EVENTS: dict[str, EventType] = {
    "LOG": "LOG",
    "DECISION": "DECISION",
    "AMENDMENT": "AMENDMENT",
    "RETRY": "RETRY",
    "ROUTE": "ROUTE",
    "CACHE_HIT": "CACHE_HIT",
    "PAUSE": "PAUSE",
    "RESUME": "RESUME",
    "MODEL_CALL": "MODEL_CALL",
    "EVAL": "EVAL",
    "START": "STAGE_START",
    "SPAN_START": "STAGE_START",
    "STAGE_START": "STAGE_START",
    "END": "STAGE_END",
    "SPAN_END": "STAGE_END",
    "STAGE_END": "STAGE_END",
}


def _take_event(found: AgentRecords, event: _SpanEvent, environment: str) -> None:
    key = TraceKey(_environment(event.environment, environment), event.trace_id)
    kind = _EVENTS.get(event.event_type.strip().upper())
    if kind is None:
        raise ValueError(f"event_type: {event.event_type[:40]!r} is none of {', '.join(_EVENTS)}")
    span_id = read_span_id(event.span_id) or ("amendment" if kind == "AMENDMENT" else RUN_SPAN)
    data = _event_data(kind, event.payload, span_id)
    started = imply_start(key, event.event_time)
    found.take(key, [started, make_event(key, kind, span_id, event.event_time, data, event.idempotency_key)])


def _event_data(kind: EventType, said: Mapping[str, Any], span_id: str) -> dict[str, Any]:
    """Return a payload as our own events have it; nobody can say by it how a run was judged."""
    match kind:
        case "LOG":
            rest = {name: value for name, value in said.items() if name not in ("message", "text", "level")}
            text = clean_text(_as_text(said.get("message", said.get("text", ""))))
            return {"text": text, "level": _as_text(said.get("level")) or "INFO", "facts": clean_facts(rest)}
        case "AMENDMENT":
            patch = said.get("patch")
            patch = patch if isinstance(patch, dict) else {}
            if span_id == "amendment":
                facts = {**_dict(patch.get("facts")), **_dict(patch.get("attributes"))}
                patch = {"facts": facts, **({"note": _as_text(patch["note"])} if "note" in patch else {})}
            return {"patch": patch, "actor": _as_text(said.get("actor")), "reason": _as_text(said.get("reason"))}
        case "STAGE_START" | "CACHE_HIT":
            facts = {**_dict(said.get("attributes")), **({"input": said["input"]} if "input" in said else {})}
            return {
                "name": _as_text(said.get("name")) or "span",
                "parent": read_span_id(_as_text(said.get("parent_span_id"))),
                "kind": read_kind(_as_text(said.get("span_type"))),
                "facts": clean_facts(facts),
            }
        case "STAGE_END":
            facts = {**_dict(said.get("attributes")), **({"output": said["output"]} if "output" in said else {})}
            return {
                "status": read_status(_as_text(said.get("status"))),
                "seconds": said.get("seconds"),
                "error": clean_text(_as_text(said.get("error")), 4_000),
                "facts": clean_facts(facts),
            }
        case _:
            return dict(said)


def _take_eval(found: AgentRecords, said: _Eval, environment: str, now_us: int) -> None:
    own = OWN_TRACE.fullmatch(said.trace_id)
    where = _environment(said.environment, environment)
    key = OwnTrace(where, said.trace_id) if own else TraceKey(where, said.trace_id)
    data = {
        "name": said.eval_name,
        "model": said.eval_model,
        "score": said.score,
        "passed": said.passed,
        "label": said.label,
        "explanation": clean_text(said.explanation),
        "user_review_passed": said.user_review_passed,
        "facts": clean_facts(said.metadata),
    }
    # Without a key, the same result of the same evaluation is the same, whenever it is told.
    name = said.idempotency_key or clean_text(repr(sorted(data.items(), key=lambda item: item[0])))
    time_us = now_us if said.event_time is None else said.event_time
    span_id = read_span_id(said.span_id) or RUN_SPAN
    begun = [] if own else [imply_start(key, time_us)]
    found.take(key, [*begun, make_event(key, "EVAL", span_id, time_us, data, name)])


# -- fields ------------------------------------------------------------------------------------------------------------


def _environment(own: str, query: str) -> str:
    return clean_environment(own) or clean_environment(query) or DEFAULT_ENVIRONMENT


def _as_text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else str(value)


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _reason(exc: Exception) -> str:
    if isinstance(exc, ValidationError):
        return "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in exc.errors()[:3])
    return str(exc)

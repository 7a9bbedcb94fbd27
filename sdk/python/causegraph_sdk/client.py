"""The half that programs call: traces, spans, events, decisions, evaluations, LangGraph runs."""

from __future__ import annotations

import functools
import logging
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

import httpx

from causegraph_sdk.sender import Sender, Stats, encode

logger = logging.getLogger("causegraph_sdk")

_P = ParamSpec("_P")
_R = TypeVar("_R")


@dataclass
class TraceHandle:
    """A trace that runs; set `output_text` and `attributes` before it ends."""

    trace_id: str
    record: dict[str, Any] = field(default_factory=dict)
    output_text: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass
class SpanHandle:
    """A span that runs; what is set here before it ends is sent with its end."""

    span_id: str
    trace_id: str
    name: str = ""
    model: str = ""
    output: Any = None
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0
    attributes: dict[str, Any] = field(default_factory=dict)
    started: float = 0.0


@dataclass(frozen=True)
class _Here:
    """The current trace and the spans that are open here, innermost last."""

    trace: TraceHandle | None = None
    spans: tuple[SpanHandle, ...] = ()


_NOWHERE = _Here()
_HERE: ContextVar[_Here] = ContextVar("causegraph_sdk", default=_NOWHERE)


def _harmless(default: Callable[[], _R]) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Make a call return `default()` instead of raising: a record is never worth the host's work."""

    def wrap(call: Callable[_P, _R]) -> Callable[_P, _R]:
        @functools.wraps(call)
        def safe(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            try:
                return call(*args, **kwargs)
            except Exception:
                logger.debug("causegraph: a record was lost", exc_info=True)
                return default()

        return safe

    return wrap


class TraceClient:
    """Records traces and sends them in the background. No method raises or waits, but `flush` and `close`."""

    def __init__(
        self,
        base_url: str,
        api_key: str = "",
        *,
        environment: str = "",
        service: str = "",
        enabled: bool = True,
        max_queue: int = 10_000,
        batch_size: int = 200,
        flush_seconds: float = 1.0,
        timeout: float = 5.0,
        max_attempts: int = 8,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._environment = environment
        self._service = service
        self._enabled = enabled
        self._sender = Sender(
            base_url,
            api_key,
            max_queue=max_queue,
            batch_size=batch_size,
            flush_seconds=flush_seconds,
            timeout=timeout,
            max_attempts=max_attempts,
            transport=transport,
        )

    # Traces

    @_harmless(lambda: "")
    def start_trace(
        self,
        name: str = "",
        *,
        input_text: str = "",
        model: str = "",
        environment: str = "",
        user_id: str = "",
        session_id: str = "",
        attributes: Mapping[str, Any] | None = None,
        trace_id: str = "",
    ) -> str:
        """Begin a trace, make it the current one here, and return its id."""
        record: dict[str, Any] = {
            "trace_id": trace_id or str(uuid.uuid4()),
            "name": name,
            "status": "running",
            "start_time": time.time(),
            "input_text": input_text,
            "model": model,
            "service": self._service,
            "environment": environment or self._environment,
            "user_id": user_id,
            "session_id": session_id,
            "attributes": dict(attributes or {}),
        }
        _HERE.set(_Here(TraceHandle(record["trace_id"], record)))
        self._put("/ingest/traces", {"trace": record})
        return str(record["trace_id"])

    @_harmless(lambda: None)
    def end_trace(
        self,
        status: str = "success",
        *,
        output_text: str = "",
        error: str = "",
        attributes: Mapping[str, Any] | None = None,
        user_review_passed: bool | None = None,
    ) -> None:
        """End the current trace."""
        trace = _HERE.get().trace
        if trace is None:
            return
        end = {
            "status": status,
            "end_time": time.time(),
            "output_text": output_text or trace.output_text,
            "error": error,
            "attributes": {**trace.record.get("attributes", {}), **trace.attributes, **(attributes or {})},
            "user_review_passed": user_review_passed,
        }
        self._put("/ingest/traces", {"trace": {**trace.record, **end}})
        _HERE.set(_Here())

    @contextmanager
    def trace(self, name: str = "", **about: Any) -> Iterator[TraceHandle]:
        """Run a block as a trace: failed if an exception leaves it. Takes what `start_trace` takes."""
        before = _HERE.get()
        trace_id = self.start_trace(name, **about)
        trace = _HERE.get().trace or TraceHandle(trace_id)
        try:
            yield trace
        except BaseException as exc:
            self.end_trace("error", error=_say(exc))
            raise
        else:
            self.end_trace()
        finally:
            _HERE.set(before)

    # Spans

    @_harmless(lambda: SpanHandle("", ""))
    def start_span(
        self,
        name: str,
        span_type: str = "chain",
        *,
        input: Any = None,  # noqa: A002 - the field's name
        model: str = "",
        attributes: Mapping[str, Any] | None = None,
        parent_span_id: str = "",
        span_id: str = "",
        trace_id: str = "",
    ) -> SpanHandle:
        """Begin a span under the current one, make it the current one here, and return it."""
        here = _HERE.get()
        if here.trace is None:  # the server makes a trace of spans alone, which ends with the outermost
            here = _Here(TraceHandle(trace_id or str(uuid.uuid4()), {"environment": self._environment}))
        trace = trace_id or (here.trace.trace_id if here.trace else "")
        span = SpanHandle(span_id or uuid.uuid4().hex[:16], trace, name, model, started=time.time())
        parent = parent_span_id or (here.spans[-1].span_id if here.spans else "")
        facts = {**({"model": model} if model else {}), **(attributes or {})}
        said = {"name": name, "span_type": span_type, "parent_span_id": parent, "attributes": facts}
        if input is not None:
            said["input"] = input
        self._event("START", said, span.span_id, trace, span.started)
        _HERE.set(_Here(here.trace, (*here.spans, span)))
        return span

    @_harmless(lambda: None)
    def end_span(
        self,
        status: str = "success",
        *,
        span_id: str = "",
        output: Any = None,
        error: str = "",
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """End a span: the current one, or one that is open here by its id."""
        here = _HERE.get()
        span = next((s for s in reversed(here.spans) if not span_id or s.span_id == span_id), None)
        if span is None:
            return
        ended = time.time()
        seconds = max(0.0, ended - span.started)
        said = {"status": status, "seconds": seconds, "error": error}
        put_out = output if output is not None else span.output
        told: dict[str, Any] = {**said, "attributes": {**span.attributes, **(attributes or {})}}
        if put_out is not None:
            told["output"] = put_out
        if span.model or span.input_tokens or span.output_tokens:
            call = {
                "model": span.model,
                "prompt_tokens": span.input_tokens,
                "completion_tokens": span.output_tokens,
                "seconds": seconds,
                "cost": span.cost,
                "error": error,
            }
            self._event("MODEL_CALL", call, span.span_id, span.trace_id, ended)
        self._event("END", told, span.span_id, span.trace_id, ended)
        _HERE.set(_Here(here.trace, tuple(s for s in here.spans if s is not span)))

    @contextmanager
    def span(self, name: str, span_type: str = "chain", **about: Any) -> Iterator[SpanHandle]:
        """Run a block as a span: failed if an exception leaves it. Takes what `start_span` takes."""
        before = _HERE.get()
        span = self.start_span(name, span_type, **about)
        try:
            yield span
        except BaseException as exc:
            self.end_span("error", span_id=span.span_id, error=_say(exc))
            raise
        else:
            self.end_span(span_id=span.span_id)
        finally:
            _HERE.set(before)

    # Events

    @_harmless(lambda: None)
    def log_event(
        self, message: str, *, level: str = "INFO", metadata: Mapping[str, Any] | None = None, span_id: str = ""
    ) -> None:
        """Record a line on the current span."""
        self._event("LOG", {**(metadata or {}), "message": message, "level": level}, span_id)

    @_harmless(lambda: None)
    def decision(
        self,
        what: str,
        why: str = "",
        *,
        confidence: float | None = None,
        alternatives: Sequence[str] = (),
        inputs: Mapping[str, Any] | None = None,
        span_id: str = "",
    ) -> None:
        """Record a choice on the current span: what, why, how sure (0 to 1), and what else was on the table."""
        said = {"what": what, "why": why, "confidence": confidence, "alternatives": list(alternatives)}
        self._event("DECISION", {**said, "inputs": dict(inputs or {})}, span_id)

    @_harmless(lambda: None)
    def amend(
        self, patch: Mapping[str, Any], *, reason: str = "", actor: str = "", span_id: str = "", trace_id: str = ""
    ) -> None:
        """Correct what was sent of a span (or, without one, of the trace) by a JSON merge patch."""
        said = {"patch": dict(patch), "reason": reason, "actor": actor}
        self._event("AMENDMENT", said, span_id, trace_id, current=False)

    @_harmless(lambda: None)
    def attach_eval(
        self,
        eval_name: str,
        *,
        score: float | None = None,
        passed: bool | None = None,
        eval_model: str = "",
        label: str = "",
        explanation: str = "",
        metadata: Mapping[str, Any] | None = None,
        user_review_passed: bool | None = None,
        trace_id: str = "",
        span_id: str = "",
        environment: str = "",
    ) -> None:
        """Attach the result of an evaluation to a trace, or to a span of it."""
        record = {
            "trace_id": trace_id or self._trace_id(),
            "span_id": span_id,
            "eval_name": eval_name,
            "eval_model": eval_model,
            "score": score,
            "passed": passed,
            "label": label,
            "explanation": explanation,
            "metadata": dict(metadata or {}),
            "user_review_passed": user_review_passed,
            "environment": environment or self._where(),
            "event_time": time.time(),
            "idempotency_key": uuid.uuid4().hex,
        }
        self._put("/evals", record)

    # LangGraph

    @_harmless(lambda: "")
    def start_langgraph_run(self, graph_name: str, run_id: str = "", **about: Any) -> str:
        """Begin the trace of a graph's run. Takes what `start_trace` takes."""
        attributes = {**about.pop("attributes", {}), "graph": graph_name, "run_id": run_id}
        return self.start_trace(graph_name, attributes=attributes, **about)

    @_harmless(lambda: None)
    def start_langgraph_node(
        self,
        node_id: str,
        *,
        node_name: str = "",
        node_type: str = "node",
        parent_node_id: str = "",
        input_state: Any = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> None:
        """Begin a node of the current run."""
        self.start_span(
            node_name or node_id,
            node_type,
            input=input_state,
            attributes=attributes,
            parent_span_id=parent_node_id,
            span_id=node_id,
        )

    @_harmless(lambda: None)
    def end_langgraph_node(
        self, node_id: str, *, output_state: Any = None, status: str = "success", error: str = ""
    ) -> None:
        """End a node of the current run."""
        self.end_span(status, span_id=node_id, output=output_state, error=error)

    @_harmless(lambda: None)
    def end_langgraph_run(self, status: str = "success", **about: Any) -> None:
        """End the current run. Takes what `end_trace` takes."""
        self.end_trace(status, **about)

    @_harmless(lambda: None)
    def ingest_langgraph_run(self, run: Mapping[str, Any]) -> None:
        """Send a run that is over, with its nodes, as `POST /ingest/langgraph-runs` takes it."""
        self._put("/ingest/langgraph-runs", {"environment": self._environment, **run})

    # Sending

    def flush(self, seconds: float = 10.0) -> bool:
        """Wait until everything so far was sent or given up; False if that took longer."""
        return self._sender.flush(seconds)

    def close(self, seconds: float = 10.0) -> bool:
        """Flush, and record nothing from now on."""
        return self._sender.close(seconds)

    def stats(self) -> Stats:
        """Return how many records were sent, dropped, rejected and are waiting."""
        return self._sender.stats()

    def _trace_id(self) -> str:
        here = _HERE.get()
        return here.trace.trace_id if here.trace else here.spans[-1].trace_id if here.spans else ""

    def _where(self) -> str:
        trace = _HERE.get().trace
        return str(trace.record.get("environment", "")) if trace else self._environment

    def _event(
        self,
        event_type: str,
        payload: Mapping[str, Any],
        span_id: str = "",
        trace_id: str = "",
        at: float = 0.0,
        *,
        current: bool = True,
    ) -> None:
        here = _HERE.get()
        nearest = here.spans[-1].span_id if current and here.spans else ""
        record = {
            "trace_id": trace_id or self._trace_id(),
            "span_id": span_id or nearest,
            "event_type": event_type,
            "event_time": at or time.time(),
            "environment": self._where(),
            "payload": payload,
            "idempotency_key": uuid.uuid4().hex,
        }
        if record["trace_id"]:
            self._put("/ingest/spans", record)

    def _put(self, path: str, record: Mapping[str, Any]) -> None:
        if self._enabled:
            self._sender.put(path, encode(dict(record)))


def _say(exc: BaseException) -> str:
    try:
        return f"{type(exc).__name__}: {exc}"[:1000]
    except Exception:  # noqa: BLE001 - a broken __str__ of the host's exception
        return type(exc).__name__

"""Our own traces as OTLP spans with gen_ai.* and OpenInference attributes, for Langfuse, Phoenix or a collector.

The GenAI conventions (open-telemetry/semantic-conventions-genai) are in development; this writes them as of 2026-11, beside
OpenInference's, and what neither can say under `causegraph.*`.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from blake3 import blake3
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from tracing.events import Event
from tracing.scorecard import walk_stages
from tracing.view import ModelCall, StageView, TraceView

_OK, _ERROR = Status.STATUS_CODE_OK, Status.STATUS_CODE_ERROR
_INTERNAL, _CLIENT = ProtoSpan.SPAN_KIND_INTERNAL, ProtoSpan.SPAN_KIND_CLIENT
# The kind of a stage, as the operation of gen_ai.* (empty: it has none) and as OpenInference's span kind.
_KINDS: dict[str, tuple[str, str]] = {
    "agent": ("invoke_agent", "AGENT"),
    "model": ("chat", "LLM"),
    "tool": ("execute_tool", "TOOL"),
    "retriever": ("retrieval", "RETRIEVER"),
    "reranker": ("", "RERANKER"),
    "embedding": ("embeddings", "EMBEDDING"),
    "judge": ("", "EVALUATOR"),
    "guardrail": ("", "GUARDRAIL"),
}
_NAMED = {"planner": ("plan", "CHAIN"), "judge": ("", "EVALUATOR")}


def to_otlp(view: TraceView, new: Iterable[Event], *, content: bool) -> ExportTraceServiceRequest:
    """Return the spans of a trace that ended with some new events; the run itself comes when it is over.

    Ids are made from ours, so that what is sent twice is the same. With `content`, questions, answers, and what went into
    and came out of stages are in it.
    """
    ended = {event.span_id for event in new if event.type in ("STAGE_END", "CACHE_HIT")}
    called = {(event.span_id, event.time_us) for event in new if event.type == "MODEL_CALL"}
    over = view.status in ("complete", "failed") and any(event.type == "RUN_END" for event in new)
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    block.resource.attributes.extend(
        _attributes({"service.name": "causegraph", "deployment.environment.name": view.environment})
    )
    scope = block.scope_spans.add()
    scope.scope.name = "causegraph.tracing"
    spans = _Spans(view, content)
    if over:
        scope.spans.append(spans.run())
    scope.spans.extend(spans.stages(ended))
    scope.spans.extend(spans.model_calls(called))
    return request


class _Spans:
    def __init__(self, view: TraceView, content: bool) -> None:
        self._view = view
        self._content = content
        self._trace_id = blake3(view.id.encode()).digest(length=16)
        self._root = self._span_id("run")

    def run(self) -> ProtoSpan:
        view = self._view
        facts = {
            "gen_ai.operation.name": "invoke_workflow",
            "gen_ai.workflow.name": "causegraph",
            "openinference.span.kind": "AGENT",
            "session.id": view.facts.get("thread_id") or None,
            "gen_ai.conversation.id": view.facts.get("thread_id") or None,
            "causegraph.trace_id": view.id,
            "causegraph.outcome": view.outcome,
            "causegraph.action": view.action,
            "causegraph.causes": list(view.causes),
            "causegraph.pauses": len(view.pauses),
        }
        if self._content:
            facts |= {"input.value": view.question, "output.value": view.answer}
        ended_us = view.ended_us or view.started_us
        span = self._span(self._root, b"", "invoke_workflow causegraph", view.started_us, ended_us, facts)
        self._finish(span, view.status, view.error)
        for result in view.evals:
            _add_event(
                span,
                "gen_ai.evaluation.result",
                result.time_us,
                {
                    "gen_ai.evaluation.name": result.name,
                    "gen_ai.evaluation.score.value": result.score,
                    "gen_ai.evaluation.score.label": result.label,
                    "gen_ai.evaluation.explanation": result.explanation if self._content else "",
                },
            )
        return span

    def stages(self, wanted: Collection[str]) -> Iterable[ProtoSpan]:
        above: list[bytes] = [self._root]
        for depth, stage in walk_stages(self._view):
            del above[depth + 1 :]
            span_id = self._span_id(stage.span_id)
            if stage.span_id in wanted:
                yield self._stage(stage, span_id, above[-1])
            above.append(span_id)

    def _stage(self, stage: StageView, span_id: bytes, parent: bytes) -> ProtoSpan:
        operation, kind = _NAMED.get(stage.name) or _KINDS.get(stage.kind, ("", "CHAIN"))
        facts: dict[str, Any] = {
            "openinference.span.kind": kind,
            "gen_ai.operation.name": operation or None,
            "gen_ai.agent.name": stage.name if operation == "invoke_agent" else None,
            "gen_ai.tool.name": stage.name if operation == "execute_tool" else None,
            "causegraph.status": stage.status,
            "causegraph.attempts": stage.attempts,
            "causegraph.segment": stage.segment,
        }
        if self._content:
            facts |= {"input.value": stage.facts.get("input"), "output.value": stage.facts.get("output")}
        shown = {f"causegraph.{name}": held for name, held in stage.facts.items() if name not in ("input", "output")}
        ended_us = stage.start_us + round((stage.seconds or 0.0) * 1e6)
        name = f"{operation} {stage.name}" if operation else stage.name
        span = self._span(span_id, parent, name, stage.start_us, ended_us, facts | shown)
        self._finish(span, stage.status, stage.error)
        self._add_happenings(span, stage.span_id)
        return span

    def _add_happenings(self, span: ProtoSpan, span_id: str) -> None:
        for decision in self._view.decisions:
            if decision.span_id == span_id:
                said = {"what": decision.what, "why": decision.why, "confidence": decision.confidence}
                more = {"alternatives": list(decision.alternatives)}
                _add_event(span, "causegraph.decision", decision.time_us, {**said, **more})
        for route in self._view.routes:
            if route.span_id == span_id:
                _add_event(span, "causegraph.route", route.time_us, {"to": list(route.to), "why": route.why})
        for retry in self._view.retries:
            if retry.span_id == span_id:
                _add_event(span, "causegraph.retry", retry.time_us, {"attempt": retry.attempt, "error": retry.error})

    def model_calls(self, wanted: Collection[tuple[str, int]]) -> Iterable[ProtoSpan]:
        for number, call in enumerate(self._view.model_calls):
            if (call.span_id, call.time_us) in wanted:
                yield self._model_call(number, call)

    def _model_call(self, number: int, call: ModelCall) -> ProtoSpan:
        facts = {
            "gen_ai.operation.name": "chat",
            "openinference.span.kind": "LLM",
            "gen_ai.request.model": call.model,
            "gen_ai.response.model": call.model,
            "llm.model_name": call.model,
            "gen_ai.usage.input_tokens": call.prompt_tokens,
            "gen_ai.usage.output_tokens": call.completion_tokens,
            "llm.token_count.prompt": call.prompt_tokens,
            "llm.token_count.completion": call.completion_tokens,
            "llm.token_count.total": call.prompt_tokens + call.completion_tokens,
            "llm.cost.total": call.cost or None,
            "causegraph.prompt": call.prompt or None,
            "causegraph.cached": call.cached,
        }
        known = {stage.span_id for _, stage in walk_stages(self._view)}
        parent = self._span_id(call.span_id) if call.span_id in known else self._root
        began_us = call.time_us - round(call.seconds * 1e6)
        span_id = self._span_id(f"{call.span_id}\n{call.time_us}\n{number}")
        span = self._span(span_id, parent, f"chat {call.model}".strip(), began_us, call.time_us, facts, _CLIENT)
        self._finish(span, "failed" if call.error else "complete", call.error)
        return span

    def _span(
        self,
        span_id: bytes,
        parent: bytes,
        name: str,
        start_us: int,
        end_us: int,
        facts: Mapping[str, Any],
        kind: ProtoSpan.SpanKind.ValueType = _INTERNAL,
    ) -> ProtoSpan:
        return ProtoSpan(
            trace_id=self._trace_id,
            span_id=span_id,
            parent_span_id=parent,
            name=name,
            kind=kind,
            start_time_unix_nano=max(0, start_us) * 1000,
            end_time_unix_nano=max(0, start_us, end_us) * 1000,
            attributes=_attributes(facts),
        )

    def _finish(self, span: ProtoSpan, status: str, error: str) -> None:
        """A pause is no error, and no success yet: it stays unset."""
        if status == "failed":
            span.status.code, span.status.message = _ERROR, error
        elif status in ("complete", "cached"):
            span.status.code = _OK

    def _span_id(self, name: str) -> bytes:
        return blake3(f"{self._view.id}\n{name}".encode("utf-8", "replace")).digest(length=8)


def _add_event(span: ProtoSpan, name: str, time_us: int, facts: Mapping[str, Any]) -> None:
    event = span.events.add()
    event.name = name
    event.time_unix_nano = max(0, time_us) * 1000
    event.attributes.extend(_attributes(facts))


def _attributes(facts: Mapping[str, Any]) -> list[KeyValue]:
    return [_attribute(name, value) for name, value in facts.items() if value not in (None, "", [], ())]


def _attribute(name: str, value: Any) -> KeyValue:
    pair = KeyValue(key=name.encode("utf-8", "replace").decode())
    match value:
        case bool():
            pair.value.bool_value = value
        case int() if -(2**63) <= value < 2**63:
            pair.value.int_value = value
        case float():
            pair.value.double_value = value
        case str():
            pair.value.string_value = value.encode("utf-8", "replace").decode()
        case list() | tuple() if all(isinstance(item, str) for item in value):
            for item in value:
                pair.value.array_value.values.add().string_value = item
        case _:
            pair.value.string_value = json.dumps(value, ensure_ascii=False, default=str)
    return pair

"""OTLP spans with gen_ai.*, OpenInference, OpenLLMetry or Langfuse attributes as spans of agent traces.

The GenAI conventions are in development and were renamed on the way, so several spellings are read.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from ingest.agent_events import AgentSpan, TraceKey, make_event, read_kind
from ingest.fields import clean_text
from tracing.events import Event, StageKind, StageStatus

_PREFIXES = ("gen_ai.", "openinference.")
_MARKS = frozenset(("traceloop.span.kind", "langfuse.observation.type"))
_KIND = ("openinference.span.kind", "gen_ai.operation.name", "traceloop.span.kind", "langfuse.observation.type")
_MODEL = (
    "gen_ai.response.model",
    "gen_ai.request.model",
    "llm.model_name",
    "embedding.model_name",
    "langfuse.observation.model.name",
)
_INPUT = (
    "input.value",
    "gen_ai.input.messages",
    "gen_ai.prompt",
    "gen_ai.tool.call.arguments",
    "traceloop.entity.input",
    "langfuse.observation.input",
)
_OUTPUT = (
    "output.value",
    "gen_ai.output.messages",
    "gen_ai.completion",
    "gen_ai.tool.call.result",
    "traceloop.entity.output",
    "langfuse.observation.output",
)
_PROMPT_TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.token_count.prompt")
_COMPLETION_TOKENS = ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.token_count.completion")
_COST = ("gen_ai.usage.cost", "llm.cost.total")
_THREAD = ("session.id", "gen_ai.conversation.id", "langfuse.session.id", "traceloop.association.properties.session_id")
_USER = ("user.id", "enduser.id", "langfuse.user.id", "traceloop.association.properties.user_id")
_MESSAGE = re.compile(r"(?:llm|gen_ai)\.(input_messages|output_messages|prompt|completion)\.(\d+)\.(?:message\.)?(.+)")
_ERROR = 2


def is_agent_span(keys: Iterable[str]) -> bool:
    """Say whether a span's attributes make it one of an agent trace rather than of the watched system."""
    return any(key.startswith(_PREFIXES) or key in _MARKS for key in keys)


def is_content(key: str) -> bool:
    """Say whether an attribute holds what went into or came out of a span."""
    return key in _INPUT or key in _OUTPUT or _MESSAGE.fullmatch(key) is not None


def read_agent_span(
    *,
    environment: str,
    service: str,
    trace_id: str,
    span_id: str,
    parent_id: str,
    name: str,
    start_us: int,
    end_us: int,
    status_code: int,
    status_message: str,
    attributes: Mapping[str, Any],
    events: Iterable[tuple[str, int, Mapping[str, Any]]] = (),
) -> AgentSpan:
    """Return the span of an agent trace that an OTLP span means. `events` are (name, time in us, attributes)."""
    trace = TraceKey(environment, trace_id)
    told = _first(attributes, _KIND)
    kind: StageKind = read_kind(str(told or ""))
    messages = _flat_messages(attributes)
    given = _first(attributes, _INPUT) or messages.get("input_messages") or messages.get("prompt")
    put_out = _first(attributes, _OUTPUT) or messages.get("output_messages") or messages.get("completion")
    held = list(events)
    interrupted = any("Interrupt" in str(said.get("exception.type", "")) for _, _, said in held)
    status: StageStatus = "complete" if status_code != _ERROR else "paused" if interrupted else "failed"
    shown = {
        key: value
        for key, value in attributes.items()
        if key not in _INPUT and key not in _OUTPUT and not _MESSAGE.fullmatch(key)
    }
    facts: dict[str, Any] = {**({"input": _text(given)} if given else {}), **shown}
    if put_out:
        facts["output"] = _text(put_out)
    thread, user = _first(attributes, _THREAD), _first(attributes, _USER)
    run_facts = {"thread_id": thread, "user_id": user, "service": service}
    is_model = kind in ("model", "embedding")
    return AgentSpan(
        trace=trace,
        span_id=span_id,
        parent_id=parent_id,
        name=name or str(told or "span"),
        kind=kind,
        start_us=start_us,
        end_us=end_us or None,
        status=status,
        error=(status_message or _exception(held)) if status == "failed" else "",
        facts=facts,
        run_facts={name: value for name, value in run_facts.items() if value},
        model=str(_first(attributes, _MODEL) or "") if is_model else "",
        prompt_tokens=_count(_first(attributes, _PROMPT_TOKENS)) if is_model else 0,
        completion_tokens=_count(_first(attributes, _COMPLETION_TOKENS)) if is_model else 0,
        cost=_cost(_first(attributes, _COST)) if is_model else 0.0,
        key="otlp",
        more=tuple(_read_event(trace, span_id, name, at, said) for name, at, said in held[:100]),
    )


def _read_event(trace: TraceKey, span_id: str, name: str, time_us: int, said: Mapping[str, Any]) -> Event:
    if name == "gen_ai.evaluation.result":
        data = {
            "name": said.get("gen_ai.evaluation.name", ""),
            "score": said.get("gen_ai.evaluation.score.value"),
            "label": said.get("gen_ai.evaluation.score.label", ""),
            "explanation": clean_text(str(said.get("gen_ai.evaluation.explanation", ""))),
        }
        return make_event(trace, "EVAL", span_id, time_us, data)
    level = "ERROR" if name == "exception" else "INFO"
    text = _exception([(name, time_us, said)]) if name == "exception" else name
    facts = {key: clean_text(str(value), 4_000) for key, value in list(said.items())[:40]}
    return make_event(trace, "LOG", span_id, time_us, {"text": text, "level": level, "facts": facts})


def _exception(events: Iterable[tuple[str, int, Mapping[str, Any]]]) -> str:
    for name, _, said in events:
        if name == "exception":
            parts = (said.get("exception.type"), said.get("exception.message"))
            return ": ".join(str(part) for part in parts if part)
    return ""


def _flat_messages(attributes: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Put together the messages that OpenInference and OpenLLMetry spread over numbered attributes."""
    found: dict[str, dict[int, dict[str, Any]]] = {}
    for key, value in attributes.items():
        if match := _MESSAGE.fullmatch(key):
            found.setdefault(match[1], {}).setdefault(int(match[2][:6]), {})[match[3]] = value
    return {name: [numbered[at] for at in sorted(numbered)] for name, numbered in found.items()}


def _first(attributes: Mapping[str, Any], names: Iterable[str]) -> Any:
    return next((attributes[name] for name in names if attributes.get(name) not in (None, "")), None)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _count(value: Any) -> int:
    try:
        return min(max(0, int(value or 0)), 2**40)
    except (TypeError, ValueError, OverflowError):
        return 0


def _cost(value: Any) -> float:
    try:
        cost = float(value or 0.0)
    except (TypeError, ValueError):
        return 0.0
    return cost if 0.0 <= cost < 1e12 else 0.0

"""Agent traces of other programs as events of our own trace log, so that the same fold, queries and pages serve both.

Whatever order records come in, and however often, the events are the same: an event's id is made from the trace, the
span, the type and either the sender's idempotency key or the content. `number` is the sender's time: within a trace of
another program nothing else says what came first.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from blake3 import blake3

from ingest.fields import clean_name, clean_text
from tracing.events import STAGE_KINDS, Event, EventType, StageKind, StageStatus, encode_payload

RUN_SPAN = "~run"
TEXT_BYTES = 16_000
OWN_TRACE = re.compile(r"trc_\d{8}_\d{6}_[0-9a-f]{8}")
_SPAN_ID = re.compile(r"[A-Za-z0-9._:\-]{1,40}")
_RESERVED = frozenset(("amendment",))
_FACTS = 80
_FACT_BYTES = 4_000

_STATUSES: dict[str, StageStatus] = {
    **dict.fromkeys(("success", "succeeded", "ok", "complete", "completed", "done", "finished", "unset"), "complete"),
    **dict.fromkeys(("error", "failed", "failure", "cancelled", "canceled", "timeout", "aborted"), "failed"),
    **dict.fromkeys(("paused", "interrupted", "waiting", "suspended"), "paused"),
    "cached": "cached",
}
_KINDS: dict[str, StageKind] = {
    **{kind: kind for kind in STAGE_KINDS},
    **dict.fromkeys(("llm", "chat", "generation", "completion", "text_completion", "generate_content"), "model"),
    **dict.fromkeys(("execute_tool", "function", "action"), "tool"),
    **dict.fromkeys(("invoke_agent", "create_agent", "invoke_workflow", "workflow", "graph"), "agent"),
    **dict.fromkeys(("embeddings", "embed"), "embedding"),
    **dict.fromkeys(("retrieval", "search", "search_memory"), "retriever"),
    **dict.fromkeys(("evaluator", "evaluation"), "judge"),
    **dict.fromkeys(("router", "plan", "task", "node", "prompt", "event", "span"), "chain"),
}


@dataclass(frozen=True, slots=True)
class TraceKey:
    """A trace by the environment and the id that its sender gave it."""

    environment: str
    external_id: str

    @property
    def id(self) -> str:
        """Return our id of the trace: senders of two environments cannot meet in one."""
        return "agt_" + blake3(f"{self.environment}\n{self.external_id}".encode()).hexdigest(length=16)


@dataclass(frozen=True, slots=True)
class OwnTrace(TraceKey):
    """A trace of our own agents, to which others may attach the results of their evaluations and nothing else."""

    @property
    def id(self) -> str:
        """Return the id as it is."""
        return self.external_id


@dataclass(frozen=True, slots=True)
class AgentSpan:
    """A span of an agent trace, from whatever form it came in. `end_us` is None while it runs."""

    trace: TraceKey
    span_id: str
    parent_id: str
    name: str
    kind: StageKind
    start_us: int
    end_us: int | None
    status: StageStatus = "complete"
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    run_facts: Mapping[str, Any] = field(default_factory=dict)
    model: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    key: str = ""
    more: tuple[Event, ...] = ()


def read_status(text: str, default: StageStatus = "complete") -> StageStatus:
    """Return the status that a sender's word means; `default` for words that mean none."""
    return _STATUSES.get(text.strip().lower(), default)


def is_running(text: str) -> bool:
    """Say whether a sender's status means that there is no end yet."""
    return text.strip().lower() in ("running", "in_progress", "started", "open", "pending")


def read_kind(text: str) -> StageKind:
    """Return the kind of stage that a sender's word means."""
    return _KINDS.get(text.strip().lower(), "chain")


def read_span_id(text: str) -> str:
    """Return a span's id as the log can hold it; empty for none."""
    text = text.strip()
    if not text or (_SPAN_ID.fullmatch(text) and text not in _RESERVED):
        return text
    return blake3(text.encode("utf-8", "replace")).hexdigest(length=16)


def clean_facts(facts: Mapping[str, Any], most: int = _FACTS) -> dict[str, Any]:
    """Return facts whose number and sizes are bounded; texts are cleaned."""
    kept: dict[str, Any] = {}
    for name, value in list(facts.items())[:most]:
        limit = TEXT_BYTES if name in ("input", "output") else _FACT_BYTES
        if not isinstance(value, bool | int | float | None):
            value = clean_text(value if isinstance(value, str) else encode_payload({"v": value})[5:-1], limit)
        kept[clean_name(str(name), 191)] = value
    return kept


def make_event(
    trace: TraceKey, event_type: EventType, span_id: str, time_us: int, data: Mapping[str, Any], key: str = ""
) -> Event:
    """Return an event; with equal `key`, else with equal content, it is the same event however often it is sent."""
    payload = encode_payload(data)
    said = f"key\n{key}" if key else f"{time_us}\n{payload}"
    name = f"{trace.id}\n{span_id}\n{event_type}\n{said}".encode("utf-8", "replace")
    event_id = blake3(name).hexdigest(length=16)
    return Event(trace.id, event_id, event_type, span_id, 0, time_us, time_us, payload)


def imply_start(trace: TraceKey, time_us: int) -> Event:
    """Return the beginning of a trace of which only a part is known: the same event for all its parts."""
    data = {"source": "ingest", "environment": trace.environment, "external_id": trace.external_id}
    event_id = blake3(f"{trace.id}\nimplied".encode()).hexdigest(length=16)
    return Event(trace.id, event_id, "RUN_START", RUN_SPAN, 0, 0, time_us, encode_payload(data))


def span_events(span: AgentSpan) -> Iterator[Event]:
    """Yield the events that a span means."""
    yield imply_start(span.trace, span.start_us)
    facts = clean_facts(span.facts)
    given = {name: facts.pop(name) for name in ("output",) if name in facts}
    start = {"name": clean_name(span.name, 191), "parent": span.parent_id, "kind": span.kind, "facts": facts}
    yield make_event(span.trace, "STAGE_START", span.span_id, span.start_us, start, span.key)
    if span.run_facts:
        yield make_event(span.trace, "NOTE", RUN_SPAN, span.start_us, {"facts": clean_facts(span.run_facts)})
    if span.end_us is not None:
        seconds = max(0, span.end_us - span.start_us) / 1e6
        end = {"status": span.status, "seconds": seconds, "error": clean_text(span.error, _FACT_BYTES), "facts": given}
        yield make_event(span.trace, "STAGE_END", span.span_id, span.end_us, end, span.key)
        if span.model or span.prompt_tokens or span.completion_tokens:
            yield make_event(span.trace, "MODEL_CALL", span.span_id, span.end_us, _model_call(span, seconds), span.key)
    yield from span.more


def _model_call(span: AgentSpan, seconds: float) -> dict[str, Any]:
    return {
        "model": clean_name(span.model),
        "prompt_tokens": span.prompt_tokens,
        "completion_tokens": span.completion_tokens,
        "seconds": seconds,
        "cost": span.cost,
        "error": clean_text(span.error, 1_000),
    }

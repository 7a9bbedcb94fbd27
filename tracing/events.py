"""The events of a decision trace: append-only facts, from which everything else about a run is folded.

An event's id is `blake3(trace, span, type, ordinal)`, so an event that is delivered twice is stored once. `segment`
counts the processes that worked on a run (a run that paused for an approval goes on in a new segment of the same
trace), `number` orders the events within a segment. Clocks order nothing.
"""

from __future__ import annotations

import json
import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal, get_args

from blake3 import blake3

type EventType = Literal[
    "RUN_START",
    "RUN_END",
    "STAGE_START",
    "STAGE_END",
    "DECISION",
    "LEDGER",
    "EVIDENCE",
    "MODEL_CALL",
    "VERDICT",
    "JUDGE",
    "AMENDMENT",
    "NOTE",
    "LOG",
    "PAUSE",
    "RESUME",
    "RETRY",
    "CACHE_HIT",
    "ROUTE",
    "POLICY",
    "EVAL",
]
type Status = Literal["running", "complete", "failed", "paused"]
# "cached": the stage did not run, its result was taken from a cache.
type StageStatus = Literal["open", "complete", "failed", "paused", "cached"]
# What a stage is: one of our phases, an agent of a team, a call of a model or a tool ...
type StageKind = Literal[
    "stage", "agent", "chain", "model", "tool", "retriever", "reranker", "embedding", "judge", "guardrail"
]

EVENT_TYPES: tuple[EventType, ...] = get_args(EventType.__value__)
STAGE_KINDS: tuple[StageKind, ...] = get_args(StageKind.__value__)
# Of the events' payloads. Version 2 added the kinds of stages, NOTE, LOG, PAUSE, RESUME, RETRY, CACHE_HIT, ROUTE, POLICY
# and EVAL; nothing of version 1 changed its meaning.
SCHEMA_VERSION: Final = 2

# A payload larger than this is stored with its long texts cut: a trace is a record of decisions, not of data.
_PAYLOAD_CHARACTERS = 64_000
_CUT_TEXT = 4_000
_CUT_ITEMS = 200
_CUT_DEPTH = 8
# Made once: `json.dumps` with options makes an encoder for each call.
_ENCODER = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Event:
    """One fact of a run. `payload` is JSON text, written when the event happened: later changes cannot reach it."""

    trace_id: str
    event_id: str
    type: EventType
    span_id: str
    segment: int
    number: int
    time_us: int
    payload: str

    def data(self) -> Mapping[str, Any]:
        """Return the payload as a mapping; empty if it is not a JSON object."""
        try:
            loaded = json.loads(self.payload)
        except ValueError:
            return {}
        return loaded if isinstance(loaded, dict) else {}

    def to_json(self) -> dict[str, Any]:
        return {
            "trace_id": self.trace_id,
            "event_id": self.event_id,
            "type": self.type,
            "span_id": self.span_id,
            "segment": self.segment,
            "number": self.number,
            "time_us": self.time_us,
            "data": self.data(),
        }

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Event:
        """Read what `to_json` wrote; raises KeyError, TypeError or ValueError for anything else."""
        return cls(
            trace_id=str(record["trace_id"]),
            event_id=str(record["event_id"]),
            type=record["type"],
            span_id=str(record["span_id"]),
            segment=int(record["segment"]),
            number=int(record["number"]),
            time_us=int(record["time_us"]),
            payload=encode_payload(record["data"]),
        )


def make_trace_id(moment: datetime) -> str:
    """Return a new id such as `trc_20260213_143022_a1b2c3d4`: the time for people, random bits for uniqueness."""
    return f"trc_{moment:%Y%m%d_%H%M%S}_{secrets.token_hex(4)}"


def make_event_id(trace_id: str, span_id: str, event_type: EventType, ordinal: int) -> str:
    """Return the id (32 hex characters) of the n-th event of a type on a span."""
    return blake3(f"{trace_id}\n{span_id}\n{event_type}\n{ordinal}".encode()).hexdigest(length=16)


def make_amendment(
    trace_id: str, ordinal: int, patch: Mapping[str, Any], *, actor: str, reason: str, time_us: int
) -> Event:
    """Return the event by which a person corrects a trace: a JSON merge patch (RFC 7386), who, and why.

    `ordinal` is how many amendments the trace already has. Only `outcome`, `action`, `gaps` and `note` can be amended;
    raises ValueError for any other name. The amended events stay as they are.
    """
    if unknown := set(patch) - {"outcome", "action", "gaps", "note"}:
        raise ValueError(f"an amendment cannot change {', '.join(sorted(unknown))}")
    payload = encode_payload({"patch": dict(patch), "actor": actor, "reason": reason})
    event_id = make_event_id(trace_id, "amendment", "AMENDMENT", ordinal)
    return Event(trace_id, event_id, "AMENDMENT", "amendment", 0, ordinal, time_us, payload)


def encode_payload(data: Mapping[str, Any]) -> str:
    """Return JSON text for any mapping, without ever raising: what JSON cannot say is written as its `repr`."""
    try:
        text = _ENCODER.encode(data)
        text.encode()
    except (TypeError, ValueError, RecursionError):
        text = json.dumps(_plain(data), ensure_ascii=False, separators=(",", ":"))
    if len(text) > _PAYLOAD_CHARACTERS:
        text = json.dumps(_plain(data, _CUT_TEXT, _CUT_ITEMS), ensure_ascii=False, separators=(",", ":"))
    if len(text) > _PAYLOAD_CHARACTERS * 8:
        return json.dumps({"cut": text[:_CUT_TEXT]}, ensure_ascii=False)
    return text


def _plain(value: object, characters: int = _PAYLOAD_CHARACTERS, items: int = 10_000, depth: int = 0) -> object:
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if math.isfinite(value) else str(value)
        case str():
            return _clean(value, characters)
        case Mapping() if depth < _CUT_DEPTH:
            pairs = list(value.items())[:items]
            return {_clean(str(key), characters): _plain(held, characters, items, depth + 1) for key, held in pairs}
        case list() | tuple() | set() | frozenset() if depth < _CUT_DEPTH:
            return [_plain(held, characters, items, depth + 1) for held in list(value)[:items]]
        case _:
            return _clean(_describe(value), characters)


def _clean(text: str, characters: int) -> str:
    cut = text if len(text) <= characters else f"{text[:characters]}... ({len(text)} characters)"
    return cut.encode("utf-8", "replace").decode()


def _describe(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - a broken __repr__ of a caller's object must not break its run
        return f"<{type(value).__name__}>"

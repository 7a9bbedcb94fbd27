"""The long texts of OTLP JSON spans, byte for byte as they were written: prompts, replies, tool inputs and outputs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from domain.errors import PayloadError
from ingest.agent_spans import is_content

_LONG = 512

type SpanTexts = tuple[str, str, dict[str, Any], dict[str, str]]


def read_span_texts(value: Any, where: str) -> Iterator[SpanTexts]:
    """Yield (trace id, span id, facts, texts by attribute) for the spans of an ExportTraceServiceRequest in JSON.

    Texts are the attributes that hold prompts or replies, and any other that is long. Raises PayloadError for what is no such
    request; a span without ids is left out.
    """
    if not isinstance(value, dict):
        raise PayloadError(f"{where}: not one JSON object with resourceSpans.")
    for block in _objects(value, "resourceSpans", "resource_spans", where):
        for scope in _objects(block, "scopeSpans", "scope_spans", where):
            for span in _objects(scope, "spans", "spans", where):
                trace_id, span_id = _said(span, "traceId", "trace_id"), _said(span, "spanId", "span_id")
                if len(trace_id) == 32 and span_id and all(c in "0123456789abcdef" for c in trace_id):
                    yield trace_id, span_id[:64], _facts(span), dict(_texts(span, where))


def _facts(span: dict[str, Any]) -> dict[str, Any]:
    start = _said(span, "startTimeUnixNano", "start_time_unix_nano")
    return {
        "name": str(span.get("name", ""))[:191],
        "parent": _said(span, "parentSpanId", "parent_span_id")[:64],
        "start_us": int(start) // 1000 if start.isdecimal() else 0,
    }


def _texts(span: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    for pair in _objects(span, "attributes", "attributes", where):
        key, held = str(pair.get("key", "")), pair.get("value")
        text = held.get("stringValue", held.get("string_value")) if isinstance(held, dict) else None
        if isinstance(text, str) and text and (is_content(key) or len(text) >= _LONG):
            yield key, text


def _objects(value: dict[str, Any], name: str, other: str, where: str) -> list[dict[str, Any]]:
    found = value.get(name, value.get(other)) or []
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise PayloadError(f"{where}: {name} is not an array of objects.")
    return found


def _said(span: dict[str, Any], name: str, other: str) -> str:
    found = span.get(name, span.get(other))
    return "" if found is None else str(found).lower()

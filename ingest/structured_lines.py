"""Lines that are records already: JSON objects and logfmt (`time=... level=info msg="..."`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

_LINE_CHARS = 256 * 1024
_PAIRS = 200

# The usual names, the most specific first; an empty value counts as none.
TIME_KEYS = ("@timestamp", "timestamp", "time", "ts", "eventTime", "date", "datetime", "asctime", "t", "_time")
LEVEL_KEYS = ("level", "severity", "lvl", "log.level", "loglevel", "levelname", "severity_text", "priority", "@l")
MESSAGE_KEYS = ("message", "msg", "event", "log", "text", "short_message", "@m", "body", "error", "err")
LOGGER_KEYS = ("logger", "logger_name", "name", "log.logger", "component", "module", "caller", "target", "category")
SERVICE_KEYS = ("service.name", "service", "service_name", "app", "application", "app_name")
NODE_KEYS = ("host.name", "host", "hostname", "node", "server")
THREAD_KEYS = ("thread", "thread_name", "threadName", "process.thread.name")
PID_KEYS = ("pid", "process.pid", "process_id")
TRACE_KEYS = ("trace_id", "traceId", "trace.id", "traceid", "dd.trace_id", "otelTraceID")
SPAN_KEYS = ("span_id", "spanId", "span.id", "spanid", "dd.span_id", "otelSpanID")

_PAIR = re.compile(
    r"(?P<key>[A-Za-z_@][\w.@/-]{0,100})=(?:\x22(?P<quoted>(?:[^\x22\\]|\\.)*)\x22|(?P<bare>[^\s\x22]*))(?:\s+|$)"
)
_ESCAPE = re.compile(r"\\(.)")


def read_object(line: str) -> dict[str, Any] | None:
    """Return the fields of a JSON or logfmt line, or None for any other line."""
    if len(line) > _LINE_CHARS:
        return None
    text = line.strip()
    if text.startswith("{") and text.endswith("}"):
        return _read_json(text)
    return _read_logfmt(text) if "=" in text[:120] else None


def take(fields: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """Remove and return the first of these fields that says something; None where none does."""
    for key in keys:
        value = fields.get(key)
        if value not in (None, "", [], {}):
            del fields[key]
            return value
    return None


def _read_json(text: str) -> dict[str, Any] | None:
    try:
        value = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    if not isinstance(value, dict) or not value:
        return None
    return _flat(value)


def _flat(value: Mapping[str, Any]) -> dict[str, Any]:
    """Lift the objects one level: {"host": {"name": "a"}} is {"host.name": "a"}."""
    flat: dict[str, Any] = {}
    for key, inner in value.items():
        if isinstance(inner, dict) and inner and len(inner) <= _PAIRS:
            flat |= {f"{key}.{name}": each for name, each in inner.items()}
        else:
            flat[key] = inner
    return flat


def _read_logfmt(text: str) -> dict[str, Any] | None:
    fields: dict[str, Any] = {}
    at = 0
    while at < len(text) and len(fields) < _PAIRS:
        found = _PAIR.match(text, at)
        if found is None:
            return None
        quoted = found["quoted"]
        fields[found["key"]] = _ESCAPE.sub(r"\1", quoted) if quoted is not None else found["bare"]
        at = found.end()
    known = sum(any(key in fields for key in keys) for keys in (TIME_KEYS, LEVEL_KEYS, MESSAGE_KEYS))
    return fields if known >= 2 else None

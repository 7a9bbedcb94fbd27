"""Datadog's log intake (`POST /api/v2/logs`), as its agent, its clients and other shippers send it, to log events.

An item is `{message, ddsource?, ddtags?, hostname?, service?, status?, timestamp?, ...}`. Where the message is itself a
JSON object, its fields are the record's, as in Datadog: its own time and level are better than those of the agent, which
saw the line later and knows only which stream it came from.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from domain.errors import PayloadError, UnsupportedMediaType
from domain.telemetry import UNKNOWN_SERVICE, Level, LogEvent
from ingest.fields import clean_attributes, clean_environment, clean_name, parse_level
from ingest.log_event import LogDraft, draft_log_event, with_templates
from ingest.payload import Decoded, Unreadable, media_type, parse_records
from ingest.timestamps import parse_said_time

# What a query may say of all items of a body.
DEFAULTS = ("ddsource", "ddtags", "hostname", "service")

_TIME_KEYS = ("timestamp", "@timestamp", "date", "time", "ts", "eventTime", "published_date")
_LEVEL_KEYS = ("level", "status", "severity", "levelname", "log.level", "loglevel")
_TEXT_KEYS = ("message", "msg", "log", "short_message")
_TRACE_KEYS = ("dd.trace_id", "trace_id", "traceId", "otel.trace_id")
_SPAN_KEYS = ("dd.span_id", "span_id", "spanId", "otel.span_id")
_TAGS_TAKEN = 100
_RENAMED = {"kube_namespace": "k8s.namespace.name", "pod_name": "k8s.pod.name"}


def decode_logs(
    defaults: Mapping[str, str], body: bytes, content_type: str, environment: str, now_us: int
) -> Decoded[LogEvent]:
    """Return the log events of a body; `defaults` is what the query says of items that do not say it themselves."""
    decoded: Decoded[LogDraft] = Decoded()
    for number, item in enumerate(_items(body, content_type), 1):
        if item == {}:  # how an agent asks whether anybody is there
            continue
        try:
            draft, undated = _draft(item, defaults, environment, now_us)
        except ValueError as exc:
            decoded.refuse(f"item {number}: {exc}", item)
            continue
        if undated:
            decoded.undated.add(len(decoded.records))
        decoded.records.append(draft)
    return with_templates(decoded)


def _items(body: bytes, content_type: str) -> Iterator[Any]:
    if media_type(content_type) not in ("text/plain", "application/logplex-1"):
        yield from parse_records(body, content_type)
        return
    try:
        yield from parse_records(body, "application/json")
    except (PayloadError, UnsupportedMediaType):
        yield from ({"message": line} for line in body.decode("utf-8", "replace").splitlines() if line.strip())


def _draft(item: Any, defaults: Mapping[str, str], environment: str, now_us: int) -> tuple[LogDraft, bool]:
    if isinstance(item, Unreadable):
        raise ValueError(item.reason)
    if not isinstance(item, dict):
        raise ValueError("not a JSON object")
    outer = {**defaults, **{key: value for key, value in item.items() if value is not None}}
    inner = _inner(outer.pop("message", None))
    said = {**outer, **inner, **_dd_fields(inner)}
    message = _first_text(inner, _TEXT_KEYS)
    if not message and inner:
        message = msgspec.json.encode(inner).decode()
    if not message:
        raise ValueError("message: missing")
    tags = _tags(outer.pop("ddtags", ""))
    time_us = _time(inner, now_us) or _time(outer, now_us)
    level = _level(inner) or _level(outer)
    draft = draft_log_event(
        message,
        environment=clean_environment(_text(said.get("env")) or tags.get("env", "")) or environment,
        time_us=time_us or now_us,
        service=clean_name(_first_text(said, ("service", "dd.service")) or tags.get("service", "")) or UNKNOWN_SERVICE,
        level=level,
        node=clean_name(_first_text(outer, ("hostname", "host")) or tags.get("host", "")),
        trace_id=_id(said, _TRACE_KEYS, 32),
        span_id=_id(said, _SPAN_KEYS, 16),
        attributes=_attributes(outer, inner, tags),
    )
    return draft, time_us is None


def _inner(message: Any) -> dict[str, Any]:
    """Return the fields that a message holds; a text that is no JSON object is the field `message`."""
    if isinstance(message, dict):
        return message
    text = _text(message)
    if text.lstrip().startswith("{"):
        try:
            value = msgspec.json.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, UnicodeEncodeError, RecursionError):
            value = None
        if isinstance(value, dict):
            return value
    return {"message": text} if text else {}


def _dd_fields(inner: Mapping[str, Any]) -> dict[str, Any]:
    nested = inner.get("dd")
    return {f"dd.{key}": value for key, value in nested.items()} if isinstance(nested, dict) else {}


def _tags(text: Any) -> dict[str, str]:
    """Return `env:prod,team:a` as a mapping; a tag that comes again keeps every value."""
    pieces = text if isinstance(text, list) else _text(text).split(",")
    tags: dict[str, str] = {}
    for piece in pieces[:_TAGS_TAKEN]:
        key, colon, value = _text(piece).strip().partition(":")
        if not key:
            continue
        value = value if colon else "true"
        tags[key] = f"{tags[key]},{value}" if key in tags and tags[key] != value else value
    return tags


def _time(fields: Mapping[str, Any], now_us: int) -> int | None:
    for key in _TIME_KEYS:
        value = fields.get(key)
        if isinstance(value, str | int | float) and value != "":
            try:
                return parse_said_time(value, now_us)
            except ValueError:
                continue
    return None


def _level(fields: Mapping[str, Any]) -> Level | None:
    said = (parse_level(value) for key in _LEVEL_KEYS if isinstance(value := fields.get(key), str | int | float))
    return next((level for level in said if level is not None), None)


def _id(fields: Mapping[str, Any], keys: tuple[str, ...], size: int) -> str:
    """Return an id as hex; Datadog's own are decimal numbers of 64 bits, newer ones hex."""
    for key in keys:
        text = _text(fields.get(key)).replace("-", "").strip().lower()
        if key.startswith("dd.") and text.isascii() and text.isdecimal() and len(text) <= 20 and int(text) < 2**64:
            text = f"{int(text):0{size}x}"
        if len(text) == size and not text.strip("0123456789abcdef") and text.strip("0"):
            return text
    return ""


def _attributes(outer: Mapping[str, Any], inner: Mapping[str, Any], tags: Mapping[str, str]) -> dict[str, Any]:
    known = {"hostname", "host", "service", *_TIME_KEYS, *_LEVEL_KEYS}
    pairs = {**tags, **{key: value for key, value in outer.items() if key not in known}}
    pairs |= {key: value for key, value in inner.items() if key not in known and key not in _TEXT_KEYS}
    return clean_attributes((_RENAMED.get(key, key), value) for key, value in pairs.items())


def _first_text(fields: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    return next((text for key in keys if (text := _text(fields.get(key)))), "")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    return msgspec.json.encode(value).decode()

"""Puts log events together from what a source says of them: line by line first, their templates all at once at the end."""

from __future__ import annotations

import msgspec

from domain.telemetry import Attributes, Level, LogEvent
from ingest.fields import MESSAGE_BYTES, clean_text, note_cut
from ingest.payload import Decoded
from ingest.said_fields import read_said_fields, read_trace_ids
from ingest.template import templates_of

# Where senders put a stack trace that is not in the message.
_STACKS = ("exception.stacktrace", "error.stack", "stack_trace", "stacktrace", "stack", "exc_info", "exception")


class LogDraft(msgspec.Struct, frozen=True, gc=False):
    """A log event without its template. Names, the message and the attributes have been cleaned."""

    environment: str
    time_us: int
    service: str
    level: Level
    message: str
    node: str
    trace_id: str
    span_id: str
    attributes: Attributes


def draft_log_event(
    message: str,
    *,
    environment: str,
    time_us: int,
    service: str,
    level: Level | None,
    node: str = "",
    trace_id: str = "",
    span_id: str = "",
    attributes: Attributes,
) -> LogDraft:
    """Return the draft of a line as it came; the line is cleaned. Names and attributes must have been."""
    text = clean_text(message, MESSAGE_BYTES)
    attributes = note_cut(attributes, message, text)
    return LogDraft(environment, time_us, service, level or Level.INFO, text, node, trace_id, span_id, attributes)


def add_said_fields(draft: LogDraft) -> LogDraft:
    """Return a draft with what its text says and its sender has not put into fields: request trace, exception, error code.

    What the sender said stays as it is. Single lines below `warn` are only looked at for the ids of their request trace.
    """
    trace_id, span_id, attributes = draft.trace_id, draft.span_id, draft.attributes
    if not trace_id and ("race" in draft.message or "00-" in draft.message):
        trace_id, said = read_trace_ids(draft.message)
        span_id = span_id or said
    if (draft.level >= Level.WARN or "\n" in draft.message) and "exception.frames" not in attributes:
        attributes = _with_said(draft.message, attributes)
    if attributes is draft.attributes and trace_id == draft.trace_id:
        return draft
    return msgspec.structs.replace(draft, trace_id=trace_id, span_id=span_id, attributes=attributes)


def _with_said(message: str, attributes: Attributes) -> Attributes:
    stack = next((text for name in _STACKS if isinstance(text := attributes.get(name), str) and "\n" in text), "")
    said = read_said_fields(f"{message}\n{stack}" if stack else message)
    # `code.*` of an event is where it was logged, and that its text does not say.
    said = {name: value for name, value in said.items() if not name.startswith("code.")}
    return {**said, **attributes} if said else attributes


def with_templates(decoded: Decoded[LogDraft]) -> Decoded[LogEvent]:
    """Return a delivery of drafts as one of log events, in the same order."""
    drafts = [add_said_fields(draft) for draft in decoded.records]
    events = [
        LogEvent(
            d.environment,
            d.time_us,
            d.service,
            d.level,
            d.message,
            number,
            text,
            d.node,
            d.trace_id,
            d.span_id,
            d.attributes,
        )
        for d, (number, text) in zip(drafts, templates_of([draft.message for draft in drafts]), strict=True)
    ]
    return Decoded(events, decoded.rejected, decoded.errors, decoded.undated, decoded.refused)

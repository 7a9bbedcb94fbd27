"""Puts log events together from what a source says of them: line by line first, their templates all at once at the end."""

from __future__ import annotations

import msgspec

from domain.telemetry import Attributes, Level, LogEvent
from ingest.fields import MESSAGE_BYTES, clean_text
from ingest.payload import Decoded
from ingest.template import templates_of


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
    return LogDraft(environment, time_us, service, level or Level.INFO, text, node, trace_id, span_id, attributes)


def with_templates(decoded: Decoded[LogDraft]) -> Decoded[LogEvent]:
    """Return a delivery of drafts as one of log events, in the same order."""
    drafts = decoded.records
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

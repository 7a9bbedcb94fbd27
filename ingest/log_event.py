"""Puts a log event together from what a source says of it."""

from __future__ import annotations

from domain.telemetry import Attributes, Level, LogEvent
from ingest.fields import MESSAGE_BYTES, clean_text
from ingest.template import template_of


def make_log_event(
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
) -> LogEvent:
    """Return the event of a line, with its template. Names and attributes must have been cleaned."""
    text = clean_text(message, MESSAGE_BYTES)
    template_id, template = template_of(text)
    return LogEvent(
        environment=environment,
        time_us=time_us,
        service=service,
        level=level or Level.INFO,
        message=text,
        template_id=template_id,
        template=template,
        node=node,
        trace_id=trace_id,
        span_id=span_id,
        attributes=attributes,
    )

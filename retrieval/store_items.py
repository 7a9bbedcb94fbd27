"""Rows of the stores as items that can be found: what is searched of each, who it belongs to, and how it is opened. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import quote, urlencode

from domain.evidence import EvidenceKind
from domain.observed import ChangeRow, LogRow, OrchestratorRow
from domain.telemetry import Level
from domain.times import format_us
from retrieval.items import GRAVE, Item, Link, LinkKind, item_key
from storage.search import FoundIncident, FoundRequest, FoundRun, WrittenTemplate

_TEXT = 2_000
_TITLE = 300


def record_path(environment: str, kind: EvidenceKind, key: Mapping[str, Any]) -> str:
    """Return the path of the HTTP API that reads a record by its key."""
    return f"/record?{urlencode({'kind': kind, 'environment': environment, **key})}"


def template_item(environment: str, written: WrittenTemplate, text: str) -> Item:
    """Return a log template; its newest line is added once it is to be shown (`show_line`)."""
    number = str(written.id)
    key = item_key("template", number)
    weight = GRAVE if written.level >= Level.ERROR else 1.0
    links = tuple(Link(item_key("service", one), key, "EMITTED", written.last_us, weight) for one in written.services)
    level = Level(written.level).name if written.level in Level else ""
    return Item(
        kind="template",
        id=number,
        title=f"{level} {text}".strip()[:_TITLE],
        text=text[:_TEXT],
        opens=f"/search/logs?{urlencode({'environment': environment, 'q': text[:200]})}",
        services=written.services,
        time_us=written.last_us,
        level=written.level,
        links=links,
    )


def show_line(item: Item, environment: str, line: LogRow) -> Item:
    """Return a log template with the line that shows it."""
    key = {"id": line.id}
    return replace(
        item,
        title=f"{Level(line.level).name} {line.message}"[:_TITLE],
        time_us=line.time_us,
        record=("log", key),
        opens=record_path(environment, "log", key),
    )


def line_item(environment: str, line: LogRow) -> Item:
    """Return a log line."""
    key, number = {"id": line.id}, str(line.id)
    own, template = item_key("line", number), item_key("template", str(line.template_id))
    return Item(
        kind="line",
        id=number,
        title=f"{Level(line.level).name} {line.message}"[:_TITLE],
        text=line.message[:_TEXT],
        opens=record_path(environment, "log", key),
        services=(line.service,),
        time_us=line.time_us,
        level=line.level,
        record=("log", key),
        links=(Link(item_key("service", line.service), own, "EMITTED", line.time_us), Link(own, template, "HAS_LOG")),
    )


def service_item(environment: str, name: str, moment_us: int) -> Item:
    """Return a service."""
    path = f"/topology?{urlencode({'environment': environment, 'at': format_us(moment_us)})}"
    return Item("service", name, name, name.replace("-", " ").replace("_", " "), path, services=(name,))


def change_item(environment: str, row: ChangeRow) -> Item:
    """Return a change."""
    what = f"{row.kind} of {row.service} {row.version}".strip()
    by = f" by {row.actor}" if row.actor else ""
    key = {"id": row.id}
    return Item(
        kind="change",
        id=row.id,
        title=f"{what}{by}: {row.summary}"[:_TITLE],
        text=f"{what} {row.summary}{by}"[:_TEXT],
        opens=record_path(environment, "change", key),
        services=(row.service,) if row.service else (),
        time_us=row.time_us,
        record=("change", key),
        links=_belongs(item_key("change", row.id), row.service, "CHANGED", row.time_us),
    )


def event_item(environment: str, row: OrchestratorRow) -> Item:
    """Return an orchestrator's event."""
    key = {"id": row.id}
    return Item(
        kind="event",
        id=row.id,
        title=f"{row.reason or row.kind} {row.object}: {row.text}"[:_TITLE],
        text=f"{row.kind} {row.reason} {row.object} {row.service} {row.text}"[:_TEXT],
        opens=record_path(environment, "event", key),
        services=(row.service,) if row.service else (),
        time_us=row.time_us,
        record=("event", key),
        links=_belongs(item_key("event", row.id), row.service, "AFFECTS", row.time_us),
    )


def incident_text(row: FoundIncident) -> str:
    """Return what is embedded and searched of an incident."""
    cause = f"Cause: {row.cause}, {row.fault_class}." if row.cause else ""
    question = row.question if row.question != row.title else ""
    return " ".join(part for part in (row.title, question, row.service, cause, row.answer) if part)[:_TEXT]


def incident_item(row: FoundIncident) -> Item:
    """Return a past incident."""
    own = item_key("incident", row.id)
    services = tuple(dict.fromkeys(name for name in (row.cause, row.service) if name))
    time_us = row.created_us if row.started_us is None else row.started_us
    links = [Link(own, item_key("service", name), "AFFECTS") for name in services]
    links += [Link(own, item_key("runbook", row.runbook), "RELATED_RUNBOOK")] if row.runbook else []
    words = (word.partition(":") for word in row.signature)
    links += [Link(own, item_key("template", what), "HAS_LOG") for kind, _, what in words if kind == "template"]
    cause = f" [{row.outcome}{': ' + row.cause if row.cause else ''}]" if row.outcome else ""
    return Item(
        kind="incident",
        id=row.id,
        title=f"{row.title or row.question}{cause}"[:_TITLE],
        text=incident_text(row),
        opens=f"/incidents/{quote(row.id, safe='')}",
        services=services,
        time_us=time_us,
        links=tuple(links),
    )


def run_item(row: FoundRun) -> Item:
    """Return the trace of an agent run."""
    return Item(
        kind="run",
        id=row.id,
        title=f"{row.question or row.name} [{row.outcome or row.status}]"[:_TITLE],
        text=" ".join((row.question, row.name, row.service, row.outcome, row.text))[:_TEXT],
        opens=f"/traces/{quote(row.id, safe='')}",
        services=(row.service,) if row.service else (),
        time_us=row.started_us,
        links=_belongs(item_key("run", row.id), row.service, "AFFECTS", row.started_us),
    )


def request_item(environment: str, trace_id: str, row: FoundRequest) -> Item:
    """Return a request trace."""
    state = f"failed: {row.status_message}" if row.error else "did not fail"
    took = f"{row.duration_us / 1000:.1f} ms, {row.spans} spans"
    key = {"trace_id": trace_id, "span_id": row.span_id}
    return Item(
        kind="request",
        id=trace_id,
        title=f"{row.service} {row.name} took {took}, {state}"[:_TITLE],
        text=f"{row.service} {row.name} {row.status_message}"[:_TEXT],
        opens=record_path(environment, "span", key),
        services=(row.service,),
        time_us=row.start_us,
        record=("span", key),
        links=_belongs(item_key("request", trace_id), row.service, "AFFECTS", row.start_us),
    )


def _belongs(own: str, service: str, kind: LinkKind, time_us: int) -> tuple[Link, ...]:
    if not service:
        return ()
    return (Link(own, item_key("service", service), kind, time_us),)

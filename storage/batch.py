"""The records of one delivery, and the same as rows. Pure: everything that can be computed without the database."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Literal

import msgspec
from blake3 import blake3

from domain.evidence import canonical_bytes
from domain.telemetry import (
    Alert,
    Attributes,
    Change,
    LogEvent,
    MetricPoint,
    OrchestratorEvent,
    Scalar,
    Span,
    StatedEdge,
)
from storage.database import Row
from storage.log_rows import LogRows, count_arrivals, make_log_rows

type Kind = Literal["logs", "traces", "metrics", "changes", "events", "topology", "alerts"]

_ATTRIBUTE_BYTES = 60_000  # a TEXT column holds 65,535


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one delivery. `environment`, `kind` and `key` name it in the ledger; its records may belong to
    several environments. `undated` holds the indexes of alerts whose start is not known. `counted` are log events of which
    only counts are kept; `woken` are alerts that its log events gave, no records of their own."""

    environment: str
    kind: Kind
    key: str
    received_us: int
    rejected: int = 0
    mask_version: int = 0
    logs: Sequence[LogEvent] = ()
    counted: Sequence[LogEvent] = ()
    spans: Sequence[Span] = ()
    metrics: Sequence[MetricPoint] = ()
    changes: Sequence[Change] = ()
    events: Sequence[OrchestratorEvent] = ()
    edges: Sequence[StatedEdge] = ()
    alerts: Sequence[Alert] = ()
    undated: frozenset[int] = frozenset()
    woken: Sequence[Alert] = ()

    @property
    def records(self) -> int:
        """How many records it holds."""
        every: tuple[Sequence[object], ...] = (
            self.logs,
            self.counted,
            self.spans,
            self.metrics,
            self.changes,
            self.events,
            self.edges,
            self.alerts,
        )
        return sum(map(len, every))


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch as rows, ready to be written: what `prepare` returns. `ids` are those of its changes, in order.

    `arrivals` are the counts of the log events that have a row, `counts` those of all; `counted` is how many have none.
    """

    environment: str
    kind: Kind
    key: str
    received_us: int
    rejected: int
    ids: tuple[str, ...]
    templates: Mapping[int, tuple[int, str]]
    logs: LogRows
    arrivals: tuple[Row, ...]
    counts: tuple[Row, ...]
    inserts: tuple[tuple[str, tuple[Row, ...]], ...]
    alerts: tuple[tuple[Alert, str, str, bool], ...]
    counted: int = 0
    woken: tuple[tuple[Alert, str, str, bool], ...] = ()

    @property
    def records(self) -> int:
        """How many records it holds."""
        return self.logs.count + self.counted + len(self.alerts) + sum(len(rows) for _, rows in self.inserts)


def prepare(batch: Batch) -> PreparedBatch:
    """Turn records into rows; pure, and the costly part of a write, so run it in a thread."""
    changes = tuple(_change_row(change) for change in batch.changes)
    arrivals = count_arrivals(batch.logs)
    rows: tuple[tuple[str, Iterable[Row]], ...] = (
        # Sorted by primary key: fewer pages are touched, and always in the same order.
        ("ingest_add_spans", sorted(map(_span_row, batch.spans), key=itemgetter(0, 1, 2))),
        ("ingest_add_metrics", sorted(map(_metric_row, batch.metrics), key=itemgetter(0, 1, 2, 3, 4))),
        ("ingest_add_changes", changes),
        ("ingest_add_events", map(_event_row, batch.events)),
        ("ingest_add_edges", map(_edge_row, batch.edges)),
    )
    return PreparedBatch(
        environment=batch.environment,
        kind=batch.kind,
        key=batch.key,
        received_us=batch.received_us,
        rejected=batch.rejected,
        ids=tuple(str(row[1]) for row in changes),
        templates={event.template_id: (batch.mask_version, event.template) for event in (*batch.logs, *batch.counted)},
        logs=make_log_rows(batch.logs, _attributes_json),
        arrivals=arrivals,
        counts=(*arrivals, *count_arrivals(batch.counted)),
        inserts=tuple((query, found) for query, each in rows if (found := tuple(each))),
        alerts=tuple(_alert_parts(alert, at not in batch.undated) for at, alert in enumerate(batch.alerts)),
        counted=len(batch.counted),
        woken=tuple(_alert_parts(alert, dated=False) for alert in batch.woken),
    )


# -- rows --------------------------------------------------------------------------------------------------------------

_encode_json: Callable[[object], bytes] = msgspec.json.Encoder().encode


def _attributes_json(attributes: Attributes) -> str:
    """Return attributes as a JSON object that fits in its column: long values are cut, then attributes left out."""
    if not attributes:
        return "{}"
    text = _encode_json(attributes)
    if len(text) > _ATTRIBUTE_BYTES:
        text = _encode_json(_shrunk(attributes))
    return text.decode()


def _shrunk(attributes: Attributes) -> dict[str, Scalar]:
    kept: dict[str, Scalar] = {}
    room = _ATTRIBUTE_BYTES - 2
    for key, value in sorted(attributes.items(), key=lambda pair: len(str(pair[1]))):
        value = f"{value[:1000]}..." if isinstance(value, str) and len(value) > 1000 else value
        room -= len(_encode_json({key: value}))
        if room < 0:
            break
        kept[key] = value
    return kept


def _span_row(span: Span) -> Row:
    return (
        span.environment,
        span.trace_id,
        span.span_id,
        span.parent_id,
        span.service,
        span.name,
        int(span.kind),
        span.start_us,
        span.duration_us,
        int(span.error),
        span.status_message,
        span.node,
        span.version,
        span.peer,
        _attributes_json(span.attributes),
    )


def _metric_row(point: MetricPoint) -> Row:
    attributes = _attributes_json(point.attributes)
    return (
        point.environment,
        point.service,
        point.name,
        series_of(point),
        point.time_us,
        float(point.value),  # never an int: a column of mixed types is sent row by row
        point.node,
        point.source,
        point.destination,
        attributes,
    )


def series_of(point: MetricPoint) -> str:
    """Return the name (16 hex digits) of a point's series among those of its service and metric."""
    return blake3(canonical_bytes([point.node, point.source, point.destination, dict(point.attributes)])).hexdigest(
        length=8
    )


def _content_id(prefix: str, *fields: object) -> str:
    return f"{prefix}-{blake3(canonical_bytes(fields)).hexdigest(length=6)}"


def _change_row(change: Change) -> Row:
    attributes = _attributes_json(change.attributes)
    said = (change.time_us, change.service, change.kind, change.version, change.summary, change.actor, attributes)
    key = _content_id("chg", change.environment, *said[:-1], dict(change.attributes))
    return (change.environment, key, *said)


def _event_row(event: OrchestratorEvent) -> Row:
    said = (event.time_us, event.kind, event.object, event.service, event.reason, event.text)
    return (event.environment, _content_id("evt", event.environment, *said), *said)


def _edge_row(edge: StatedEdge) -> Row:
    return (
        edge.environment,
        edge.source,
        edge.target,
        edge.kind,
        edge.observed_by,
        edge.valid_from_us,
        edge.valid_to_us,
    )


def _alert_parts(alert: Alert, dated: bool) -> tuple[Alert, str, str, bool]:
    return alert, _alert_id(alert), _attributes_json(alert.labels), dated


def _alert_id(alert: Alert) -> str:
    return _content_id("alr", alert.source, alert.fingerprint, alert.time_us)


def make_alert_row(alert: Alert, key: str, ended_us: int | None, labels: str) -> tuple[Any, ...]:
    return (
        alert.environment,
        key,
        alert.time_us,
        ended_us,
        alert.source,
        alert.name,
        alert.status,
        alert.fingerprint,
        alert.service,
        alert.severity,
        alert.summary,
        alert.runbook_url,
        labels,
        alert.payload,
    )

"""The durable write of ingested records: one batch, one transaction, one line in the ledger.

Ingest transactions take turns by locking `ingest_clock`, so `seq` grows in commit order and whoever has read up to a
`seq` has missed nothing before it. Everything that can be computed without the database is computed before the lock
(`prepare`). A batch whose key is in the ledger already is a retry: nothing is written, its records count as duplicates.
"""

from __future__ import annotations

import asyncio
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
from domain.times import SLOT_US
from storage.database import Database, Row, Transaction

type Kind = Literal["logs", "traces", "metrics", "changes", "events", "topology", "alerts"]

_ATTRIBUTE_BYTES = 60_000  # a TEXT column holds 65,535
_PACKET_BYTES = 4 * 1024 * 1024  # well under the 16 MB that a server takes by default
_ROW_BYTES = 300
_WRITERS = 2  # writers take turns in the database anyway; the other connections stay free for readers
_KNOWN_TEMPLATES = 200_000


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one delivery. `environment`, `kind` and `key` name it in the ledger; its records may belong to
    several environments. `undated` holds the indexes of alerts whose start is not known."""

    environment: str
    kind: Kind
    key: str
    received_us: int
    rejected: int = 0
    mask_version: int = 0
    logs: Sequence[LogEvent] = ()
    spans: Sequence[Span] = ()
    metrics: Sequence[MetricPoint] = ()
    changes: Sequence[Change] = ()
    events: Sequence[OrchestratorEvent] = ()
    edges: Sequence[StatedEdge] = ()
    alerts: Sequence[Alert] = ()
    undated: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class PreparedBatch:
    """A batch as rows, ready to be written: what `prepare` returns. `ids` are those of its changes, in order."""

    environment: str
    kind: Kind
    key: str
    received_us: int
    rejected: int
    ids: tuple[str, ...]
    templates: Mapping[int, tuple[int, str]]
    counts: tuple[Row, ...]
    inserts: tuple[tuple[str, tuple[Row, ...]], ...]
    alerts: tuple[tuple[Alert, str, str, bool], ...]


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch came to. `seq` is its number, or that of the first delivery where this one is a retry."""

    seq: int
    accepted: int
    duplicate: int
    retry: bool = False


class IngestStore:
    """Writes batches. One per process and database: it remembers which templates are stored."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._turns = asyncio.Semaphore(_WRITERS)
        self._known: set[int] = set()

    async def write(self, batch: PreparedBatch) -> Written:
        """Store a batch, all of it or nothing; return when it is committed. Raises StorageError."""
        new_templates = {key: row for key, row in batch.templates.items() if key not in self._known}
        async with self._turns:
            written = await self._database.transaction(lambda tx: _write(tx, batch, new_templates))
        if not written.retry:
            if len(self._known) > _KNOWN_TEMPLATES:
                self._known.clear()
            self._known.update(new_templates)
        return written

    async def latest_seq(self) -> int:
        """Return the number of the last committed batch."""
        return int((await self._database.fetch("ingest_read_clock"))[0][0])


def prepare(batch: Batch) -> PreparedBatch:
    """Turn records into rows; pure, and the costly part of a write, so run it in a thread."""
    changes = tuple(_change_row(change) for change in batch.changes)
    rows: tuple[tuple[str, Iterable[Row]], ...] = (
        ("ingest_add_logs", map(_log_row, batch.logs)),
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
        templates={event.template_id: (batch.mask_version, event.template) for event in batch.logs},
        counts=_count_logs(batch.logs),
        inserts=tuple((query, found) for query, each in rows if (found := tuple(each))),
        alerts=tuple(
            (alert, _alert_id(alert), _attributes_json(alert.labels), at not in batch.undated)
            for at, alert in enumerate(batch.alerts)
        ),
    )


def _write(tx: Transaction, batch: PreparedBatch, templates: Mapping[int, tuple[int, str]]) -> Written:
    last = int(tx.fetch("ingest_lock_clock")[0][0])
    if earlier := tx.fetch("ingest_find_batch", (batch.environment, batch.kind, batch.key)):
        seq, accepted, duplicate, _ = earlier[0]
        return Written(int(seq), 0, int(accepted) + int(duplicate), retry=True)
    seq = last + 1
    tx.execute("ingest_advance_clock", (seq,))
    if templates:
        tx.execute_many("ingest_add_templates", [(key, *row) for key, row in sorted(templates.items())])
    sent = accepted = 0
    for query, rows in batch.inserts:
        sent += len(rows)
        accepted += _insert(tx, query, seq, rows)
    if batch.counts:
        tx.execute_many("ingest_add_counts", batch.counts)
    for alert, key, labels, dated in batch.alerts:
        sent += 1
        accepted += _write_alert(tx, seq, alert, key, labels, dated)
    duplicate = sent - accepted
    ledger = (seq, batch.environment, batch.kind, batch.key, batch.received_us, accepted, duplicate, batch.rejected)
    tx.execute("ingest_add_batch", ledger)
    return Written(seq, accepted, duplicate)


def _insert(tx: Transaction, query: str, seq: int, rows: Sequence[Row]) -> int:
    """Insert rows and return how many were new. A changed edge counts as two rows touched, a new one as one."""
    if query == "ingest_add_edges":
        return sum(min(1, tx.execute(query, (seq, *row))) for row in rows)
    return sum(tx.execute_many(query, [(seq, *row) for row in part]) for part in _packets(rows))


def _packets(rows: Sequence[Row]) -> Iterable[Sequence[Row]]:
    """Split rows so that each bulk statement fits in the server's packet."""
    size = start = 0
    for at, row in enumerate(rows):
        row_size = _ROW_BYTES + sum(4 * len(value) for value in row if isinstance(value, str) and len(value) > 512)
        if size + row_size > _PACKET_BYTES and at > start:
            yield rows[start:at]
            start, size = at, 0
        size += row_size
    yield rows[start:]


def _write_alert(tx: Transaction, seq: int, alert: Alert, key: str, labels: str, dated: bool) -> int:
    """Store a new alert or the end of a known one; return 1 where that changed something, else 0.

    An alert without a start speaks of the open alert with its fingerprint, if there is one.
    """
    if not dated:
        found = tx.fetch("ingest_find_open_alert", (alert.environment, alert.source, alert.fingerprint))
        if not found and alert.status == "resolved":
            return 0
        key = str(found[0][0]) if found else key
    known = tx.fetch("ingest_find_alert", (alert.environment, key))
    # An end without a time of its own ended when it was told.
    ended = alert.ended_us if alert.ended_us is not None or alert.status == "firing" else alert.time_us
    if not known:
        tx.execute("ingest_add_alert", (seq, *_alert_row(alert, key, ended, labels)))
        return 1
    if alert.status == "firing" or known[0] == ("resolved", ended):
        return 0
    tx.execute("ingest_resolve_alert", (seq, ended, alert.environment, key))
    return 1


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


def _log_row(event: LogEvent) -> Row:
    return (
        event.environment,
        event.time_us,
        event.service,
        int(event.level),
        event.template_id,
        event.node,
        event.trace_id,
        event.span_id,
        event.message,
        _attributes_json(event.attributes),
    )


def _count_logs(logs: Sequence[LogEvent]) -> tuple[Row, ...]:
    """Return the rows of `log_count`: events per environment, slot, service, template and level, in key order."""
    found: dict[tuple[str, int, str, int, int], list[int]] = {}
    for event in logs:
        time_us = event.time_us
        key = (event.environment, time_us - time_us % SLOT_US, event.service, event.template_id, int(event.level))
        count = found.get(key)
        if count is None:
            found[key] = [1, time_us, time_us]
        else:
            count[0] += 1
            count[1] = min(count[1], time_us)
            count[2] = max(count[2], time_us)
    return tuple((*key, *count) for key, count in sorted(found.items()))


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


def _alert_id(alert: Alert) -> str:
    return _content_id("alr", alert.source, alert.fingerprint, alert.time_us)


def _alert_row(alert: Alert, key: str, ended_us: int | None, labels: str) -> tuple[Any, ...]:
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
    )

"""Reading the ingested telemetry: every query is scoped by environment, bounded in rows, and returns typed rows."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from domain.errors import NotFound
from domain.observed import (
    Activity,
    AlertRow,
    ChangeRow,
    EntryBucket,
    LevelBucket,
    LogRow,
    MeterPoint,
    MetricShift,
    OrchestratorRow,
    SpanRow,
    TemplateCount,
    TracedLine,
    VersionLoad,
)
from domain.times import HOUR_US, Window, floor_slot
from storage.database import Database, Row
from storage.log_counts import LogCounts

# A request trace's other spans start close to its entry; the margin keeps the look-up inside a few index pages.
_TRACE_MARGIN_US = HOUR_US
MAX_SERIES = 5_000
MAX_SPANS = 200_000
MAX_POINTS = 100_000
NO_END_US = 2**62
MAX_EVENTS = 500


class Telemetry:
    """Queries over logs, spans, metrics, changes and events of one database."""

    def __init__(self, database: Database, until_us: int = NO_END_US) -> None:
        self._database = database
        self._until_us = until_us

    def as_of(self, moment_us: int) -> Telemetry:
        """Return the same telemetry as it could be known at a moment: a span is known once it has ended."""
        return Telemetry(self._database, moment_us)

    async def head_seq(self) -> int:
        """Return the number of the newest committed ingest batch."""
        return int((await self._database.fetch("head_seq"))[0][0])

    async def environments(self) -> list[str]:
        """Return the names of the environments that ever sent something."""
        return [str(row[0]) for row in await self._database.fetch("environments")]

    async def span_extent(self, environment: str, window: Window) -> tuple[Window, int] | None:
        """Return the part of a window in which there are spans, and how many; None where there are none."""
        first, last, count = (await self._database.fetch("span_extent", _scope(environment, window)))[0]
        return None if not count else (Window(int(first), int(last) + 1), int(count))

    async def log_extent(self, environment: str, window: Window) -> Window | None:
        """Return the part of a window in which there are log events; None where there are none."""
        first, last = (await self._database.fetch("log_extent", _scope(environment, window)))[0]
        return None if first is None else Window(int(first), int(last) + 1)

    async def services(self, environment: str, window: Window) -> list[str]:
        """Return the services that sent spans, logs or metrics in a window, or that edge metrics speak of."""
        scope = _scope(environment, window)
        slots = (environment, floor_slot(window.start_us), window.end_us)
        rows = await self._database.fetch("known_services", (*scope, *slots, *scope, *scope, *scope))
        return [str(row[0]) for row in rows if row[0]]

    async def entry_names(self, environment: str, window: Window, limit: int = 500) -> list[tuple[str, str]]:
        """Return (service, operation) pairs of the work that services take in."""
        return [
            (str(s), str(n))
            for s, n in await self._database.fetch("entry_names", (*_scope(environment, window), limit))
        ]

    async def entry_buckets(self, environment: str, window: Window, bucket_us: int, slow_us: int) -> list[EntryBucket]:
        """Return the requests per service, operation and bucket; those slower than `slow_us` are counted apart."""
        rows = await self._database.fetch(
            "entry_buckets", (bucket_us, slow_us, *_scope(environment, window), self._until_us)
        )
        return [_entry_bucket(row) for row in rows]

    async def operation_buckets(
        self, environment: str, service: str, name: str, window: Window, bucket_us: int, slow_us: int
    ) -> list[EntryBucket]:
        """Return the requests of one operation per bucket; those slower than `slow_us` are counted apart."""
        rows = await self._database.fetch(
            "operation_buckets",
            (bucket_us, slow_us, environment, service, name, window.start_us, window.end_us, self._until_us),
        )
        return [_entry_bucket(row) for row in rows]

    async def bad_entries(
        self, environment: str, service: str, name: str, window: Window, slow_us: int, limit: int
    ) -> list[str]:
        """Return the trace ids of failed or slow requests of one operation, earliest first."""
        rows = await self._database.fetch(
            "bad_entries",
            (environment, service, name, window.start_us, window.end_us, self._until_us, slow_us, limit),
        )
        return _distinct(row[0] for row in rows)

    async def first_bad_entry(
        self, environment: str, service: str, name: str, window: Window, slow_us: int | None
    ) -> int | None:
        """Return when the first failed (or, with `slow_us`, the first slower) request of an operation began."""
        rows = await self._database.fetch(
            "first_bad_entry",
            (environment, service, name, window.start_us, window.end_us, self._until_us, slow_us, slow_us),
        )
        return None if rows[0][0] is None else int(rows[0][0])

    async def last_entries(self, environment: str, service: str, name: str, window: Window, limit: int) -> list[str]:
        """Return the trace ids of the last requests of one operation in a window."""
        rows = await self._database.fetch(
            "last_entries", (environment, service, name, window.start_us, window.end_us, self._until_us, limit)
        )
        return _distinct(row[0] for row in rows)

    async def error_traces(self, environment: str, window: Window, limit: int) -> list[str]:
        """Return the ids of traces in which any span failed, earliest first."""
        rows = await self._database.fetch("error_spans", (*_scope(environment, window), self._until_us, limit))
        return _distinct(row[0] for row in rows)

    async def sample_traces(self, environment: str, window: Window, limit: int) -> list[str]:
        """Return the ids of traces that began in a window, spread over it by chance (the same ones each time)."""
        return _distinct(
            row[0] for row in await self._database.fetch("traces_sample", (*_scope(environment, window), limit))
        )

    async def spans_of_traces(self, environment: str, trace_ids: Sequence[str], near: Window) -> list[SpanRow]:
        """Return every span of the named traces that starts within an hour of a window, MAX_SPANS of them at most.

        Where that is too few, the last traces named are the ones that lack spans.
        """
        if not trace_ids:
            return []
        around = near.widened(_TRACE_MARGIN_US, _TRACE_MARGIN_US)
        rows = await self._database.fetch(
            "spans_of_traces",
            (json.dumps(list(trace_ids)), environment, around.start_us, around.end_us, self._until_us, MAX_SPANS),
        )
        return [SpanRow._make((*row[:8], bool(row[8]), *row[9:])) for row in rows]

    async def activity(self, environment: str, window: Window) -> dict[str, Activity]:
        """Return what each service took in during a window."""
        rows = await self._database.fetch("span_activity", (*_scope(environment, window), self._until_us))
        return {str(r[0]): Activity(str(r[0]), int(r[1]), int(r[2]), float(r[3]), int(r[4]), int(r[5])) for r in rows}

    async def version_loads(self, environment: str, window: Window, bucket_us: int) -> list[VersionLoad]:
        """Return what each version of a service took in per bucket, of services of which several versions did."""
        scope = _scope(environment, window)
        step = (window.start_us, bucket_us)
        rows = await self._database.fetch("version_loads", (*step, *scope, *scope, *step))
        return [
            VersionLoad(str(r[0]), str(r[1]), int(r[2]), float(r[3]), float(r[4]), float(r[5]), int(r[6])) for r in rows
        ]

    async def version_examples(
        self, environment: str, service: str, version: str, window: Window
    ) -> list[tuple[str, str]]:
        """Return (trace id, span id) of the worst requests that a version took in, failed ones first."""
        asked = (environment, service, version, window.start_us, window.end_us)
        return [(str(trace), str(span)) for trace, span in await self._database.fetch("version_examples", asked)]

    async def metric_names(self, environment: str, window: Window) -> list[str]:
        """Return the names of the metrics that were sent in a window."""
        rows = await self._database.fetch("metric_names", (*_scope(environment, window), MAX_SERIES))
        return [str(row[0]) for row in rows]

    async def meter_points(self, environment: str, window: Window, names: Iterable[str]) -> list[MeterPoint]:
        """Return the samples of metrics of some names, the newest of a window if there are more than are read."""
        wanted = json.dumps(sorted(set(names)), ensure_ascii=False)
        rows = await self._database.fetch("meter_points", (*_scope(environment, window), wanted, MAX_POINTS))
        return [MeterPoint._make((*map(str, row[:6]), int(row[6]), float(row[7]))) for row in rows]

    async def root_services(self, environment: str, window: Window) -> dict[str, int]:
        """Return the services that request traces begin in, and how many began there."""
        rows = await self._database.fetch("root_services", _scope(environment, window))
        return {str(service): int(count) for service, count in rows}

    async def template_counts(self, environment: str, window: Window) -> list[TemplateCount]:
        """Return how often each service wrote each template; see storage/log_counts.py for windows that cut a slot."""
        return await LogCounts(self._database).by_template(environment, window)

    async def level_buckets(self, environment: str, window: Window, bucket_us: int) -> list[LevelBucket]:
        """Return error lines and all lines per service and bucket (of whole slots), from the slot of the start on.

        The end is exact: of a slot that it cuts through, only the lines before it count.
        """
        last = floor_slot(window.end_us)
        scope = (bucket_us, environment)
        rows = await self._database.fetch("slot_level_buckets", (*scope, floor_slot(window.start_us), last))
        rows += await self._database.fetch("event_level_buckets", (*scope, max(last, window.start_us), window.end_us))
        merged: dict[tuple[str, int], LevelBucket] = {}
        for service, number, errors, lines, first in rows:
            bucket = LevelBucket(
                str(service), int(number), int(errors), int(lines), None if first is None else int(first)
            )
            known = merged.get(bucket[:2])
            merged[bucket[:2]] = bucket if known is None else _add_levels(known, bucket)
        return sorted(merged.values(), key=lambda bucket: bucket[:2])

    async def template_texts(self, template_ids: Iterable[int]) -> dict[int, str]:
        """Return the masked texts of templates."""
        ids = sorted(set(template_ids))
        if not ids:
            return {}
        return {int(i): str(t) for i, t in await self._database.fetch("template_texts", (json.dumps(ids),))}

    async def seen_before(self, environment: str, template_ids: Iterable[int], moment_us: int) -> dict[int, int]:
        """Return, for templates that were written before a moment, when that was first."""
        ids = sorted(set(template_ids))
        if not ids:
            return {}
        asked = (environment, environment, json.dumps(ids), moment_us)
        return {int(i): int(first) for i, first in await self._database.fetch("templates_first_written", asked)}

    async def log_examples(
        self, environment: str, template_id: int, service: str, window: Window, limit: int
    ) -> list[LogRow]:
        """Return the first log events of a template and service in a window."""
        rows = await self._database.fetch(
            "log_examples", (environment, template_id, service, window.start_us, window.end_us, limit)
        )
        return [LogRow(*row) for row in rows]

    async def traced_lines(self, environment: str, window: Window, limit: int) -> list[TracedLine]:
        """Return the first log events of a window that belong to a span, with the name of that span."""
        rows = await self._database.fetch("traced_lines", (*_scope(environment, window), limit))
        return [TracedLine(str(r[0]), str(r[1]), str(r[2]), int(r[3]), int(r[4]), str(r[5])) for r in rows]

    async def operation_counts(self, environment: str, window: Window) -> dict[tuple[str, str], int]:
        """Return how many spans of each (service, name) began in a window."""
        rows = await self._database.fetch("operation_counts", (*_scope(environment, window), window.end_us))
        return {(str(service), str(name)): int(count) for service, name, count in rows}

    async def find_lines(
        self,
        environment: str,
        window: Window,
        service: str,
        level: int,
        text: str,
        before: tuple[int, int] | None,
        limit: int,
    ) -> list[LogRow]:
        """Return log events that hold a text, newest first; `before` is the (time, id) of the last one already seen."""
        moment, number = before or (window.end_us, 0)
        rows = await self._database.fetch(
            "logs_matching",
            (*_scope(environment, window), moment, moment, number, service, service, level, text, text, limit),
        )
        return [LogRow(*row) for row in rows]

    async def last_line_id(self) -> int:
        """Return the id of the log event that was stored last."""
        return int((await self._database.fetch("logs_last_id"))[0][0])

    async def lines_after(
        self, environment: str, after: int, service: str, level: int, limit: int
    ) -> tuple[list[LogRow], int]:
        """Return log events stored after one, in order, and up to which id all were looked at."""
        last = await self.last_line_id()
        rows = await self._database.fetch("logs_after", (after, last, environment, service, service, level, limit))
        return [LogRow(*row) for row in rows], int(rows[-1][0]) if len(rows) == limit else max(after, last)

    async def changes(self, environment: str, window: Window) -> list[ChangeRow]:
        """Return the changes in a window, oldest first."""
        rows = await self._database.fetch("changes_between", (*_scope(environment, window), MAX_EVENTS))
        return [ChangeRow(*row) for row in rows]

    async def orchestrator_events(self, environment: str, window: Window) -> list[OrchestratorRow]:
        """Return the orchestrator's events in a window, oldest first."""
        rows = await self._database.fetch("orchestrator_events_between", (*_scope(environment, window), MAX_EVENTS))
        return [OrchestratorRow(*row) for row in rows]

    async def runbooks_named(self, environment: str, window: Window, limit: int = 50) -> list[tuple[str, str, str]]:
        """Return (URL, alert, service) of the runbooks that the alerts of a window name."""
        rows = await self._database.fetch("runbooks_named", (*_scope(environment, window), limit))
        return [(str(row[0]), str(row[1]), str(row[2])) for row in rows]

    async def alerts(self, environment: str, window: Window) -> list[AlertRow]:
        """Return the alerts that began to fire in a window, oldest first."""
        rows = await self._database.fetch("alerts_firing", (*_scope(environment, window), MAX_EVENTS))
        return [AlertRow(*row) for row in rows]

    async def metric_shifts(
        self, environment: str, window: Window, split_us: int, guard_us: int = 0
    ) -> list[MetricShift]:
        """Return every metric series of a window, summed up before and after a moment, less a guard before it."""
        splits = (split_us - guard_us,) * 4 + (split_us,) * 4
        rows = await self._database.fetch("metric_shifts", (*splits, *_scope(environment, window), MAX_SERIES))
        return [MetricShift._make((*row[:3], int(row[3]), *row[4:7], int(row[7]), *row[8:], None)) for row in rows]

    async def metric_extreme(
        self, environment: str, shift: MetricShift, window: Window, reference: float
    ) -> tuple[int, float] | None:
        """Return time and value of the sample of a series that lies farthest from a reference."""
        rows = await self._database.fetch(
            "metric_peak",
            (environment, shift.service, shift.name, shift.series, window.start_us, window.end_us, reference),
        )
        return (int(rows[0][0]), float(rows[0][1])) if rows else None

    async def read_record(self, environment: str, kind: str, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the stored record behind a piece of evidence, as plain JSON; raises NotFound if it is gone."""
        try:
            query, names, columns = _RECORDS[kind]
        except KeyError:
            raise NotFound(f"There are no stored records of the kind {kind!r}.") from None
        values = [key[name] for name in names]
        if kind == "requests":
            values = [key["slow_us"], environment, *values, key.get("until_us", NO_END_US)]
        else:
            values = [environment, *values]
        rows = await self._database.fetch(query, values)
        if not rows:
            raise NotFound(f"The {kind} record {dict(key)} is no longer stored.")
        return _record(kind, columns, rows[0])


_RECORDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "log": ("log_record", ("id",), LogRow._fields),
    "span": (
        "span_record",
        ("trace_id", "span_id"),
        (
            *("trace_id", "span_id", "parent_id", "service", "name", "kind", "start_us", "duration_us", "error"),
            *("status_message", "node", "version", "peer", "attributes"),
        ),
    ),
    "change": ("change_record", ("id",), (*ChangeRow._fields, "attributes")),
    "event": ("orchestrator_event_record", ("id",), OrchestratorRow._fields),
    "metric": (
        "metric_record",
        ("service", "name", "series", "time_us"),
        ("service", "name", "series", "time_us", "value", "node", "source", "destination", "attributes"),
    ),
    "count": (
        "count_record",
        ("template_id", "service", "start_us", "end_us", "seq"),
        ("lines", "first_us", "last_us"),
    ),
    "requests": (
        "requests_record",
        ("service", "name", "start_us", "end_us", "seq"),
        ("requests", "errors", "slow"),
    ),
}


def _record(kind: str, columns: tuple[str, ...], row: Row) -> dict[str, Any]:
    values = (int(value) if isinstance(value, Decimal) else value for value in row)
    record: dict[str, Any] = dict(zip(columns, values, strict=True))
    if isinstance(attributes := record.get("attributes"), str):
        record["attributes"] = json.loads(attributes or "{}")
    return {"kind_of_record": kind, **record}


def _entry_bucket(row: Row) -> EntryBucket:
    service, name, bucket, requests, errors, log_duration, slow, roots = row
    return EntryBucket(
        str(service), str(name), int(bucket), int(requests), int(errors), float(log_duration), int(slow), int(roots)
    )


def _scope(environment: str, window: Window) -> tuple[str, int, int]:
    return environment, window.start_us, window.end_us


def _distinct(values: Iterable[Any]) -> list[str]:
    return list(dict.fromkeys(str(value) for value in values))


def _add_levels(one: LevelBucket, other: LevelBucket) -> LevelBucket:
    firsts = [first for first in (one.first_error_us, other.first_error_us) if first is not None]
    return one._replace(
        errors=one.errors + other.errors, lines=one.lines + other.lines, first_error_us=min(firsts, default=None)
    )

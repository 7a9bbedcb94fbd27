"""Whatever is sent, a decoder answers with records and reasons, or with a PayloadError: never with another error."""

from __future__ import annotations

import contextlib
import json
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.errors import PayloadError
from ingest import json_records, monitors, otlp, paging
from ingest.mapped_alerts import AlertMapping, decode_cloudevents, read_cloudevents
from storage.ingest import Batch, prepare

NOW = 1_800_000_000_000_000
ODD = ["2024-03-01T10:42:00Z", "firing", "resolved", "deploy", "CALLS", "1e400", "nan", "9" * 400, "0001-01-01", ""]
scalars = (
    st.sampled_from(ODD)
    | st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
)
values = scalars | st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner), max_leaves=6
)
FIELDS = (
    "timestamp", "service", "level", "message", "node", "trace_id", "span_id", "attributes", "environment", "kind",
    "summary", "version", "actor", "object", "text", "reason", "source", "target", "name", "status", "labels",
    "starts_at", "ends_at", "startsAt", "endsAt", "annotations", "fingerprint", "severity", "runbook_url",
)  # fmt: skip
records = st.fixed_dictionaries({}, optional=dict.fromkeys(FIELDS, values))
anything = values | records | st.lists(records | values, max_size=3)


@given(
    anything, st.dictionaries(st.sampled_from(["edges", "alerts", "version", "valid_from", "observed_by"]), anything)
)
@settings(max_examples=400, deadline=None)
def test_json_records(value: Any, wrapped: Any) -> None:
    for body in (json.dumps(value).encode("utf-8", "replace"), json.dumps(wrapped).encode("utf-8", "replace")):
        batches: list[tuple[str, Any]] = [
            ("logs", lambda body: json_records.decode_logs(body, "", "e")),
            ("changes", lambda body: json_records.decode_changes(body, "", "e")),
            ("events", lambda body: json_records.decode_events(body, "", "e")),
            ("edges", lambda body: json_records.decode_topology(body, "", "e")),
            ("alerts", lambda body: json_records.decode_alerts("generic", body, "", "e", NOW)),
            ("alerts", lambda body: json_records.decode_alerts("grafana", body, "", "e", NOW)),
        ]
        for name, decode in batches:
            try:
                decoded = decode(body)
            except PayloadError:
                continue
            prepare(Batch("e", "logs", "k", NOW, **{name: decoded.records}))


WEBHOOK_FIELDS = (
    "event", "data", "alert", "action", "id", "event_type", "type", "status", "title", "alert_transition", "tags", "scopes",
    "date", "metric_alert", "issue", "alert_rule", "exception", "values", "stacktrace", "frames", "message", "details",
    "createdAt", "updatedAt", "specversion", "source", "subject", "time", "problems", "name", "labels", "starts_at",
)  # fmt: skip
webhooks = st.recursive(
    values
    | st.sampled_from(
        ["incident.triggered", "incident", "Triggered", "Recovered", "create", "close", "critical", "$ID"]
    ),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WEBHOOK_FIELDS), inner, max_size=8),
    max_leaves=30,
)


@given(st.dictionaries(st.sampled_from(WEBHOOK_FIELDS), webhooks, max_size=12))
@settings(max_examples=400, deadline=None)
def test_webhooks_of_alerts(value: Any) -> None:
    body = json.dumps(value).encode("utf-8", "replace")
    mapping = AlertMapping.model_validate(
        {
            "name": ["name", "title"],
            "status": {"at": "status"},
            "each": "problems",
            "labels": "tags",
            "starts_at": "date",
        }
    )
    for decode in (
        *(paging.decode_pagerduty, paging.decode_opsgenie, monitors.decode_datadog, monitors.decode_sentry),
        partial(mapping.decode, "own"),
        lambda body, *rest: decode_cloudevents(read_cloudevents({}, body, ""), body, *rest),
    ):
        try:
            decoded = decode(body, "", "e", NOW)
        except PayloadError:
            continue
        prepare(Batch("e", "alerts", "k", NOW, alerts=decoded.records, undated=frozenset(decoded.undated)))
    for read_id in (paging.pagerduty_id, paging.opsgenie_id, monitors.datadog_id):
        assert isinstance(read_id(body), str)


OTLP_FIELDS = (
    "timeUnixNano", "observedTimeUnixNano", "startTimeUnixNano", "endTimeUnixNano", "traceId", "spanId", "severityNumber",
    "severityText", "body", "attributes", "name", "kind", "status", "events", "links", "gauge", "sum", "histogram",
    "summary", "flags", "trace_id",
)  # fmt: skip
otlp_records = st.dictionaries(
    st.sampled_from(OTLP_FIELDS),
    values
    | st.just({"stringValue": "x"})
    | st.just([{"key": "a", "value": {"doubleValue": "NaN"}}])
    | st.just(
        {
            "dataPoints": [
                {"timeUnixNano": "5", "asDouble": 1, "count": 3, "bucketCounts": [1, 2], "explicitBounds": [1]}
            ]
        }
    ),
)


@given(st.lists(otlp_records | values, max_size=3), values)
@settings(max_examples=400, deadline=None)
def test_otlp_json(items: list[Any], odd: Any) -> None:
    shapes: list[tuple[Any, tuple[str, str, str], str]] = [
        (otlp.decode_logs, ("resourceLogs", "scopeLogs", "logRecords"), "logs"),
        (otlp.decode_traces, ("resourceSpans", "scopeSpans", "spans"), "spans"),
        (otlp.decode_metrics, ("resourceMetrics", "scopeMetrics", "metrics"), "metrics"),
    ]
    for decode, (resources, scopes, names), field in shapes:
        for value in ({resources: [{scopes: [{names: items}]}]}, {resources: [{"resource": odd, scopes: odd}]}, odd):
            try:
                decoded = decode(json.dumps(value).encode("utf-8", "replace"), otlp.JSON, "e", NOW)
            except PayloadError:
                continue
            more: dict[str, Any] = {field: decoded.records}
            prepare(Batch("e", "logs", "k", NOW, **more))


@pytest.mark.parametrize(
    ("decode", "request_type"),
    [
        (otlp.decode_logs, ExportLogsServiceRequest),
        (otlp.decode_traces, ExportTraceServiceRequest),
        (otlp.decode_metrics, ExportMetricsServiceRequest),
    ],
)
@given(noise=st.binary(max_size=60), at=st.integers(0, 80))
@settings(max_examples=300, deadline=None)
def test_otlp_protobuf(decode: Any, request_type: Any, noise: bytes, at: int) -> None:
    whole = b"\x0a\x20\x0a\x10\x0a\x0e\x0a\x04name\x12\x06\x0a\x04text\x12\x0c\x12\x0a\x09\x01\x02\x03\x04\x05\x06\x07\x08\x10\x01"
    with contextlib.suppress(PayloadError):
        decode(whole[:at] + noise + whole[at:], otlp.PROTOBUF, "e", NOW)

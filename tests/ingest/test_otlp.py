from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.errors import PayloadError, UnsupportedMediaType
from domain.telemetry import Level, MetricPoint, SpanKind
from ingest.otlp import JSON, PROTOBUF, decode_logs, decode_metrics, decode_traces

NOW = 1_800_000_000_000_000
TRACE, SPAN = "5B8EFFF798038103D269B633813FC60C", "EEE19B7EC3C1B174"
NANOS = "1544712660300000000"


def attributes(**values: Any) -> list[dict[str, Any]]:
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    return [{"key": key.replace("__", "."), "value": {kinds[type(value)]: value}} for key, value in values.items()]


def in_base64(text: str) -> str:
    return base64.b64encode(bytes.fromhex(text)).decode()


def payload(signal: str, records: list[Any], **resource: Any) -> dict[str, Any]:
    names = {"Logs": "logRecords", "Spans": "spans", "Metrics": "metrics"}
    scopes = [{"scope": {"name": "my.library"}, names[signal]: records}]
    return {
        f"resource{signal}": [{"resource": {"attributes": attributes(**resource)}, f"scope{signal}": scopes}],
    }


def logs(*records: Any, environment: str = "default", **resource: Any) -> Any:
    return decode_logs(json.dumps(payload("Logs", list(records), **resource)).encode(), JSON, environment, NOW)


def spans(*records: Any, environment: str = "default", **resource: Any) -> Any:
    return decode_traces(json.dumps(payload("Spans", list(records), **resource)).encode(), JSON, environment, NOW)


def metrics(*records: Any, **resource: Any) -> Any:
    return decode_metrics(json.dumps(payload("Metrics", list(records), **resource)).encode(), JSON, "default", NOW)


def span(**more: Any) -> dict[str, Any]:
    return {
        "traceId": TRACE, "spanId": SPAN, "name": "GET /", "kind": 3, "startTimeUnixNano": NANOS,
        "endTimeUnixNano": "1544712660301500000", **more,
    }  # fmt: skip


def test_a_log_record_becomes_an_event() -> None:
    found = logs(
        {
            "timeUnixNano": NANOS,
            "severityNumber": 18,
            "body": {"stringValue": "order 12 failed"},
            "traceId": TRACE,
            "spanId": SPAN,
            "attributes": attributes(exception__type="ValueError", code=5),
            "unknownField": 1,
        },
        service__name="checkout",
        host__name="n1",
    )
    (event,) = found.records
    assert (found.rejected, found.errors, found.undated) == (0, [], set())
    assert (event.environment, event.service, event.node, event.level) == ("default", "checkout", "n1", Level.ERROR)
    assert (event.time_us, event.message, event.template) == (
        1_544_712_660_300_000, "order 12 failed", "order <*> failed",
    )  # fmt: skip
    assert (event.trace_id, event.span_id) == (TRACE.lower(), SPAN.lower())
    assert event.attributes == {"exception.type": "ValueError", "code": 5, "logger": "my.library"}


@pytest.mark.parametrize(
    ("trace_id", "span_id"),
    [(TRACE, SPAN), (TRACE.lower(), SPAN.lower()), (in_base64(TRACE), in_base64(SPAN))],
)
@pytest.mark.parametrize("names", [("traceId", "spanId"), ("trace_id", "span_id")])
def test_ids_of_every_spelling(trace_id: str, span_id: str, names: tuple[str, str]) -> None:
    (event,) = logs({"timeUnixNano": 5_000, names[0]: trace_id, names[1]: span_id}).records
    assert (event.trace_id, event.span_id) == (TRACE.lower(), SPAN.lower())


def test_snake_case_numbers_and_enums_by_name() -> None:
    record = {
        "trace_id": TRACE, "span_id": SPAN, "parent_span_id": SPAN, "name": "x", "kind": "SPAN_KIND_SERVER",
        "start_time_unix_nano": int(NANOS), "end_time_unix_nano": NANOS, "status": {"code": "STATUS_CODE_ERROR"},
    }  # fmt: skip
    body = {"resource_spans": [{"scope_spans": [{"spans": [record]}]}]}
    (found,) = decode_traces(json.dumps(body).encode(), JSON, "e", NOW).records
    assert (found.kind, found.error, found.parent_id, found.service) == (
        SpanKind.SERVER, True, SPAN.lower(), "unknown_service",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"stringValue": "text"}, "text"),
        ({"intValue": "7"}, "7"),
        ({"kvlistValue": {"values": attributes(event="paid", n=3)}}, '{"event":"paid","n":3}'),
        ({"arrayValue": {"values": [{"stringValue": "a"}, {"boolValue": True}]}}, '["a",true]'),
        (None, "ValueError: no stock"),
    ],
)
def test_bodies_of_every_kind(body: Any, message: str) -> None:
    said = attributes(exception__type="ValueError", exception__message="no stock")
    (event,) = logs({"timeUnixNano": NANOS, "attributes": said, **({"body": body} if body else {})}).records
    assert event.message == message


@pytest.mark.parametrize(
    ("number", "text", "level"),
    [
        (0, "", Level.INFO),
        (0, "WARNING", Level.WARN),
        (1, "", Level.TRACE),
        (12, "x", Level.INFO),
        (24, "", Level.FATAL),
    ],
)
def test_severities(number: int, text: str, level: Level) -> None:
    (event,) = logs({"timeUnixNano": NANOS, "severityNumber": number, "severityText": text}).records
    assert event.level is level


def test_precedence_of_the_environment() -> None:
    record = {"timeUnixNano": NANOS}
    own = {**record, "attributes": attributes(deployment__environment__name="record")}
    found = logs(own, record, environment="query", deployment__environment="old", deployment__environment__name="new")
    assert [event.environment for event in found.records] == ["record", "new"]
    assert logs(record, environment="query", deployment__environment="old").records[0].environment == "old"
    assert logs(record, environment="query").records[0].environment == "query"
    assert logs(record, environment="").records[0].environment == "default"
    refused = logs(record, record, deployment__environment__name="e" * 65)
    assert (refused.rejected, refused.errors[0]) == (
        2, "log record 1: deployment.environment.name: longer than 64 characters",
    )  # fmt: skip


def test_records_without_a_time_take_the_observed_one_or_that_of_arrival() -> None:
    found = logs({"observedTimeUnixNano": NANOS}, {"timeUnixNano": 0})
    assert [event.time_us for event in found.records] == [1_544_712_660_300_000, NOW]
    assert found.undated == {1}


def test_a_client_span_says_whom_it_calls() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"server__address": "127.0.0.1", "server__port": 9000}, "127.0.0.1:9000"),
        ({"server__address": "::1", "server__port": 9000}, "[::1]:9000"),
        ({"server__address": "db", "peer__service": "other"}, "db"),
        ({"net__peer__name": "stock", "net__peer__port": 80}, "stock:80"),
        ({"http__url": "http://user:pw@cart:8080/items"}, "cart:8080"),
        ({"peer__service": "payments", "db__system": "mysql"}, "payments"),
        ({"messaging__destination__name": "orders"}, "orders"),
        ({"db__system": "redis"}, "redis"),
        ({}, ""),
    ]
    for said, peer in cases:
        assert spans(span(attributes=attributes(**said))).records[0].peer == peer
    assert spans(span(kind=2, attributes=attributes(server__address="me"))).records[0].peer == ""


def test_an_error_takes_its_message_from_the_exception_event() -> None:
    event = {
        "name": "exception",
        "attributes": attributes(
            exception__type="IOError", exception__message="broken pipe", exception__stacktrace="frame\n" * 5000
        ),
    }
    (found,) = spans(span(status={"code": 2}, events=[event]), service__version="2.4.0").records
    assert (found.error, found.status_message, found.version) == (True, "IOError: broken pipe", "2.4.0")
    assert found.duration_us == 1500
    assert found.attributes["exception.type"] == "IOError"
    assert 4000 < len(str(found.attributes["exception.stacktrace"])) < 4100
    (found,) = spans(span(status={"code": 2, "message": "said"}, events=[event])).records
    assert found.status_message == "said"
    assert not spans(span(status={"code": 1})).records[0].error


def test_bad_spans_are_rejected_one_by_one() -> None:
    found = spans(
        span(),
        span(traceId="xyz"),
        span(spanId="0" * 16),
        span(startTimeUnixNano="abc"),
        span(startTimeUnixNano=0, endTimeUnixNano=0),
        span(startTimeUnixNano=2**64 - 1),
        span(links=[{"traceId": "anything"}]),
    )
    assert (len(found.records), found.rejected) == (2, 5)
    assert found.errors[0] == "span 2: its trace id is missing or malformed"
    assert found.errors[1] == "span 3: its span id is missing or malformed"
    assert "startTimeUnixNano" in found.errors[2]
    assert found.errors[3:5] == ["span 5: it has neither a start nor an end", "span 6: its time lies after 2262"]


def test_spans_of_agent_traces_are_set_apart() -> None:
    found = spans(
        span(),
        span(attributes=attributes(gen_ai__system="x")),
        span(attributes=attributes(openinference__span__kind="LLM")),
        span(traceId="xyz", attributes=attributes(gen_ai__system="x")),
    )
    assert (len(found.records), len(found.agent_records), found.rejected) == (1, 2, 1)
    assert [event.type for event in found.agent_records[0]][:2] == ["RUN_START", "STAGE_START"]


def test_an_end_before_the_start_lasts_nothing() -> None:
    assert spans(span(endTimeUnixNano="5000")).records[0].duration_us == 0


def test_json_and_protobuf_agree() -> None:
    record = span(traceId=TRACE, status={"code": 2, "message": "m"}, attributes=attributes(a="b", n=5, f=1.5, t=True))
    body = payload("Spans", [record], service__name="s", k8s__pod__name="s-1")
    in_bytes = {**record, "traceId": in_base64(TRACE), "spanId": in_base64(SPAN)}
    message = ParseDict(
        payload("Spans", [in_bytes], service__name="s", k8s__pod__name="s-1"), ExportTraceServiceRequest()
    )
    by_json = decode_traces(json.dumps(body).encode(), JSON, "e", NOW)
    by_protobuf = decode_traces(message.SerializeToString(), PROTOBUF, "e", NOW)
    assert by_json == by_protobuf
    assert by_json.records[0].attributes["k8s.pod.name"] == "s-1"


def point(**more: Any) -> dict[str, Any]:
    return {"timeUnixNano": NANOS, **more}


def values(found: Any) -> dict[str, float]:
    return {record.name: record.value for record in found.records}


def test_gauges_and_sums() -> None:
    found = metrics(
        {"name": "cpu", "gauge": {"dataPoints": [point(asDouble=0.5), point(asDouble="NaN"), point(flags=1)]}},
        {"name": "requests", "sum": {"dataPoints": [point(asInt="7", attributes=attributes(source="a", destination="b", x=1))]}},
        {"gauge": {"dataPoints": [point(asInt="1")]}},
        service__name="s",
        service__instance__id="i-1",
    )  # fmt: skip
    assert found.records == [
        MetricPoint("default", 1_544_712_660_300_000, "s", "cpu", 0.5, attributes={"service.instance.id": "i-1"}),
        MetricPoint(
            "default", 1_544_712_660_300_000, "s", "requests", 7.0, "", "a", "b", {"service.instance.id": "i-1", "x": 1}
        ),
    ]
    assert found.errors == ["metric cpu: its value is not a finite number", "metric 3: it has no name"]


def test_histograms_become_series() -> None:
    buckets = {"count": "100", "sum": 900.0, "bucketCounts": ["50", 40, "10"], "explicitBounds": [10, 20]}
    assert values(metrics({"name": "ms", "histogram": {"dataPoints": [point(**buckets)]}})) == {
        "ms.count": 100.0, "ms.sum": 900.0, "ms.p50": 10.0, "ms.p95": 20.0,
    }  # fmt: skip
    assert values(metrics({"name": "ms", "histogram": {"dataPoints": [point(**buckets, min=2, max=60)]}})) == {
        "ms.count": 100.0, "ms.sum": 900.0, "ms.p50": 10.0, "ms.p95": 40.0,
    }  # fmt: skip
    nothing = {"count": 0, "bucketCounts": [0, 0], "explicitBounds": [1]}
    assert values(metrics({"name": "ms", "histogram": {"dataPoints": [point(**nothing)]}})) == {"ms.count": 0.0}


def test_exponential_histograms_and_summaries() -> None:
    found = metrics(
        {"name": "e", "exponentialHistogram": {"dataPoints": [point(count=3, sum=4.5)]}},
        {
            "name": "s",
            "summary": {
                "dataPoints": [
                    point(count=2, sum=3, quantileValues=[{"quantile": 0.99, "value": 9}, {"quantile": 0.5, "value": "NaN"}])
                ]
            },
        },
    )  # fmt: skip
    assert values(found) == {"e.count": 3.0, "e.sum": 4.5, "s.count": 2.0, "s.sum": 3.0, "s.p99": 9.0}


@pytest.mark.parametrize("body", [b"\xff\xff", b"{"])
def test_what_cannot_be_decoded_is_refused(body: bytes) -> None:
    for decode in (decode_logs, decode_traces, decode_metrics):
        with pytest.raises(PayloadError):
            decode(body, PROTOBUF, "e", NOW)
        with pytest.raises(PayloadError):
            decode(body, JSON, "e", NOW)
        with pytest.raises(UnsupportedMediaType):
            decode(body, "text/plain", "e", NOW)


@pytest.mark.parametrize(
    "value", [[], 5, {"resourceLogs": 5}, {"resourceLogs": [5]}, {"resourceLogs": [{"resource": 5}]}]
)
def test_json_of_another_shape_is_refused(value: Any) -> None:
    with pytest.raises(PayloadError):
        decode_logs(json.dumps(value).encode(), JSON, "e", NOW)


def test_an_empty_request_is_fine() -> None:
    assert decode_logs(b"", PROTOBUF, "e", NOW).records == decode_logs(b"{}", JSON, "e", NOW).records == []

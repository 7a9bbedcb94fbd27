"""Every way in keeps what it rejects so that it can be sent again, and it is read again as it was at first."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # ships no types

from domain.errors import PayloadError
from domain.settings import Settings
from ingest import cloudwatch, datadog, deployments, json_records, otlp, prometheus
from ingest.alert_sources import AlertSources, with_payload
from ingest.mapped_alerts import AlertMapping
from ingest.payload import Decoded
from ingest.prometheus_messages import WriteRequest, WriteRequestV2
from ingest.replays import find_replay

NOW = 1_800_000_000_000_000
BAD, GOOD = b"2500-01-01", b"2026-01-01"
WHEN = "2500-01-01T00:00:00Z"
LATE = 18_000_000_000_000_000_000  # nanoseconds, in 2540
type Read = Callable[[bytes], Decoded[Any]]


def _dated(decode: Any) -> Read:
    return lambda body: decode(body, "", "e")


def _timed(decode: Any, kind: str = "application/json") -> Read:
    return lambda body: decode(body, kind, "e", NOW)


def _alerts(source: str) -> Read:
    def read(body: bytes) -> Decoded[Any]:
        found = AlertSources(Settings(data_dir=Path("unused"))).read(source, body, "application/json", {}, signed=False)
        return with_payload(found.decode, "")(body, "application/json", "e", NOW)

    return read


def _log(when: str) -> dict[str, Any]:
    return {"timestamp": when, "service": "s", "message": "m"}


def _point(time: int) -> dict[str, Any]:
    return {"timeUnixNano": str(time), "asDouble": 1.5}


def _metrics(*points: dict[str, Any]) -> dict[str, Any]:
    metric = {
        "name": "sold",
        "unit": "1",
        "sum": {"aggregationTemporality": 2, "isMonotonic": True, "dataPoints": points},
    }
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "till"}}]}
    return {"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"metrics": [metric]}]}]}


def _series(*millis: int) -> bytes:
    labels = [{"name": "__name__", "value": "sold"}, {"name": "job", "value": "till"}]
    samples = [{"value": 1.0, "timestamp": when} for when in millis]
    message = ParseDict({"timeseries": [{"labels": labels, "samples": samples}]}, WriteRequest())
    return bytes(message.SerializeToString())


_LINE = {"id": "1", "timestamp": "no", "message": "hello"}
_SUBSCRIPTION = {"messageType": "DATA_MESSAGE", "logGroup": "/aws/till", "logStream": "a", "logEvents": [_LINE, "x"]}
_ALARM = {"AlarmName": "cpu", "NewStateValue": "ALARM", "StateChangeTime": "2500-01-01T00:00:00Z"}
_DEPLOYMENT = {"deployment": {"id": 1, "created_at": WHEN}, "repository": {"name": "till"}}
_APP = {"app": {"metadata": {"name": "till"}, "status": {"operationState": {"startedAt": WHEN}}}}
_ALERT = {"status": "firing", "labels": {"alertname": "a"}, "startsAt": WHEN}
_PAGE = {
    "event": {
        "event_type": "incident.triggered",
        "occurred_at": WHEN,
        "data": {"type": "incident", "id": "P", "title": "t", "created_at": WHEN},
    }
}

# kind, source, how it is read, a body, how many are rejected, what mends the first of what is kept
WAYS: dict[str, tuple[str, str, Read, bytes, int, tuple[bytes, bytes]]] = {
    "logs": ("logs", "json", _dated(json_records.decode_logs), json.dumps([_log(WHEN), _log("2026-01-01")]).encode(), 1, (BAD, GOOD)),
    "NDJSON": ("logs", "json", _dated(json_records.decode_logs),
               json.dumps(_log("2026-01-01")).encode() + b'\n{"timestamp": "2026-01-01", "service": "s", "message": "\xff"?}\n', 1, (b"?", b"")),
    "changes": ("changes", "json", _dated(json_records.decode_changes),
                json.dumps([_log(WHEN) | {"kind": "deploy", "summary": "x"}]).encode(), 1, (BAD, GOOD)),
    "events": ("events", "json", _dated(json_records.decode_events),
               json.dumps([{"timestamp": WHEN, "kind": "k", "object": "o", "text": "t"}]).encode(), 1, (BAD, GOOD)),
    "topology": ("topology", "json", _dated(json_records.decode_topology),
                 json.dumps({"edges": [{"source": "a", "target": ""}], "observed_by": "me"}).encode(), 1, (b'""', b'"b"')),
    "datadog": ("logs", 'datadog {"service":"s"}', _timed(partial(datadog.decode_logs, {"service": "s"})),
                b'{"message": "good"}\n{"message": "bad"?}\n', 1, (b"?", b"")),
    "otlp metrics": ("metrics", "otlp", _timed(otlp.decode_metrics),
                     json.dumps(_metrics(_point(LATE), _point(NOW * 1000), _point(LATE))).encode(), 2,
                     (str(LATE).encode(), str(NOW * 1000).encode())),
    "remote write": ("metrics", "prometheus", _timed(prometheus.decode_metrics, "application/x-protobuf"),
                     _series(-5, NOW // 1000, -5), 2, (b'"-5"', b'"5"')),
    "subscription": ("logs", "sns", _timed(cloudwatch.decode_subscription), json.dumps(_SUBSCRIPTION).encode(), 2, (b'"no"', b"1800000000000")),
    "firehose": ("logs", "firehose", _timed(partial(cloudwatch.decode_firehose, 10_000)),
                 json.dumps({"records": [{"data": "?" + base64.b64encode(json.dumps(_SUBSCRIPTION | {"logEvents": []}).encode()).decode()}]}).encode(), 1,
                 (b'"?', b'"')),
    "alarm": ("alerts", "sns", _timed(cloudwatch.decode_alarm), json.dumps(_ALARM).encode(), 1, (BAD, GOOD)),
    "github": ("changes", "github", _timed(deployments.decode_github), json.dumps(_DEPLOYMENT).encode(), 1, (BAD, GOOD)),
    "argocd": ("changes", "argocd", _timed(deployments.decode_argocd), json.dumps(_APP).encode(), 1, (BAD, GOOD)),
    "alertmanager": ("alerts", "alertmanager", _alerts("alertmanager"),
                     json.dumps({"version": "4", "alerts": [_ALERT, _ALERT | {"startsAt": "2026-01-01"}]}).encode(), 1, (BAD, GOOD)),
    "generic": ("alerts", "generic", _alerts("generic"),
                json.dumps([{"name": "a", "status": "firing", "starts_at": WHEN}]).encode(), 1, (BAD, GOOD)),
    "pagerduty": ("alerts", "pagerduty", _alerts("pagerduty"), json.dumps(_PAGE).encode(), 1, (BAD, GOOD)),
}  # fmt: skip


def _again(kind: str, source: str, kept: bytes) -> tuple[int, int]:
    found = find_replay(kind, source, kept, None)
    read = [found.decode(body, found.content_type, "e", NOW) for body in found.bodies]
    return sum(len(one.records) for one in read), sum(one.rejected for one in read)


@pytest.mark.parametrize("name", WAYS)
def test_what_is_rejected_is_kept_and_read_again(name: str) -> None:
    kind, source, read, body, rejected, (bad, good) = WAYS[name]
    decoded = read(body)
    assert decoded.rejected == rejected
    assert decoded.errors
    assert decoded.refused
    kept = b"\n".join(decoded.refused)
    assert _again(kind, source, kept) == (0, rejected)
    taken, left = _again(kind, source, kept.replace(bad, good))
    assert left < rejected
    assert taken > 0 or name == "firehose"


def test_lines_of_a_mapped_sender_are_kept_together() -> None:
    mapping = AlertMapping.model_validate({"name": "title", "status": {"at": "state"}})
    body = b'{"title": "disk full", "state": "on"}\n7\n'
    decode = with_payload(partial(mapping.decode, "zabbix"), "")
    decoded = decode(body, "application/x-ndjson", "e", NOW)
    assert (len(decoded.records), decoded.rejected) == (1, 1)
    assert [json.loads(kept) for kept in decoded.refused] == [[{"title": "disk full", "state": "on"}, 7]]


def test_series_of_version_2_are_kept_as_those_of_version_1() -> None:
    message = ParseDict(
        {"symbols": ["", "__name__", "", "job", "till"],
         "timeseries": [{"labels_refs": [1, 2, 3, 4], "samples": [{"value": 1, "timestamp": "5"}]},
                        {"labels_refs": [9], "samples": [{"value": 1, "timestamp": "5"}]}]},
        WriteRequestV2(),
    )  # fmt: skip
    decoded = prometheus.decode_metrics(
        message.SerializeToString(), f"{prometheus.PROTOBUF};proto={prometheus.V2}", "e", NOW
    )
    assert (decoded.rejected, len(decoded.refused)) == (2, 2)
    assert _again("metrics", "prometheus", b"\n".join(decoded.refused).replace(b'"value":""', b'"value":"sold"')) == (
        1,
        1,
    )


def test_messages_of_kafka_are_read_in_the_form_of_their_topic() -> None:
    logs = json.dumps([_log("2026-01-01"), _log("2026-01-02")], indent=1).encode()
    assert _again("logs", "kafka logs app/0/17", logs) == (2, 0)
    point = json.dumps(_metrics(_point(NOW * 1000))).encode()
    assert _again("metrics", "kafka otlp_metrics app/0/17", point) == (1, 0)
    for kind, source in (("spans", "kafka spans app/0/1"), ("logs", "syslog"), ("alerts", "nobody")):
        with pytest.raises(PayloadError, match="send it again"):
            find_replay(kind, source, b"", None)


def test_keeping_costs_no_more_than_what_is_kept() -> None:
    """What stands around a bad record is not written once for each of a million of them."""
    around = {"version": "4", "groupLabels": {"a": "x" * 2_000_000}, "alerts": [0] * 100_000}
    decoded = json_records.decode_alerts("alertmanager", json.dumps(around).encode(), "", "e", NOW)
    assert (decoded.rejected, len(decoded.refused)) == (100_000, 0)

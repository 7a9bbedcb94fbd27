"""CloudWatch: alarms as SNS carries them, and logs as a subscription sends them, to alerts and log events."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import msgspec
from blake3 import blake3

from domain.errors import PayloadError
from domain.telemetry import UNKNOWN_SERVICE, Alert, LogEvent
from domain.times import parse_time_us
from ingest.compression import decompress
from ingest.fields import clean_attributes, clean_name, clean_text
from ingest.log_event import LogDraft, draft_log_event, with_templates
from ingest.payload import Decoded
from ingest.raw_lines import LineReader

# The dimensions that name what an alarm is about, the most telling first.
_SERVICE_DIMENSIONS = (
    "ServiceName", "Service", "service", "FunctionName", "DBInstanceIdentifier", "DBClusterIdentifier", "CacheClusterId",
    "ApiName", "QueueName", "TableName", "StreamName", "TargetGroup", "LoadBalancer", "LoadBalancerName", "ClusterName",
    "AutoScalingGroupName", "InstanceId",
)  # fmt: skip
_STATES = {"ALARM": "firing", "OK": "resolved"}


def decode_alarm(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alert of an alarm's change of state; that it lacks data is none. Raises PayloadError."""
    said = _object(body, "alarm")
    decoded: Decoded[Alert] = Decoded()
    name, state = said.get("AlarmName"), said.get("NewStateValue")
    if not isinstance(name, str) or not name or not isinstance(state, str):
        raise PayloadError("The message is no alarm of CloudWatch: it has no AlarmName or NewStateValue.")
    if state not in _STATES:
        decoded.note(f"an alarm in the state {state[:32]} neither fires nor is resolved")
        return decoded
    try:
        changed_us = parse_time_us(said.get("StateChangeTime", ""))
    except (ValueError, OverflowError) as exc:
        decoded.refuse(f"alarm: StateChangeTime: {exc}", said)
        return decoded
    if state == "OK":
        decoded.undated.add(0)  # it speaks of the alarm that is open
    dimensions, trigger = _dimensions(said.get("Trigger")), said.get("Trigger")
    about = trigger if isinstance(trigger, dict) else {}
    labels = {
        "aws.account": said.get("AWSAccountId"),
        "aws.region": said.get("Region"),
        "aws.alarm_arn": said.get("AlarmArn"),
        "aws.namespace": about.get("Namespace"),
        "aws.metric": about.get("MetricName"),
        "aws.threshold": about.get("Threshold"),
        "aws.alarm_rule": said.get("AlarmRule"),
        **dimensions,
    }
    identity = str(said.get("AlarmArn") or f"{said.get('AWSAccountId')}/{said.get('Region')}/{name}")
    decoded.records.append(
        Alert(
            environment=environment,
            time_us=changed_us,
            source="cloudwatch",
            name=clean_name(name, 255),
            status="firing" if state == "ALARM" else "resolved",
            fingerprint=blake3(identity.encode("utf-8", "replace")).hexdigest(length=8),
            service=clean_name(next((dimensions[key] for key in _SERVICE_DIMENSIONS if dimensions.get(key)), "")),
            summary=clean_text(str(said.get("AlarmDescription") or said.get("NewStateReason") or "")),
            ended_us=changed_us if state == "OK" else None,
            labels=clean_attributes((key, value) for key, value in labels.items() if value not in (None, "")),
        )
    )
    return decoded


def _dimensions(trigger: Any) -> dict[str, str]:
    """Return the dimensions of an alarm's metric, or of the metrics of its expression."""
    if not isinstance(trigger, dict):
        return {}
    given = [trigger.get("Dimensions")]
    metrics = trigger.get("Metrics")
    for metric in metrics if isinstance(metrics, list) else []:
        stat = metric.get("MetricStat") if isinstance(metric, dict) else None
        inner = stat.get("Metric") if isinstance(stat, dict) else None
        given.append(inner.get("Dimensions") if isinstance(inner, dict) else None)
    found: dict[str, str] = {}
    for entry in (entry for part in given if isinstance(part, list) for entry in part if isinstance(entry, dict)):
        name, value = entry.get("name", entry.get("Name")), entry.get("value", entry.get("Value"))
        if isinstance(name, str) and isinstance(value, str):
            found.setdefault(name, value)
    return found


def is_alarm(text: str) -> bool:
    """Say whether the text of a notification is an alarm."""
    try:
        said = msgspec.json.decode(text.encode("utf-8", "replace"))
    except (msgspec.DecodeError, RecursionError):
        return False
    return isinstance(said, dict) and "AlarmName" in said and "NewStateValue" in said


# -- logs --------------------------------------------------------------------------------------------------------------


def decode_firehose(max_bytes: int, body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[LogEvent]:
    """Return the log events of a request of Firehose's HTTP endpoint: `{records: [{data: base64}]}`, where each holds the
    data of a logs subscription, with gzip or without."""
    records = _object(body, "request").get("records")
    if not isinstance(records, list):
        raise PayloadError("The request has no records.")
    decoded: Decoded[LogDraft] = Decoded()
    left = max_bytes
    for number, record in enumerate(records, 1):
        try:
            data = _record_bytes(record, left)
            left -= len(data)
            _take_subscriptions(decoded, data, environment, now_us)
        except PayloadError as exc:
            decoded.refuse(f"record {number}: {exc}", {"records": [record]})
    return with_templates(decoded)


def decode_subscription(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[LogEvent]:
    """Return the log events of a subscription's data: as a function gets it (`{awslogs: {data}}`), or as it is inside."""
    decoded: Decoded[LogDraft] = Decoded()
    _take_subscriptions(decoded, body, environment, now_us)
    return with_templates(decoded)


def unwrap_subscription(body: bytes, max_bytes: int) -> bytes:
    """Return what is inside of `{"awslogs": {"data": base64 of gzip}}`; other bodies as they are."""
    outer = _object(body, "body")
    inner = outer.get("awslogs")
    return _record_bytes(inner, max_bytes) if isinstance(inner, dict) else body


def _record_bytes(record: Any, max_bytes: int) -> bytes:
    data = record.get("data") if isinstance(record, dict) else None
    if not isinstance(data, str):
        raise PayloadError("it has no data")
    try:
        raw = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as exc:
        raise PayloadError(f"its data is not base64: {exc}") from exc
    return decompress(raw, "gzip" if raw.startswith(b"\x1f\x8b") else "", max(1, max_bytes))


def _take_subscriptions(decoded: Decoded[LogDraft], data: bytes, environment: str, now_us: int) -> None:
    for said in _objects(data):
        if said.get("messageType") == "CONTROL_MESSAGE":  # asks whether the destination is there
            continue
        events = said.get("logEvents")
        if not isinstance(events, list):
            raise PayloadError("it holds no logEvents")
        group, stream = (clean_name(str(said.get(key, "")), 255) for key in ("logGroup", "logStream"))
        reader = LineReader()
        for number, event in enumerate(events, 1):
            try:
                decoded.records.append(_draft(event, group, stream, reader, environment, now_us))
            except ValueError as exc:
                decoded.refuse_as(f"{group}, event {number}: {exc}", partial(_alone, said, event))


def _alone(said: Mapping[str, Any], event: Any) -> dict[str, Any]:
    return {**said, "logEvents": [event]}


def _draft(event: Any, group: str, stream: str, reader: LineReader, environment: str, now_us: int) -> LogDraft:
    if not isinstance(event, dict) or not isinstance(event.get("message"), str):
        raise ValueError("it has no message")
    time_us = parse_time_us(event.get("timestamp", ""))
    line = reader.read(group, event["message"], time_us or now_us)
    return draft_log_event(
        line.message,
        environment=environment,
        time_us=time_us,
        service=line.service or clean_name(group.rpartition("/")[2]) or UNKNOWN_SERVICE,
        level=line.level,
        node=line.node or clean_name(stream),
        trace_id=line.trace_id,
        span_id=line.span_id,
        attributes={**line.attributes, "aws.log_group": group, "aws.log_stream": stream},
    )


def _objects(data: bytes) -> Iterator[Mapping[str, Any]]:
    """Return the JSON objects of a text; Firehose may put several after each other, one a line."""
    for line in data.splitlines():
        if line.strip():
            yield _object(line, "data")


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadError(f"The {what} is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise PayloadError(f"The {what} is no JSON object.")
    return value

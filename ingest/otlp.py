"""OTLP logs, traces and metrics, as protobuf or JSON, to the records of `domain.telemetry`.

JSON as the specification asks (hex ids, 64-bit integers as text) and as exporters really send it: base64 ids, integers
as numbers, enums by name, snake_case keys, unknown fields. A bad record is rejected alone; a payload that cannot be
decoded at all raises PayloadError.
"""

from __future__ import annotations

import base64
import binascii
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import msgspec
from google.protobuf.json_format import MessageToDict, ParseDict, ParseError  # type: ignore[import-untyped]  # ships no types
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, InstrumentationScope, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import HistogramDataPoint, Metric, NumberDataPoint
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import Span as ProtoSpan

from domain.errors import PayloadError, UnsupportedMediaType
from domain.telemetry import DEFAULT_ENVIRONMENT, UNKNOWN_SERVICE, Level, LogEvent, MetricPoint, Scalar, Span, SpanKind
from domain.times import LATEST_US
from ingest.agent_events import AgentSpan, span_events
from ingest.agent_spans import is_agent_span, read_agent_span
from ingest.bucket_memory import BucketMemory
from ingest.fields import (
    MESSAGE_BYTES,
    VALUE_BYTES,
    attribute_name,
    clean_environment,
    clean_name,
    clean_scalar,
    clean_text,
    note_cut,
    parse_level,
    severity_level,
)
from ingest.log_event import LogDraft, with_templates
from ingest.payload import Decoded, media_type, parse_json

PROTOBUF = "application/x-protobuf"
JSON = "application/json"

_ENVIRONMENT_KEYS = ("deployment.environment.name", "deployment.environment")
_CUMULATIVE = 2  # AGGREGATION_TEMPORALITY_CUMULATIVE
_POD_KEYS = ("k8s.namespace.name", "k8s.pod.name")
_INSTANCE_KEYS = (*_POD_KEYS, "service.instance.id")
_STACK_CHARS = 4000
_STATUS_ERROR = 2
_ZEROES = bytes(16)
_NO_VALUE = 1  # DataPointFlags: the series says that it has no value
_QUANTILES = (0.5, 0.95)

# What a payload holds, flattened: the resource, the scope's name and the record.
type _Items = Iterator[tuple["_Origin", str, "Message | _Unreadable"]]


def decode_logs(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[LogEvent]:
    """Return the log events of an ExportLogsServiceRequest; `environment` is for those that name none."""
    decoded: Decoded[LogDraft] = Decoded()
    items = _items(body, content_type, environment, ExportLogsServiceRequest, ("resource_logs", "scope_logs"))
    for number, (origin, scope, record) in enumerate(items, 1):
        try:
            draft, undated = _draft(origin, scope, _readable(record), now_us)
        except ValueError as exc:
            _refuse(decoded, f"log record {number}: {exc}", "scope_logs", origin, scope, record)
            continue
        if undated:
            decoded.undated.add(len(decoded.records))
        decoded.records.append(draft)
    return with_templates(decoded)


def decode_traces(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Span]:
    """Return the spans of an ExportTraceServiceRequest; those of agent traces are set apart, in `agent_records`."""
    decoded: Decoded[Span] = Decoded()
    items = _items(body, content_type, environment, ExportTraceServiceRequest, ("resource_spans", "scope_spans"))
    for number, (origin, scope, record) in enumerate(items, 1):
        try:
            span = _readable(record)
            if is_agent_span(pair.key for pair in span.attributes):
                decoded.agent_records.append(list(span_events(_agent_span(origin, span))))
            else:
                decoded.records.append(_span(origin, scope, span))
        except ValueError as exc:
            _refuse(decoded, f"span {number}: {exc}", "scope_spans", origin, scope, record)
    return decoded


def decode_metrics(
    body: bytes, content_type: str, environment: str, now_us: int, memory: BucketMemory | None = None
) -> Decoded[MetricPoint]:
    """Return the points of an ExportMetricsServiceRequest.

    Gauges and sums as they are; histograms as `<name>.count`, `.sum`, `.p50` and `.p95` (interpolated in the buckets),
    exponential ones as `.count` and `.sum`; summaries as `.count`, `.sum` and one series per quantile. With a `memory` the
    quantiles of a cumulative histogram are those of the time since its last sample; without, of its whole life.
    """
    decoded: Decoded[MetricPoint] = Decoded()
    items = _items(body, content_type, environment, ExportMetricsServiceRequest, ("resource_metrics", "scope_metrics"))
    for number, (origin, scope, record) in enumerate(items, 1):
        try:
            metric = _readable(record)
            name = clean_name(metric.name, 180)
            if not name:
                raise ValueError("it has no name")
        except ValueError as exc:
            _refuse(decoded, f"metric {number}: {exc}", "scope_metrics", origin, scope, record, _count_points(record))
            continue
        place = (origin.environment, origin.service, origin.node, _instance(origin), name)
        for point in _data_points(metric, memory, place):
            try:
                _take_points(decoded, origin, name, point, now_us)
            except ValueError as exc:
                one = _with_one_point(metric, point.message)
                _refuse(decoded, f"metric {name}: {exc}", "scope_metrics", origin, scope, one)
    return decoded


# -- from bytes to protobuf records ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Origin:
    """What a resource says of all its records. `problem` is why none of them can be taken, or empty.

    `pod` are those of its attributes that its records get; `resource` is the resource as it was sent.
    """

    environment: str
    service: str
    node: str
    version: str
    attributes: Mapping[str, Scalar]
    pod: tuple[tuple[str, Scalar], ...]
    resource: Message
    problem: str = ""


@dataclass(frozen=True, slots=True)
class _Unreadable:
    """A record in JSON that is none, and why."""

    reason: str
    raw: Mapping[str, Any]


def _refuse(
    decoded: Decoded[Any],
    reason: str,
    scopes: str,
    origin: _Origin,
    scope: str,
    record: Message | _Unreadable,
    count: int = 1,
) -> None:
    """Count a record that is not taken, and keep it as a request of its own, in JSON, while there is room for such."""
    decoded.refuse_as(reason, lambda: _alone(scopes, origin, scope, record), count)


def _alone(scopes: str, origin: _Origin, scope: str, record: Message | _Unreadable) -> dict[str, Any]:
    raw = record.raw if isinstance(record, _Unreadable) else MessageToDict(record)
    block = {"scope": {"name": scope}, _camel(_RECORDS[scopes]): [raw]}
    resource = {"resource": MessageToDict(origin.resource), _camel(scopes): [block]}
    return {_camel(scopes.replace("scope", "resource")): [resource]}


def _items(body: bytes, content_type: str, environment: str, request: Any, path: tuple[str, str]) -> _Items:
    match media_type(content_type):
        case "application/x-protobuf" | "application/protobuf":
            message = request()
            try:
                message.ParseFromString(body)
            except (DecodeError, RecursionError) as exc:
                raise PayloadError(f"The body is not an OTLP protobuf message: {exc}") from exc
            return _protobuf_items(message, environment, *path)
        case "application/json":
            value = parse_json(body, content_type)
            if not isinstance(value, dict):
                raise PayloadError(f"The body must be one JSON object with {_camel(path[0])!r}.")
            return _json_items(value, environment, *path)
        case other:
            raise UnsupportedMediaType(f"Content-Type {other[:64]!r} is not taken: send {PROTOBUF} or {JSON}.")


_RECORDS = {"scope_logs": "log_records", "scope_spans": "spans", "scope_metrics": "metrics"}
_MESSAGES: dict[str, Any] = {"scope_logs": LogRecord, "scope_spans": ProtoSpan, "scope_metrics": Metric}


def _protobuf_items(message: Any, environment: str, resources: str, scopes: str) -> _Items:
    for block in getattr(message, resources):
        origin = _read_origin(block.resource, environment)
        for scope in getattr(block, scopes):
            name = clean_name(scope.scope.name)
            for record in getattr(scope, _RECORDS[scopes]):
                yield origin, name, record


def _json_items(value: Mapping[str, Any], environment: str, resources: str, scopes: str) -> _Items:
    for block in _objects(value, resources):
        origin = _read_origin(_from_json(Resource, _field(block, "resource", {})), environment)
        for scope in _objects(block, scopes):
            name = clean_name(_from_json(InstrumentationScope, _field(scope, "scope", {})).name)
            for record in _objects(scope, _RECORDS[scopes]):
                try:
                    yield origin, name, _from_json(_MESSAGES[scopes], _with_bytes_ids(record))
                except PayloadError as exc:
                    yield origin, name, _Unreadable(str(exc), record)


def _objects(value: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    found = _field(value, name, [])
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise PayloadError(f"{_camel(name)!r} must be an array of objects.")
    return found


def _field(value: Mapping[str, Any], name: str, default: Any) -> Any:
    found = value.get(_camel(name), value.get(name))
    return default if found is None else found


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def _from_json(message: Any, value: Any) -> Any:
    try:
        return ParseDict(value, message(), ignore_unknown_fields=True)
    except (ParseError, ValueError, TypeError, AttributeError, RecursionError) as exc:
        raise PayloadError(f"not OTLP JSON: {exc}") from exc


_ID_BYTES = {"trace_id": 16, "span_id": 8, "parent_span_id": 8}


def _with_bytes_ids(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record whose ids are base64, as protobuf's JSON wants them; what is no id becomes an empty one."""
    plain = {key: value for key, value in record.items() if key != "links"}
    for name, size in _ID_BYTES.items():
        for key in (_camel(name), name):
            if key in plain:
                plain[key] = base64.b64encode(_id_bytes(plain[key], size)).decode()
    return plain


def _id_bytes(text: Any, size: int) -> bytes:
    try:
        if isinstance(text, str) and len(text) == 2 * size:
            return bytes.fromhex(text)
        if isinstance(text, str) and len(text) == (size + 2) // 3 * 4:
            return base64.b64decode(text, altchars=b"-_" if "-" in text or "_" in text else None, validate=True)
    except (ValueError, binascii.Error):
        pass
    return b""


def _readable(record: Message | _Unreadable) -> Any:
    if isinstance(record, _Unreadable):
        raise ValueError(record.reason)
    return record


# -- shared by all three -----------------------------------------------------------------------------------------------


def _read_origin(resource: Resource, environment: str) -> _Origin:
    said = _read_attributes(resource.attributes)
    problem = ""
    name = ""
    try:
        name = _environment(said) or clean_environment(environment) or DEFAULT_ENVIRONMENT
    except ValueError as exc:
        problem = f"deployment.environment.name: {exc}"
    return _Origin(
        environment=name,
        service=_name(said, "service.name") or UNKNOWN_SERVICE,
        node=_name(said, "k8s.node.name") or _name(said, "host.name"),
        version=_name(said, "service.version"),
        attributes={key: said[key] for key in _INSTANCE_KEYS if said.get(key) not in (None, "")},
        pod=tuple((key, said[key]) for key in _POD_KEYS if said.get(key) not in (None, "")),
        resource=resource,
        problem=problem,
    )


def _environment(attributes: Mapping[str, Scalar]) -> str:
    for key in _ENVIRONMENT_KEYS:
        if key in attributes and (name := clean_environment(str(attributes[key]))):
            return name
    return ""


def _name(attributes: Mapping[str, Scalar], key: str) -> str:
    value = attributes.get(key)
    return "" if value is None else clean_name(str(value))


def _read_attributes(pairs: Iterable[KeyValue]) -> dict[str, Scalar]:
    found: dict[str, Scalar] = {}
    for pair in pairs:
        value = pair.value
        text = value.string_value
        # Nearly all are text; any other kind reads as an empty one here.
        found[attribute_name(pair.key)] = clean_text(text, VALUE_BYTES) if text else clean_scalar(_read_value(value))
    return found


def _read_value(value: AnyValue) -> Any:
    match value.WhichOneof("value"):
        case "string_value":
            return value.string_value
        case "int_value":
            return value.int_value
        case "bool_value":
            return value.bool_value
        case "double_value":
            return value.double_value
        case "array_value":
            return [_read_value(item) for item in value.array_value.values]
        case "kvlist_value":
            return {pair.key: _read_value(pair.value) for pair in value.kvlist_value.values}
        case "bytes_value":
            return base64.b64encode(value.bytes_value).decode()
    return None


def _hex(raw: bytes, size: int) -> str:
    """Return lower-case hex of an id, or an empty text for what is none (a wrong length, zeros only)."""
    return raw.hex() if len(raw) == size and raw != _ZEROES[:size] else ""


def _micros(nanos: int) -> int:
    if nanos // 1000 > LATEST_US:
        raise ValueError("its time lies after 2262")
    return nanos // 1000


# -- logs --------------------------------------------------------------------------------------------------------------


def _draft(origin: _Origin, scope: str, record: Any, now_us: int) -> tuple[LogDraft, bool]:
    if origin.problem:
        raise ValueError(origin.problem)
    nanos = record.time_unix_nano or record.observed_time_unix_nano
    attributes = _read_attributes(record.attributes)
    environment = _environment(attributes) or origin.environment
    for key, value in origin.pod:
        attributes.setdefault(key, value)
    if scope:
        attributes["logger"] = scope
    _shorten_stack(attributes)
    text = record.body.string_value or _body_text(record, attributes)
    message = clean_text(text, MESSAGE_BYTES)
    draft = LogDraft(
        environment,
        _micros(nanos) if nanos else now_us,
        origin.service,
        severity_level(record.severity_number) or parse_level(record.severity_text) or Level.INFO,
        message,
        origin.node,
        _hex(record.trace_id, 16),
        _hex(record.span_id, 8),
        note_cut(attributes, text, message),
    )
    return draft, not nanos


def _body_text(record: Any, attributes: Mapping[str, Scalar]) -> str:
    body = _read_value(record.body)
    if isinstance(body, str) and body:
        return body
    if body is None or body == "":
        return str(record.event_name) or _exception_text(attributes)
    return msgspec.json.encode(body).decode()


def _status_text(message: str, attributes: Mapping[str, Scalar]) -> str:
    """Return a span's status message; the exception's type goes before one that is the exception's bare message."""
    if not message:
        return _exception_text(attributes)
    kind = attributes.get("exception.type")
    bare = kind and message == str(attributes.get("exception.message", ""))
    return f"{kind}: {message}" if bare else message


def _exception_text(attributes: Mapping[str, Scalar]) -> str:
    parts = (attributes.get("exception.type"), attributes.get("exception.message"))
    return ": ".join(str(part) for part in parts if part not in (None, ""))


def _shorten_stack(attributes: dict[str, Scalar]) -> None:
    stack = attributes.get("exception.stacktrace")
    if isinstance(stack, str) and len(stack) > _STACK_CHARS:
        half = _STACK_CHARS // 2
        attributes["exception.stacktrace"] = f"{stack[:half]}\n... {len(stack) - 2 * half} more ...\n{stack[-half:]}"


# -- traces ------------------------------------------------------------------------------------------------------------


def _span_basics(origin: _Origin, record: Any) -> tuple[str, str, int]:
    """Return a span's trace id, its own id and its start in nanoseconds; raises ValueError for what is no span."""
    if origin.problem:
        raise ValueError(origin.problem)
    trace_id, span_id = _hex(record.trace_id, 16), _hex(record.span_id, 8)
    if not trace_id or not span_id:
        raise ValueError(f"its {'span' if trace_id else 'trace'} id is missing or malformed")
    start = record.start_time_unix_nano or record.end_time_unix_nano
    if not start:
        raise ValueError("it has neither a start nor an end")
    return trace_id, span_id, start


def _agent_span(origin: _Origin, record: Any) -> AgentSpan:
    trace_id, span_id, start = _span_basics(origin, record)
    attributes = {pair.key: _read_value(pair.value) for pair in record.attributes}
    events = [
        (event.name, _micros(event.time_unix_nano), {pair.key: _read_value(pair.value) for pair in event.attributes})
        for event in record.events
    ]
    return read_agent_span(
        environment=_environment(attributes) or origin.environment,
        service=origin.service,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_hex(record.parent_span_id, 8),
        name=record.name,
        start_us=_micros(start),
        end_us=_micros(record.end_time_unix_nano),
        status_code=record.status.code,
        status_message=record.status.message,
        attributes=attributes,
        events=events,
    )


def _span(origin: _Origin, scope: str, record: Any) -> Span:
    trace_id, span_id, start = _span_basics(origin, record)
    attributes = _read_attributes(record.attributes)
    for event in record.events:
        if event.name == "exception":
            attributes |= _read_attributes(pair for pair in event.attributes if pair.key.startswith("exception."))
    environment = _environment(attributes) or origin.environment
    for key, value in origin.pod:
        attributes.setdefault(key, value)
    if scope:
        attributes["logger"] = scope
    _shorten_stack(attributes)
    kind = SpanKind(record.kind) if 0 <= record.kind <= SpanKind.CONSUMER else SpanKind.UNSPECIFIED
    error = record.status.code == _STATUS_ERROR
    message = _status_text(record.status.message, attributes)
    start_us = _micros(start)
    return Span(
        environment=environment,
        trace_id=trace_id,
        span_id=span_id,
        parent_id=_hex(record.parent_span_id, 8),
        service=origin.service,
        name=clean_name(record.name, 255),
        kind=kind,
        start_us=start_us,
        duration_us=max(0, _micros(record.end_time_unix_nano) - start_us),
        error=error,
        status_message=clean_text(message),
        node=origin.node,
        version=origin.version,
        peer=_peer(attributes) if kind in (SpanKind.CLIENT, SpanKind.PRODUCER) else "",
        attributes=attributes,
    )


_PEER_ADDRESSES = (
    ("server.address", "server.port"),
    ("net.peer.name", "net.peer.port"),
    ("net.peer.ip", "net.peer.port"),
    ("network.peer.address", "network.peer.port"),
)
_PEER_NAMES = ("peer.service", "messaging.destination.name", "messaging.destination", "db.system.name", "db.system")


def _peer(attributes: Mapping[str, Scalar]) -> str:
    """Return who a client span says it calls: `host:port` where known, else the best name that there is."""
    for address, port in _PEER_ADDRESSES:
        if host := attributes.get(address):
            host = f"[{host}]" if attributes.get(port) and ":" in str(host) else host
            return clean_name(f"{host}:{attributes[port]}" if attributes.get(port) else str(host), 255)
    for key in ("url.full", "http.url"):
        if netloc := _netloc(attributes.get(key)):
            return clean_name(netloc, 255)
    return next((clean_name(str(attributes[key]), 255) for key in _PEER_NAMES if attributes.get(key)), "")


def _netloc(url: Scalar) -> str:
    try:
        return urlsplit(str(url or "")).netloc.rpartition("@")[2]
    except ValueError:
        return ""


# -- metrics -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _DataPoint:
    """One data point of any kind: its own message, and the series that it stands for."""

    message: Any
    values: tuple[tuple[str, float], ...]


def _instance(origin: _Origin) -> tuple[Scalar, ...]:
    return tuple(origin.attributes.get(key) for key in ("service.instance.id", *_POD_KEYS))


def _data_points(
    metric: Any, memory: BucketMemory | None = None, place: tuple[Hashable, ...] = ()
) -> Iterator[_DataPoint]:
    match metric.WhichOneof("data"):
        case "gauge" | "sum" as kind:
            for point in getattr(metric, kind).data_points:
                yield _DataPoint(point, (("", _number(point)),))
        case "histogram":
            whole_life = metric.histogram.aggregation_temporality == _CUMULATIVE
            for point in metric.histogram.data_points:
                held = _quantiles_since(point, memory, place) if memory and whole_life else _bucket_quantiles(point)
                yield _DataPoint(point, (*_count_and_sum(point), *held))
        case "exponential_histogram":
            for point in metric.exponential_histogram.data_points:
                yield _DataPoint(point, _count_and_sum(point))
        case "summary":
            for point in metric.summary.data_points:
                # A summary without observations says NaN for its quantiles.
                quantiles = tuple(
                    (f".p{100 * q.quantile:g}", q.value) for q in point.quantile_values if math.isfinite(q.value)
                )
                yield _DataPoint(point, ((".count", float(point.count)), (".sum", point.sum), *quantiles))


def _count_points(record: Message | _Unreadable) -> int:
    """Return how many data points are lost with a metric; one at least, so that none goes uncounted."""
    return 1 if isinstance(record, _Unreadable) else max(1, sum(1 for _ in _data_points(record)))


def _number(point: NumberDataPoint) -> float:
    match point.WhichOneof("value"):
        case "as_double":
            return point.as_double
        case "as_int":
            return float(point.as_int)
    return math.nan


def _count_and_sum(point: Any) -> tuple[tuple[str, float], ...]:
    count = (".count", float(point.count))
    return (count, (".sum", point.sum)) if point.HasField("sum") else (count,)


def _quantiles_since(
    point: HistogramDataPoint, memory: BucketMemory, place: tuple[Hashable, ...]
) -> list[tuple[str, float]]:
    series = (*place, tuple(sorted((each.key, each.value.SerializeToString()) for each in point.attributes)))
    times = point.start_time_unix_nano // 1000, point.time_unix_nano // 1000
    counts = memory.counts_since(series, *times, point.bucket_counts)
    bounds = list(point.explicit_bounds)
    if counts == list(point.bucket_counts):
        return _bucket_quantiles(point)
    # The least and the greatest that a point tells of are those of its whole life.
    return _quantiles_of(counts, bounds, min(0.0, bounds[0]), bounds[-1]) if bounds else []


def _bucket_quantiles(point: HistogramDataPoint) -> list[tuple[str, float]]:
    bounds = list(point.explicit_bounds)
    if not bounds:
        return []
    low = point.min if point.HasField("min") else min(0.0, bounds[0])
    high = point.max if point.HasField("max") else bounds[-1]
    return _quantiles_of(list(point.bucket_counts), bounds, low, high)


def _quantiles_of(counts: Sequence[int], bounds: Sequence[float], low: float, high: float) -> list[tuple[str, float]]:
    """Return quantiles by linear interpolation in the bucket that holds them, as Prometheus does."""
    total = sum(counts)
    if len(counts) != len(bounds) + 1 or not total:
        return []
    edges = [low, *bounds, high]
    found = []
    for quantile in _QUANTILES:
        rank, before = quantile * total, 0
        for at, count in enumerate(counts):
            if count and before + count >= rank:
                left, right = edges[at], max(edges[at], edges[at + 1])
                value = left + (right - left) * (rank - before) / count
                found.append((f".p{100 * quantile:g}", min(max(value, low), max(low, high))))
                break
            before += count
    return found


def _with_one_point(metric: Any, point: Message) -> Any:
    """Return a metric that holds one of its data points alone."""
    kind = metric.WhichOneof("data")
    one = Metric(name=metric.name, unit=metric.unit)
    for field, value in getattr(metric, kind).ListFields():
        if field.name != "data_points":
            setattr(getattr(one, kind), field.name, value)
    getattr(one, kind).data_points.append(point)
    return one


def _take_points(decoded: Decoded[MetricPoint], origin: _Origin, name: str, point: _DataPoint, now_us: int) -> None:
    message = point.message
    if message.flags & _NO_VALUE:
        return
    if origin.problem:
        raise ValueError(origin.problem)
    if not all(math.isfinite(value) for _, value in point.values):
        raise ValueError("its value is not a finite number")
    attributes = _read_attributes(message.attributes)
    environment = _environment(attributes) or origin.environment
    time_us = _micros(message.time_unix_nano) or now_us
    if not message.time_unix_nano:
        decoded.undated.add(len(decoded.records))
    source, destination = _name(attributes, "source"), _name(attributes, "destination")
    kept = {key: value for key, value in attributes.items() if key not in ("source", "destination")}
    for suffix, value in point.values:
        decoded.records.append(
            MetricPoint(
                environment=environment,
                time_us=time_us,
                service=origin.service,
                name=name + suffix,
                value=float(value),
                node=origin.node,
                source=source,
                destination=destination,
                attributes={**origin.attributes, **kept},
            )
        )

"""Prometheus remote write, 1.0 and 2.0, to metric points.

Service, environment and node are read from the labels, and from those of Istio, Linkerd and the service graph of
OpenTelemetry and Tempo, who calls whom. A stale marker and a value that is no finite number say nothing: they are left
out and not counted as bad.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from google.protobuf.json_format import MessageToDict, Parse, ParseError  # type: ignore[import-untyped]  # ships no types
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]  # ships no types

from domain.errors import PayloadError, UnsupportedMediaType
from domain.telemetry import UNKNOWN_SERVICE, MetricPoint
from domain.times import LATEST_US
from ingest.fields import clean_attributes, clean_environment, clean_name
from ingest.payload import Decoded, media_type
from ingest.prometheus_messages import WriteRequest, WriteRequestV2

PROTOBUF = "application/x-protobuf"
V2 = "io.prometheus.write.v2.request"
_V1 = "prometheus.writerequest"

_ENVIRONMENT_LABELS = (
    "deployment_environment_name", "deployment_environment", "deployment.environment.name", "environment", "env",
)  # fmt: skip
_SERVICE_LABELS = (
    "service_name", "service.name", "service", "app_kubernetes_io_name", "app", "application", "deployment", "job",
)  # fmt: skip
_NODE_LABELS = ("node", "kubernetes_node", "k8s_node_name", "host_name", "nodename")
_RENAMED = {"namespace": "k8s.namespace.name", "pod": "k8s.pod.name"}

_EDGE_LABELS = (
    ("source", "destination"),
    ("source_canonical_service", "destination_canonical_service"),
    ("source_app", "destination_app"),
    ("source_workload", "destination_workload"),
    ("source_workload", "destination_service_name"),
    ("deployment", "dst_deployment"),
    ("deployment", "dst_service"),
)
_SERVICE_GRAPH = "traces_service_graph_"
_NOBODY = ("", "unknown", "PassthroughCluster", "BlackHoleCluster")

type _Series = tuple[Mapping[str, str] | str, Any]  # the labels, or why they cannot be read; the rest


def decode_metrics(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[MetricPoint]:
    """Return the points of a write request; native histograms give `<name>.count` and `<name>.sum`."""
    decoded: Decoded[MetricPoint] = Decoded()
    for number, (labels, series) in enumerate(_read_series(body, content_type), 1):
        held = len(series.samples) + len(series.histograms)
        try:
            if isinstance(labels, str):
                raise ValueError(labels)
            origin = _Origin(labels, environment)
        except ValueError as exc:
            decoded.refuse_as(f"series {number}: {exc}", partial(_alone, labels, series), max(1, held))
            continue
        misdated = 0
        for name, value, timestamp in _values(origin.name, series):
            if not math.isfinite(value):
                continue
            if _is_dated(timestamp):
                decoded.records.append(origin.point(name, value, timestamp * 1000))
            else:
                misdated += 1
        if misdated:
            reason = f"series {number} ({origin.name}): {misdated} points lie before 1970 or after 2262"
            decoded.refuse_as(reason, partial(_alone, labels, series, misdated=True), misdated)
    return decoded


def _alone(labels: Mapping[str, str] | str, series: Any, *, misdated: bool = False) -> dict[str, Any]:
    """Return a series as a write request of version 1 in JSON; `misdated` leaves out what has a time that can be."""
    said = MessageToDict(series, preserving_proto_field_name=True)
    known = {} if isinstance(labels, str) else labels
    found: dict[str, Any] = {"labels": [{"name": name, "value": value} for name, value in known.items()]}
    for kind in ("samples", "histograms"):
        found[kind] = [one for one in said.get(kind, []) if not misdated or not _is_dated(int(one.get("timestamp", 0)))]
    return {"timeseries": [found]}


def _is_dated(milliseconds: int) -> bool:
    return 0 <= milliseconds * 1000 <= LATEST_US


def decode_kept(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[MetricPoint]:
    """Return the points of a write request that is kept as JSON."""
    try:
        message = Parse(body, WriteRequest(), ignore_unknown_fields=True)
    except (ParseError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadError(f"The body is not a remote write message in JSON: {exc}") from exc
    return decode_metrics(message.SerializeToString(), PROTOBUF, environment, now_us)


def is_v2(content_type: str) -> bool:
    """Say whether a body is of remote write 2.0, by its Content-Type; raises UnsupportedMediaType for what is neither."""
    if media_type(content_type) != PROTOBUF:
        raise UnsupportedMediaType("Send remote write as application/x-protobuf.")
    said = [part.strip().lower() for part in content_type.split(";")[1:]]
    proto = next((part.removeprefix("proto=").strip('"') for part in said if part.startswith("proto=")), _V1)
    if proto not in (_V1, V2):
        raise UnsupportedMediaType(f"There is no remote write message {proto[:64]!r}.")
    return proto == V2


def _read_series(body: bytes, content_type: str) -> Iterator[_Series]:
    v2 = is_v2(content_type)
    message = WriteRequestV2() if v2 else WriteRequest()
    try:
        message.ParseFromString(body)
    except (DecodeError, RecursionError) as exc:
        raise PayloadError(f"The body is not a remote write message: {exc}") from exc
    return _v2_series(message) if v2 else _v1_series(message)


def _v1_series(message: Any) -> Iterator[_Series]:
    for series in message.timeseries:
        yield {label.name: label.value for label in series.labels}, series


def _v2_series(message: Any) -> Iterator[_Series]:
    symbols = list(message.symbols)
    for series in message.timeseries:
        refs = list(series.labels_refs)
        if len(refs) % 2 or any(ref >= len(symbols) for ref in refs):
            yield "its labels_refs do not fit the symbols", series
            continue
        yield {symbols[refs[at]]: symbols[refs[at + 1]] for at in range(0, len(refs), 2)}, series


def _values(name: str, series: Any) -> Iterator[tuple[str, float, int]]:
    for sample in series.samples:
        yield name, sample.value, sample.timestamp
    for histogram in series.histograms:
        # A stale series says so in the sum.
        if math.isfinite(histogram.sum):
            yield f"{name}.count", float(histogram.count_int) or histogram.count_float, histogram.timestamp
            yield f"{name}.sum", histogram.sum, histogram.timestamp


class _Origin:
    """What the labels of a series say of all its points."""

    def __init__(self, labels: Mapping[str, str], environment: str) -> None:
        self.name = clean_name(labels.get("__name__", ""), 180)
        if not self.name:
            raise ValueError("it has no label __name__")
        try:
            self._environment = clean_environment(_said(labels, _ENVIRONMENT_LABELS)) or environment
        except ValueError as exc:
            raise ValueError(f"its environment: {exc}") from exc
        self._source, self._destination = _edge(self.name, labels)
        end = self._destination if labels.get("reporter") == "destination" else self._source
        self._service = clean_name(end or _said(labels, _SERVICE_LABELS)) or UNKNOWN_SERVICE
        self._node = clean_name(_said(labels, _NODE_LABELS) or _host(labels.get("instance", "")))
        kept = {_RENAMED.get(key, key): value for key, value in labels.items() if key not in _READ}
        self._attributes = clean_attributes(kept.items())

    def point(self, name: str, value: float, time_us: int) -> MetricPoint:
        return MetricPoint(
            environment=self._environment,
            time_us=time_us,
            service=self._service,
            name=name,
            value=value,
            node=self._node,
            source=self._source,
            destination=self._destination,
            attributes=self._attributes,
        )


_READ = frozenset(("__name__", "source", "destination"))


def _edge(name: str, labels: Mapping[str, str]) -> tuple[str, str]:
    pairs = (("client", "server"),) if name.startswith(_SERVICE_GRAPH) else _EDGE_LABELS
    for source, destination in pairs:
        ends = clean_name(labels.get(source, "")), clean_name(labels.get(destination, ""))
        if not any(end in _NOBODY for end in ends):
            return ends
    return "", ""


def _said(labels: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((labels[key] for key in keys if labels.get(key)), "")


def _host(instance: str) -> str:
    host, colon, port = instance.rpartition(":")
    return host.removeprefix("[").removesuffix("]") if colon and port.isdecimal() else instance

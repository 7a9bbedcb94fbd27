"""What a made-up system sends: its spans, logs and metrics in one of the shapes, its changes and its orchestrator's events."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.replay import send
from bench.server import Server
from bench.worlds import Fault, System, Told

_BATCH = 4_000
_COARSE_S = 60
_SECOND_NS = 1_000_000_000


def send_told(server: Server, environment: str, shape: str, twist: str, system: System, told: Told) -> None:
    """Send what a system of this shape would send, through the ways in that a user has."""
    with_spans = shape == "a" or (shape == "e" and twist != "edges")
    if shape in ("b", "d"):
        edges = [{"source": caller, "target": callee} for caller, callee in system.edges()]
        _post(server, "/ingest/topology", {"edges": edges}, environment)
    if with_spans:
        send(server, "/v1/traces", span_exports(told.spans), environment)
    if with_spans or shape == "b":
        for at in range(0, len(told.logs), _BATCH):
            _post(server, "/ingest/logs", told.logs[at : at + _BATCH], environment)
    if with_spans:
        send(server, "/v1/metrics", metric_exports(told.metrics), environment)
    if shape == "c" or twist == "edges":
        send(server, "/v1/metrics", edge_exports(told), environment)
    if shape == "d":
        send(server, "/v1/metrics", metric_exports(coarse(told)), environment)


def _post(server: Server, path: str, body: Any, environment: str) -> None:
    with server.client() as client:
        client.post(path, params={"environment": environment}, json=body).raise_for_status()


def _resource(service: str) -> Resource:
    return Resource(attributes=_attributes({"service.name": service}))


def _attributes(values: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items() if value]


def span_exports(spans: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """Yield OTLP trace exports."""
    for at in range(0, len(spans), _BATCH):
        request = ExportTraceServiceRequest()
        groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for row in spans[at : at + _BATCH]:
            groups[row["service"]].append(row)
        for service, rows in groups.items():
            scope = request.resource_spans.add(resource=_resource(service)).scope_spans.add()
            for row in rows:
                host, _, port = row["peer"].partition(":")
                span = scope.spans.add(
                    trace_id=bytes.fromhex(row["trace"]),
                    span_id=bytes.fromhex(row["span"]),
                    parent_span_id=bytes.fromhex(row["parent"]),
                    name=row["name"],
                    kind=row["kind"],
                    start_time_unix_nano=int(row["at"] * _SECOND_NS),
                    end_time_unix_nano=int((row["at"] + row["took"]) * _SECOND_NS),
                    attributes=_attributes({"server.address": host, "server.port": port}),
                )
                if row["error"]:
                    span.status.code = 2
                    span.status.message = row["error"]
        yield request.SerializeToString()


def metric_exports(samples: Sequence[dict[str, Any]]) -> Iterator[bytes]:
    """Yield OTLP metric exports of samples per service."""
    for at in range(0, len(samples), _BATCH):
        request = ExportMetricsServiceRequest()
        for row in samples[at : at + _BATCH]:
            scope = request.resource_metrics.add(resource=_resource(row["service"])).scope_metrics.add()
            gauge = scope.metrics.add(name=row["name"]).gauge
            gauge.data_points.add(time_unix_nano=int(row["at"] * _SECOND_NS), as_double=row["value"])
        yield request.SerializeToString()


def edge_exports(told: Told) -> Iterator[bytes]:
    """Yield OTLP metric exports per edge and version, as a mesh reports them."""
    request = ExportMetricsServiceRequest()
    scope = request.resource_metrics.add(resource=_resource("mesh")).scope_metrics.add()
    gauges = {name: scope.metrics.add(name=name).gauge for name in _EDGE_METRICS}
    for (source, target, version, step), sums in sorted(told.called.items(), key=lambda item: item[0][3]):
        attributes = _attributes({"source": source, "destination": target, "version": version})
        for name, value in zip(_EDGE_METRICS, _per_call(sums), strict=True):
            gauges[name].data_points.add(time_unix_nano=step * _SECOND_NS, as_double=value, attributes=attributes)
    yield request.SerializeToString()


_EDGE_METRICS = ("request_count", "request_errors", "request_duration_ms")


def _per_call(sums: Sequence[float]) -> tuple[float, float, float]:
    count, errors, seconds = sums
    return count, errors, 1000 * seconds / count


def coarse(told: Told) -> list[dict[str, Any]]:
    """Return requests, errors and mean latency per service and minute: what each took in, whoever asked."""
    sums: dict[tuple[str, int], list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    for (_, target, _, step), held in told.called.items():
        into = sums[target, step // _COARSE_S * _COARSE_S]
        for at, value in enumerate(held):
            into[at] += value
    for span in told.spans:
        if span["kind"] == 2 and not span["parent"]:
            into = sums[span["service"], int(span["at"]) // _COARSE_S * _COARSE_S]
            into[0] += 1
            into[1] += bool(span["error"])
            into[2] += span["took"]
    names = ("requests", "faults", "latency_average_ms")
    return [
        {"service": service, "at": float(step), "name": name, "value": value}
        for (service, step), held in sorted(sums.items())
        for name, value in zip(names, _per_call(held), strict=True)
    ]


def report_changes(twist: str, system: System, fault: Fault, rng: random.Random, broken: float) -> list[dict[str, Any]]:
    """Return the changes that were reported: the one to blame among others that are innocent."""

    def change(service: str, kind: str, summary: str, at: float) -> dict[str, Any]:
        return {"timestamp": at, "service": service, "kind": kind, "version": "2", "summary": summary}

    match twist:
        case "deploys":
            others = [name for name in system.services[1:] if name != fault.service]
            chosen = [*rng.sample(others, min(5, len(others))), fault.service]
            rng.shuffle(chosen)
            return [change(s, "deploy", "weekly release", broken - 50 + 5 * n) for n, s in enumerate(chosen)]
        case "crash" | "address":
            decoy = rng.choice([name for name in system.services if name != fault.service])
            return [
                change(decoy, "deploy", "new texts", broken - 40),
                change(fault.service, "config", "tidy variables", broken - 20),
            ]
        case "rolling":
            return [change(s, "deploy", "weekly release", broken + 5 * n) for n, s in enumerate(system.services[1:5])]
        case _:
            return []


_TROUBLE: dict[str, tuple[tuple[str, str], ...]] = {
    "image": (
        ("Failed", 'Failed to pull image "registry.local/app:2": not found'),
        ("Failed", "Error: ErrImagePull"),
        ("BackOff", "Back-off pulling image"),
    ),
    "schedule": (("FailedScheduling", "0/3 nodes are available: 3 Insufficient memory."),),
    "quota": (("FailedCreate", "Error creating: pods is forbidden: exceeded quota: compute, requested: cpu=2"),),
    "admission": (("FailedCreate", 'admission webhook "policy.local" denied the request: no limits are set'),),
    "crash": (("BackOff", "Back-off restarting failed container app in pod"),),
    "oom": (
        ("OOMKilling", "Memory cgroup out of memory: Killed process 17 (java)"),
        ("BackOff", "Back-off restarting"),
    ),
}


def report_events(twist: str, system: System, fault: Fault, rng: random.Random, broken: float) -> list[dict[str, Any]]:
    """Return the orchestrator's events: of the cause, of callers that are not ready for its sake, and everyday ones."""

    def event(service: str, kind: str, reason: str, text: str, at: float) -> dict[str, Any]:
        pod = f"pod/{service}-{rng.getrandbits(36):09x}-{rng.getrandbits(20):05x}"
        return {"timestamp": at, "kind": kind, "object": pod, "reason": reason, "text": text}

    rows = [event(system.loud, "Normal", "Pulled", "Container image already present", broken - 100)]
    if twist in _TROUBLE:
        for n in range(4):
            rows += [
                event(fault.service, "Warning", reason, text, broken + 1 + 30 * n) for reason, text in _TROUBLE[twist]
            ]
        callers = [caller for caller, callee in system.edges() if callee == fault.service]
        rows += [
            event(caller, "Warning", "Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503", at)
            for caller in callers
            for at in (broken + 12, broken + 22, broken + 32, broken + 42, broken + 52, broken + 62)
        ]
    if twist in ("rolling", "restarts"):
        rows += list(_everyday(system.services[1:5], event, broken))
    return rows


def _everyday(services: Iterable[str], event: Any, broken: float) -> Iterator[dict[str, Any]]:
    for number, service in enumerate(services):
        at = broken + 15 * number
        yield event(service, "Normal", "ScalingReplicaSet", f"Scaled up replica set {service}-7d9f to 1", at)
        yield event(service, "Normal", "Scheduled", "Successfully assigned", at + 1)
        yield event(service, "Warning", "Unhealthy", "Readiness probe failed: connection refused", at + 3)
        yield event(service, "Normal", "Started", "Started container", at + 4)
        yield event(service, "Normal", "Killing", "Stopping container app", at + 6)

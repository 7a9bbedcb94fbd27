"""A generated day as a system tells of it that sends no request traces: by its log lines, or by the counters of a mesh."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

type Shape = Literal["spans", "logs", "metrics"]

_NS = 1_000_000_000
_PORTION_S = 10
_SERVER = 2
_INFO, _WARN, _ERROR = 9, 13, 17
_JOB_EVERY = 120  # portions
_CUMULATIVE = 2


@dataclass(frozen=True, slots=True)
class Call:
    """One span as it will be sent."""

    trace: int
    span: int
    parent: int
    service: str
    kind: int
    start_s: float
    took_s: float
    failed: bool


def encode_lines(calls: Iterable[Call], start_ns: int, number: int) -> bytes:
    """Return an ExportLogsServiceRequest: a line per request, a mailer's everlasting complaints, a job's now and then."""
    choose = random.Random(number)
    begin_ns = start_ns + number * _PORTION_S * _NS
    lines: defaultdict[str, list[tuple[int, int, str]]] = defaultdict(list)
    for call in calls:
        if call.kind == _SERVER:
            at = start_ns + round((call.start_s + call.took_s) * _NS)
            said = f"request {call.trace} " + ("failed: KeyError: 'price'" if call.failed else "served")
            lines[call.service].append((at, _ERROR if call.failed else _INFO, said))
    for _ in range(choose.randrange(2, 9)):
        at = begin_ns + choose.randrange(_PORTION_S * _NS)
        lines["mailer"].append((at, choose.choice((_INFO, _ERROR)), f"mail to box {choose.randrange(10**5)} bounced"))
    for n in range(4):
        broken = number % _JOB_EVERY < 5
        said = f"invoice {choose.randrange(10**5)} " + ("has no address" if broken else "written")
        lines["invoices"].append((begin_ns + n * _NS, _ERROR if broken else _INFO, said))
    request = ExportLogsServiceRequest()
    for service, told in sorted(lines.items()):
        scope = request.resource_logs.add(resource=_resource(service)).scope_logs.add()
        scope.log_records.extend(
            LogRecord(time_unix_nano=at, severity_number=level, body=AnyValue(string_value=said))  # type: ignore[arg-type]  # an enum
            for at, level, said in told
        )
    body: bytes = request.SerializeToString()
    return body


@dataclass(slots=True)
class Mesh:
    """What proxies have counted since they were started: requests per answer, and their durations."""

    totals: dict[tuple[str, str, str], int] = field(default_factory=dict)
    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    callers: dict[int, str] = field(default_factory=dict)

    def count(self, calls: Sequence[Call]) -> None:
        """Count what was answered; a call's service is the caller where its span is of the client's side."""
        for call in calls:
            if call.kind != _SERVER:
                self.callers[call.span] = call.service
        for call in calls:
            if call.kind == _SERVER:
                edge = (self.callers.pop(call.parent, "customers") if call.parent else "customers", call.service)
                key = (*edge, "500" if call.failed else "200")
                self.totals[key] = self.totals.get(key, 0) + 1
                self.seconds[edge] = self.seconds.get(edge, 0.0) + call.took_s

    def encode(self, at_ns: int) -> bytes:
        """Return an ExportMetricsServiceRequest of all totals."""
        request = ExportMetricsServiceRequest()
        scope = request.resource_metrics.add(resource=_resource("mesh")).scope_metrics.add()
        names = ("requests_total", "request_duration_seconds_sum", "request_duration_seconds_count")
        sums = {name: scope.metrics.add(name=name).sum for name in names}
        for held in sums.values():
            held.aggregation_temporality = _CUMULATIVE
            held.is_monotonic = True
        for (source, target, status), value in sorted(self.totals.items()):
            said = _attributes({"source": source, "destination": target, "response_code": status})
            sums[names[0]].data_points.add(time_unix_nano=at_ns, as_int=value, attributes=said)
        for edge, seconds in sorted(self.seconds.items()):
            said = _attributes(dict(zip(("source", "destination"), edge, strict=True)))
            requests = sum(count for key, count in self.totals.items() if key[:2] == edge)
            sums[names[1]].data_points.add(time_unix_nano=at_ns, as_double=seconds, attributes=said)
            sums[names[2]].data_points.add(time_unix_nano=at_ns, as_int=requests, attributes=said)
        body: bytes = request.SerializeToString()
        return body


def _resource(service: str) -> Resource:
    return Resource(attributes=_attributes({"service.name": service}))


def _attributes(values: dict[str, str]) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]

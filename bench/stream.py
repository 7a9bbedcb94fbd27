"""Hours of a healthy shop with a few faults, sent through OTLP: what is noticed, how soon, and what is only noise?

    python -m bench.stream [--hours 4] [--rate 2.0] [--seed N] [--shape spans|logs|metrics] [--json]
    python -m bench.stream --live FAULT      # the real shop with one of its faults, by the clock

The traffic is generated: waves of day and night, noise, deploys with restarts and cold starts, and faults at known
times. It is sent in portions of ten seconds as fast as the server takes it; all times are those of the records, which lie
some hours back. Beside ours stands the rule that everybody writes first: an alarm for each service and minute with more
than 5 % of errors, a mean duration above twice that of the first half hour, or no request at all.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.server import Server, start_server
from bench.stream_shapes import Call, Mesh, Shape, encode_lines

_NS = 1_000_000_000
_PORTION_S = 10
_SERVER, _CLIENT = 2, 3
_ERROR = 2
# operation of a service: typical duration (s) of its own, and what it calls
_CALLS: dict[str, tuple[str, float, tuple[str, ...]]] = {
    "storefront": ("POST /checkout", 0.010, ("checkout", "recommendations")),
    "checkout": ("POST /orders", 0.015, ("inventory", "payment")),
    "inventory": ("POST /reservations", 0.012, ()),
    "payment": ("POST /charges", 0.030, ()),
    "recommendations": ("GET /recommendations", 0.008, ()),
}


@dataclass(frozen=True, slots=True)
class Injected:
    """A fault from `start_s` to `end_s` of the day: a share fails, durations grow, or requests stay away."""

    name: str
    service: str
    start_s: float
    end_s: float
    failing: float = 0.0
    slower: float = 1.0
    gone: bool = False


@dataclass(slots=True)
class Day:
    """The generated traffic of some hours."""

    hours: float
    rate: float
    choose: random.Random
    faults: tuple[Injected, ...]
    deploys: tuple[tuple[str, float], ...]
    _spans: int = field(default=0)

    def requests(self) -> Iterator[list[Call]]:
        """Yield the spans of one request after another, by start."""
        at, number = 0.0, 0
        while at < self.hours * 3600:
            # A wave of four hours from peak to peak: the change of a day within the bench's time.
            at += self.choose.expovariate(self.rate * (1 + 0.5 * math.sin(2 * math.pi * at / 14_400)))
            number += 1
            calls: list[Call] = []
            self._serve("storefront", at, number, 0, calls)
            yield calls

    def _serve(self, service: str, at: float, trace: int, parent: int, calls: list[Call]) -> tuple[float, bool]:
        """Let a service take one request: return how long it took and whether it failed."""
        self._spans += 1
        span = self._spans
        fault = next((f for f in self.faults if f.service == service and f.start_s <= at < f.end_s), None)
        restarting = any(name == service and moment <= at < moment + 4 for name, moment in self.deploys)
        cold = any(name == service and moment <= at < moment + 25 for name, moment in self.deploys)
        load = 1 + 0.15 * math.sin(2 * math.pi * at / 14_400)
        own = _CALLS[service][1] * math.exp(self.choose.gauss(0, 0.4)) * load * (2.5 if cold else 1.0)
        own *= fault.slower if fault else 1.0
        failed = self.choose.random() < (fault.failing if fault else 0.0) + (0.5 if restarting else 0.0) + 0.002
        took = own
        for callee in () if failed else _CALLS[service][2]:
            stopped = any(f.gone and f.service == callee and f.start_s <= at < f.end_s for f in self.faults)
            if stopped:
                continue
            self._spans += 1
            client = self._spans
            needed, broke = self._serve(callee, at + took, trace, client, calls)
            calls.append(Call(trace, client, span, service, _CLIENT, at + took, needed + 0.001, broke))
            took += needed + 0.001
            failed = failed or (broke and callee != "recommendations")
        calls.append(Call(trace, span, parent, service, _SERVER, at, took, failed))
        return took, failed


def plan_day(hours: float, rate: float, seed: int) -> Day:
    """Return a day with five faults spread over it, and a deploy every half hour."""
    choose = random.Random(seed)
    step = (hours * 3600 - 2400) / 5
    begin = [2000 + n * step for n in range(5)]
    faults = (
        Injected("payment fails 60 %", "payment", begin[0], begin[0] + 480, failing=0.6),
        Injected("inventory 20 times slower", "inventory", begin[1], begin[1] + 480, slower=20.0),
        Injected("checkout fails for 45 s", "checkout", begin[2], begin[2] + 45, failing=1.0),
        Injected("nobody asks recommendations", "recommendations", begin[3], begin[3] + 480, gone=True),
        Injected("payment fails 15 %", "payment", begin[4], begin[4] + 480, failing=0.15),
    )
    deploys = tuple((choose.choice(sorted(_CALLS)), at + 1100.0) for at in range(0, int(hours * 3600), 1800))
    return Day(hours, rate, choose, faults, deploys)


def portions(day: Day, start_ns: int, shape: Shape) -> Iterator[tuple[str, bytes]]:
    """Yield OTLP exports, each with its path: what was told within ten seconds."""
    waiting: defaultdict[int, list[Call]] = defaultdict(list)
    mesh, sent = Mesh(), 0
    for calls in day.requests():
        for call in calls:
            waiting[int((call.start_s + call.took_s) // _PORTION_S)].append(call)
        reached = int(calls[-1].start_s // _PORTION_S)
        while sent < reached - 3:
            yield from _tell(shape, waiting.pop(sent, []), mesh, sent, start_ns)
            sent += 1
    for number in sorted(waiting):
        yield from _tell(shape, waiting[number], mesh, number, start_ns)


def _tell(shape: Shape, calls: Sequence[Call], mesh: Mesh, number: int, start_ns: int) -> Iterator[tuple[str, bytes]]:
    end_ns = start_ns + (number + 1) * _PORTION_S * _NS
    match shape:
        case "spans" if calls:
            yield "/v1/traces", encode(calls, start_ns)
        case "logs":
            yield "/v1/logs", encode_lines(calls, start_ns, number)
        case "metrics":
            mesh.count(calls)
            if number % 3 == 2:
                yield "/v1/metrics", mesh.encode(end_ns)


def _resource(service: str) -> Resource:
    return Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=service))])


def encode(calls: Sequence[Call], start_ns: int) -> bytes:
    """Return an ExportTraceServiceRequest."""
    request = ExportTraceServiceRequest()
    by_service: defaultdict[str, list[Call]] = defaultdict(list)
    for call in calls:
        by_service[call.service].append(call)
    for service, members in by_service.items():
        spans = request.resource_spans.add(resource=_resource(service)).scope_spans.add().spans
        for call in members:
            span = spans.add(
                trace_id=call.trace.to_bytes(16),
                span_id=call.span.to_bytes(8),
                parent_span_id=call.parent.to_bytes(8) if call.parent else b"",
                name=_CALLS[service][0] if call.kind == _SERVER else "call",
                kind=call.kind,
                start_time_unix_nano=start_ns + round(call.start_s * _NS),
                end_time_unix_nano=start_ns + round((call.start_s + call.took_s) * _NS),
            )
            span.status.code = _ERROR if call.failed else 1
    body: bytes = request.SerializeToString()
    return body


def send_day(server: Server, day: Day, start_ns: int, environment: str, shape: Shape) -> tuple[int, float]:
    """Send everything; return how many portions there were and the seconds that it took."""
    began, count = time.perf_counter(), 0
    headers = {"Content-Type": "application/x-protobuf"}
    with server.client() as client:
        for path, body in portions(day, start_ns, shape):
            while True:
                reply = client.post(path, params={"environment": environment}, content=body, headers=headers)
                if reply.status_code not in (429, 503):
                    break
                time.sleep(1)
            reply.raise_for_status()
            count += 1
    return count, time.perf_counter() - began


def wait_for_symptoms(server: Server, environment: str, quiet_s: float = 12.0) -> list[dict[str, Any]]:
    """Return what was noticed, once nothing has changed for a while."""
    with server.client() as client:
        last: list[dict[str, Any]] = []
        since = time.monotonic()
        while time.monotonic() - since < quiet_s:
            found = client.get("/symptoms", params={"environment": environment, "limit": 500}).json()["symptoms"]
            if found != last:
                last, since = found, time.monotonic()
            time.sleep(1)
    return sorted(last, key=lambda symptom: str(symptom["noticed"]))


@dataclass(frozen=True, slots=True)
class Score:
    """What became of one fault: seconds until the first symptom was sure, and how it was seen to end."""

    fault: str
    noticed_after_s: float | None
    first: str
    symptoms: int
    ended: str
    by_rule_s: float | None


def score(day: Day, symptoms: Sequence[dict[str, Any]], start_ns: int, alarms: Sequence[float]) -> list[Score]:
    """Match symptoms to faults by time: one that begins within a fault, or up to a minute after, is its."""
    scores = []
    for fault in day.faults:
        mine = [s for s in symptoms if _within(s, fault, start_ns)]
        first = mine[0] if mine else None
        rule = [at - fault.start_s for at in alarms if fault.start_s <= at < fault.end_s + 120]
        scores.append(
            Score(
                fault.name,
                _seconds(first["noticed"], start_ns) - fault.start_s if first else None,
                f"{first['kind']} of {first['service']}" if first else "",
                len(mine),
                ", ".join(sorted({f"{s['status']} after {s['seconds'] or 0:.0f} s" for s in mine[:1]})),
                min(rule, default=None),
            )
        )
    return scores


def _within(symptom: dict[str, Any], fault: Injected, start_ns: int) -> bool:
    return fault.start_s - 30 <= _seconds(symptom["started"], start_ns) <= fault.end_s + 60


def _seconds(text: str, start_ns: int) -> float:
    return datetime.fromisoformat(text).timestamp() - start_ns / _NS


def simple_alarms(day: Day) -> list[float]:
    """Return the ends of the minutes in which the simple rule alarms, by service; one that goes on counts once."""
    cells: defaultdict[tuple[str, int], list[tuple[float, bool]]] = defaultdict(list)
    for calls in day.requests():
        for call in calls:
            if call.kind == _SERVER:
                cells[call.service, int((call.start_s + call.took_s) // 60)].append((call.took_s, call.failed))
    alarms = []
    for service in _CALLS:
        first = [took for minute in range(30) for took, _ in cells[service, minute]]
        usual, before = sum(first) / max(1, len(first)), False
        for minute in range(int(day.hours * 60)):
            held = cells[service, minute]
            bad = not held or sum(f for _, f in held) > 0.05 * len(held)
            bad = bad or sum(took for took, _ in held) > 2 * usual * len(held)
            if bad and not before:
                alarms.append((minute + 1) * 60.0)
            before = bad
    return alarms


def run_live(fault: str, seed: int, warmup_s: float = 60.0, patience_s: float = 240.0) -> None:
    """Run the example shop, break it, ask nothing, and print what is noticed and investigated, by the clock."""
    from examples.shop.shop import Shop

    with start_server(investigations_per_hour=6) as server, tempfile.TemporaryDirectory(prefix="shop-") as state:
        shop = Shop.watched_by(server.url, Path(state), headers=server.headers, environment="live", seed=seed)
        with shop, server.client() as client:
            shop.load(20)
            time.sleep(warmup_s)
            before = client.get("/symptoms", params={"environment": "live"}).json()["symptoms"]
            print(f"{len(before)} symptoms in {warmup_s:.0f} s of healthy work")
            broken = time.monotonic()
            shop.inject(fault)
            told: set[str] = set()
            while time.monotonic() - broken < patience_s:
                time.sleep(1)
                for symptom in client.get("/symptoms", params={"environment": "live"}).json()["symptoms"]:
                    if symptom["id"] not in told:
                        print(f"{time.monotonic() - broken:4.0f} s after the fault: {symptom['text']}")
                        told.add(symptom["id"])
                found = client.get("/incidents", params={"environment": "live"}).json()["incidents"]
                if found:
                    line = found[0]
                    print(f"{time.monotonic() - broken:4.0f} s after the fault: {line['outcome']} {line['causes']}")
                    return
    raise SystemExit("nothing was noticed and investigated in time")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=4.0, help="how long the generated day is")
    parser.add_argument("--rate", type=float, default=2.0, help="requests of customers a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shape", choices=("spans", "logs", "metrics"), default="spans", help="what the shop sends")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument("--live", metavar="FAULT", help="run the real shop with this fault instead")
    given = parser.parse_args()
    if given.live:
        run_live(given.live, given.seed)
        return
    alarms = simple_alarms(plan_day(given.hours, given.rate, given.seed))
    day = plan_day(given.hours, given.rate, given.seed)
    start_s = int(time.time() - (given.hours + 2) * 3600) // 60 * 60
    with start_server() as server:
        count, took = send_day(server, day, start_s * _NS, "stream", given.shape)
        symptoms = wait_for_symptoms(server, "stream")
    injected = day.faults
    if given.shape == "logs":
        day.faults = tuple(fault for fault in day.faults if fault.failing)
    scores = score(day, symptoms, start_s * _NS, alarms)
    false = [s for s in symptoms if not any(_within(s, fault, start_s * _NS) for fault in injected)]
    apart = [at for at in alarms if not any(f.start_s <= at < f.end_s + 120 for f in injected)]
    still = [s for s in symptoms if s["status"] == "open"]
    if given.json:
        counts = {"false_alarms": len(false), "rule_false_alarms": len(apart), "left_open": len(still)}
        print(json.dumps({"faults": [asdict(line) for line in scores], "sent_s": took, **counts}))
        return
    for line in scores:
        noticed = "not noticed" if line.noticed_after_s is None else f"noticed after {line.noticed_after_s:.0f} s"
        rule = "not at all" if line.by_rule_s is None else f"{line.by_rule_s:.0f} s"
        print(
            f"{line.fault:<28} {noticed:<20} {line.first:<28} {line.ended:<24} {line.symptoms} symptoms; rule: {rule}"
        )
    print(
        f"{given.hours:g} h in {count} portions sent in {took:.0f} s; {len(day.deploys)} deploys; false alarms: ours "
        f"{len(false)}, rule {len(apart)}; left open: {len(still)}"
    )
    for symptom in false:
        print(f"  false: {symptom['noticed']} {symptom['text']}")
    raise SystemExit(0 if not false and all(s.noticed_after_s is not None for s in scores) else 1)


if __name__ == "__main__":
    main()

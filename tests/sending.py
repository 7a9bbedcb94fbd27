"""Senders of telemetry that never give up, and the check that what was acknowledged to them is stored, once."""

from __future__ import annotations

import json
import random
import re
import threading
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from google.protobuf.json_format import ParseDict  # type: ignore[import-untyped]  # ships no types
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from domain.settings import Settings
from domain.times import HOUR_US, MINUTE_US, SLOT_US
from graph.ontology import EDGE_KINDS, Edge
from graph.topology import TopologyGraph
from ingest.topology import TopologyProjection
from storage.database import QUERIES, Database
from storage.topology import TopologyStore
from tests.serving import Serve

TOKEN = re.compile(r"[0-9a-f]{32}")

QUERIES["sent_messages"] = "SELECT message FROM log_event WHERE environment = ?"
QUERIES["sent_counted"] = "SELECT COALESCE(SUM(count), 0) FROM log_count WHERE environment = ?"
QUERIES["sent_spans"] = "SELECT trace_id, span_id FROM span WHERE environment = ?"
QUERIES["sent_calls"] = (
    "SELECT slot_us, caller, callee, count, errors, caller_us, callee_us FROM call_slot WHERE environment = ?"
)


@dataclass(frozen=True)
class SentSpan:
    trace_id: str
    span_id: str
    parent_id: str
    service: str
    start_us: int
    took_us: int
    error: bool

    def to_otlp(self) -> dict[str, Any]:
        return {
            "traceId": self.trace_id,
            "spanId": self.span_id,
            "parentSpanId": self.parent_id,
            "name": "op",
            "kind": 2,
            "startTimeUnixNano": str(self.start_us * 1000),
            "endTimeUnixNano": str((self.start_us + self.took_us) * 1000),
            "status": {"code": 2} if self.error else {},
        }


@dataclass
class Sender:
    """Sends body after body, each until it is acknowledged, and notes what was."""

    server: Serve
    environment: str
    seed: int
    stop: threading.Event
    tokens: Counter[str] = field(default_factory=Counter)
    spans: dict[tuple[str, str], SentSpan] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    tries: Counter[str] = field(default_factory=Counter)
    bodies: int = 0

    def __post_init__(self) -> None:
        self._choose = random.Random(self.seed)
        self._waiting: list[SentSpan] = []
        self._client = self.server.client(timeout=20)

    def run(self) -> None:
        with self._client:
            while not self.stop.is_set():
                self._choose.choice([self._send_otlp_logs, self._send_json_logs, self._send_spans])()
            while self._waiting:
                self._send_spans()

    def _send_otlp_logs(self) -> None:
        tokens = self._new_tokens()
        records = [
            {"timeUnixNano": str(self._moment() * 1000), "severityNumber": 9, "body": {"stringValue": _line(token)}}
            for token in tokens
        ]
        scope = {"scopeLogs": [{"logRecords": records}], "resource": self._resource("web")}
        message = ParseDict({"resourceLogs": [scope]}, ExportLogsServiceRequest())
        if self._deliver("/v1/logs", message.SerializeToString(), "application/x-protobuf"):
            self.tokens.update(tokens)

    def _send_json_logs(self) -> None:
        tokens = self._new_tokens()
        tokens.append(tokens[0])  # two equal lines of one batch are two events
        moment = self._moment()
        lines = [{"timestamp": moment, "service": "cart", "level": "info", "message": _line(token)} for token in tokens]
        if self._deliver(
            f"/ingest/logs?environment={self.environment}", json.dumps(lines).encode(), "application/json"
        ):
            self.tokens.update(tokens)

    def _send_spans(self) -> None:
        """Send spans in any order: a child may come many batches before its parent, and a span may come again."""
        if not self.stop.is_set():
            for _ in range(self._choose.randint(1, 8)):
                self._waiting += self._new_trace()
        self._choose.shuffle(self._waiting)
        cut = 0 if self.stop.is_set() else len(self._waiting) // 2
        batch, self._waiting = self._waiting[cut:], self._waiting[:cut]
        again = self._choose.sample(sorted(self.spans), min(2, len(self.spans)))
        batch += [self.spans[key] for key in again]
        by_service: dict[str, list[dict[str, Any]]] = {}
        for span in batch:
            by_service.setdefault(span.service, []).append(span.to_otlp())
        groups = [
            {"resource": self._resource(name), "scopeSpans": [{"spans": spans}]} for name, spans in by_service.items()
        ]
        if self._deliver("/v1/traces", json.dumps({"resourceSpans": groups}).encode(), "application/json"):
            self.spans |= {(span.trace_id, span.span_id): span for span in batch}

    def _deliver(self, path: str, body: bytes, content_type: str) -> bool:
        """Send one body as exporters do: the same bytes again, until they are acknowledged or refused for good."""
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                reply = self._client.post(path, content=body, headers={"Content-Type": content_type})
            except httpx.TransportError as exc:
                self.tries[type(exc).__name__] += 1
                time.sleep(0.1)
                continue
            self.tries[str(reply.status_code)] += 1
            if reply.status_code == 200:
                self.bodies += 1
                return True
            if reply.status_code not in (429, 503) or "retry-after" not in reply.headers:
                # An exporter would drop the batch here.
                self.problems.append(f"{path}: {reply.status_code} {reply.text[:300]}")
                return False
            time.sleep(0.1)
        self.problems.append(f"{path}: not acknowledged within 120 s: {self.tries}")
        return False

    def _new_tokens(self) -> list[str]:
        return [uuid.uuid4().hex for _ in range(self._choose.randint(1, 40))]

    def _moment(self) -> int:
        return time.time_ns() // 1000 - self._choose.randrange(10 * MINUTE_US)

    def _resource(self, service: str) -> dict[str, Any]:
        values = {"service.name": service, "deployment.environment.name": self.environment}
        return {"attributes": [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]}

    def _new_trace(self) -> list[SentSpan]:
        trace, at = uuid.uuid4().hex, self._moment()
        ids = [uuid.uuid4().hex[:16] for _ in range(5)]
        parents = ["", ids[0], ids[1], ids[1], ids[3]]
        services = ["web", "web", "cart", "stock", "db"]  # the second is the caller's side of a call
        return [
            SentSpan(trace, ids[n], parents[n], services[n], at + n * 100, 5000 - n * 500, self._choose.random() < 0.2)
            for n in range(5)
        ]


def _line(token: str) -> str:
    return f"order {token} placed"


def count_calls(spans: dict[tuple[str, str], SentSpan]) -> dict[tuple[int, str, str], tuple[int, int, int, int]]:
    """Return calls, errors and the time of both sides per slot, caller and callee, from what was sent alone."""
    found: dict[tuple[int, str, str], list[int]] = {}
    for child in spans.values():
        parent = spans.get((child.trace_id, child.parent_id))
        if parent is None or parent.service == child.service:
            continue
        key = (parent.start_us - parent.start_us % SLOT_US, parent.service, child.service)
        sums = found.setdefault(key, [0, 0, 0, 0])
        for at, value in enumerate((1, int(child.error or parent.error), parent.took_us, child.took_us)):
            sums[at] += value
    return {key: (sums[0], sums[1], sums[2], sums[3]) for key, sums in found.items()}


async def check_stored(database: Database, graph: TopologyGraph, environment: str, senders: Sequence[Sender]) -> None:
    """Assert that exactly what was acknowledged is stored, counted and in the graph, each record once."""
    assert [problem for sender in senders for problem in sender.problems] == []
    tokens = sum((sender.tokens for sender in senders), Counter[str]())
    spans = {key: span for sender in senders for key, span in sender.spans.items()}
    await _wait_for_graph(database)
    messages = [str(row[0]) for row in await database.fetch("sent_messages", (environment,))]
    stored = Counter(TOKEN.findall("\n".join(messages)))
    stored_spans = Counter((str(row[0]), str(row[1])) for row in await database.fetch("sent_spans", (environment,)))
    print(
        f"acknowledged {tokens.total()} log events and {len(spans)} spans in {sum(s.bodies for s in senders)} bodies; "
        f"lost {(tokens - stored).total()} and {len(spans.keys() - stored_spans.keys())}, "
        f"too many {(stored - tokens).total()} and {stored_spans.total() - len(spans)}"
    )
    assert tokens
    assert spans
    assert stored == tokens
    assert stored_spans == Counter(spans.keys())
    assert int((await database.fetch("sent_counted", (environment,)))[0][0]) == tokens.total()
    await _check_topology(database, graph, environment, tokens.total(), count_calls(spans))


async def _wait_for_graph(database: Database) -> None:
    store, end = TopologyStore(database), time.monotonic() + 60
    places = await store.positions()
    while places.graph < places.head:
        assert time.monotonic() < end, f"the graph does not catch up: {places}"
        time.sleep(0.2)
        places = await store.positions()


async def _check_topology(
    database: Database,
    graph: TopologyGraph,
    environment: str,
    lines: int,
    calls: dict[tuple[int, str, str], tuple[int, int, int, int]],
) -> None:
    rows = await database.fetch("sent_calls", (environment,))
    assert {(int(r[0]), str(r[1]), str(r[2])): tuple(map(int, r[3:])) for r in rows} == calls
    edges = await _all_edges(graph, environment)
    expected: Counter[tuple[str, str]] = Counter()
    failed: Counter[tuple[str, str]] = Counter()
    for (_, caller, callee), (count, errors, _, _) in calls.items():
        expected[caller, callee] += count
        failed[caller, callee] += errors
    assert set(expected) == {("web", "cart"), ("web", "stock"), ("stock", "db")}
    assert _sum(edges, "CALLS", "count") == expected
    assert _sum(edges, "CALLS", "errors") == failed
    assert _sum(edges, "EMITTED", "count").total() == lines
    lifetime_us = round(Settings(data_dir=Path("unused")).edge_lifetime_hours * HOUR_US)
    await TopologyProjection(database, graph, lifetime_us).rebuild(environment)
    assert await _all_edges(graph, environment) == edges


async def _all_edges(graph: TopologyGraph, environment: str) -> list[Edge]:
    now = time.time_ns() // 1000
    return await graph.edges_as_of(environment, now, EDGE_KINDS, slack_us=now)


def _sum(edges: list[Edge], kind: str, what: str) -> Counter[tuple[str, str]]:
    sums: Counter[tuple[str, str]] = Counter()
    for edge in edges:
        if edge.kind == kind:
            sums[edge.source, edge.target] += getattr(edge, what)
    return sums

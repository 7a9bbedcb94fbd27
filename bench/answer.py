"""How long does an answer take with a million log events stored? Beside it: reading those events and counting errors.

    python -m bench.answer [--events 1000000] [--traces 20000] [--asks 5]

Synthetic telemetry of forty services over the last hour goes in through the API; in the last minute payment fails for
half of the checkouts. The alternative is what a person with SQL would do first: count error lines per service.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.replay import send
from bench.server import Server, start_server
from cli.stack import ensure_stack
from domain.telemetry import Level
from domain.times import SECOND_US, Window
from storage.database import QUERIES, Database
from storage.telemetry import Telemetry

ENVIRONMENT = "bench"
_SERVICES = [f"service-{number:02d}" for number in range(40)]
_SPAN_S = 3600
_BROKEN_S = 60
_BATCH = 5_000
_TRACES_PER_BATCH = 500

QUERIES["answer_event_counts"] = (
    "SELECT service, template_id, level, COUNT(*), MIN(time_us), MAX(time_us) FROM log_event "
    "WHERE environment = ? AND time_us >= ? AND time_us < ? GROUP BY service, template_id, level"
)


def log_batches(count: int, now: float, seed: int) -> Iterator[list[dict[str, Any]]]:
    """Yield JSON log events: sixty kinds of lines a service, in the order of time."""
    rng = random.Random(seed)
    for first in range(0, count, _BATCH):
        rows = []
        for number in range(first, min(first + _BATCH, count)):
            kind = rng.randrange(60)
            level = "ERROR" if kind == 0 and rng.random() < 0.2 else "WARN" if kind < 3 else "INFO"
            rows.append(
                {
                    "timestamp": now - _SPAN_S * (1 - number / count),
                    "service": rng.choice(_SERVICES),
                    "level": level,
                    "message": f"step {chr(97 + kind % 26)}{chr(97 + kind // 26)} of job {rng.randrange(10**6)} took {rng.randrange(900)} ms",
                }
            )
        yield rows


def trace_batches(count: int, now: float, seed: int) -> Iterator[bytes]:
    """Yield OTLP exports of checkouts through shop, checkout and payment; payment fails half of the last minute's."""
    rng = random.Random(seed)
    for first in range(0, count, _TRACES_PER_BATCH):
        request = ExportTraceServiceRequest()
        groups = {
            name: request.resource_spans.add(
                resource=Resource(attributes=[KeyValue(key="service.name", value=AnyValue(string_value=name))])
            )
            .scope_spans.add()
            .spans
            for name in ("shop", "checkout", "payment")
        }
        for number in range(first, min(first + _TRACES_PER_BATCH, count)):
            start = now - _SPAN_S * (1 - number / count)
            broken = now - start < _BROKEN_S and rng.random() < 0.5
            _add_trace(groups, int(start * 1e9), broken, rng)
        yield request.SerializeToString()


def _add_trace(groups: dict[str, Any], start_ns: int, broken: bool, rng: random.Random) -> None:
    trace_id, parent = rng.randbytes(16), b""
    path = [("shop", 2), ("shop", 3), ("checkout", 2), ("checkout", 3), ("payment", 2)]
    for depth, (service, kind) in enumerate(path):
        span_id = rng.randbytes(8)
        span = groups[service].add(
            trace_id=trace_id,
            span_id=span_id,
            parent_span_id=parent,
            name=f"POST /{service}" if kind == 2 else "POST",
            kind=kind,
            start_time_unix_nano=start_ns + depth * 1_000_000,
            end_time_unix_nano=start_ns + (40 - depth) * 1_000_000,
        )
        if broken:
            span.status.code = 2
            span.status.message = "KeyError: 'currency'" if service == "payment" else "500 from below"
        parent = span_id


def fill(server: Server, events: int, traces: int) -> float:
    """Send everything and return the seconds it took."""
    now, began = time.time(), time.perf_counter()
    with server.client() as client:
        for rows in log_batches(events, now, 1):
            client.post("/ingest/logs", params={"environment": ENVIRONMENT}, json=rows).raise_for_status()
    send(server, "/v1/traces", trace_batches(traces, now, 2), ENVIRONMENT)
    return time.perf_counter() - began


def ask(server: Server) -> tuple[float, dict[str, Any]]:
    """Ask, and return the seconds that a client waits and the answer."""
    began = time.perf_counter()
    with server.client() as client:
        response = client.post("/chat", json={"question": "why did checkout fail?", "environment": ENVIRONMENT})
    response.raise_for_status()
    return time.perf_counter() - began, response.json()


async def count_errors(data_dir: Path) -> float:
    """The alternative: read the hour's events and count error lines per service; return the seconds."""
    database = Database(ensure_stack(data_dir, progress=lambda line: None).database_url)
    try:
        now = int(time.time() * SECOND_US)
        began = time.perf_counter()
        window = Window(now - 2 * _SPAN_S * SECOND_US, now)
        rows = await database.fetch("answer_event_counts", (ENVIRONMENT, window.start_us, window.end_us))
        sum(row[3] for row in rows if row[2] >= Level.ERROR)
        assert await Telemetry(database).log_extent(ENVIRONMENT, window)
        return time.perf_counter() - began
    finally:
        await database.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=1_000_000, help="log events to store")
    parser.add_argument("--traces", type=int, default=20_000, help="request traces of five spans to store")
    parser.add_argument("--asks", type=int, default=5, help="how often to ask")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with start_server() as server:
        filled = fill(server, arguments.events, arguments.traces)
        first, answer = ask(server)
        waits = [ask(server)[0] for _ in range(arguments.asks)]
        naive = [asyncio.run(count_errors(server.data_dir)) for _ in range(3)]
    ours, theirs = statistics.median(waits), statistics.median(naive)
    causes = [cause["service"] for cause in answer["verdict"]["causes"]]
    result = {
        "events": arguments.events,
        "fill_seconds": round(filled, 1),
        "first_answer_seconds": round(first, 2),
        "answer_seconds_median": round(ours, 2),
        "answer_seconds_max": round(max(waits), 2),
        "count_error_lines_seconds": round(theirs, 2),
        "ratio": round(ours / theirs, 2),
        "outcome": answer["verdict"]["outcome"],
        "causes": causes,
    }
    if arguments.json:
        print(json.dumps(result))
        return
    print(f"{arguments.events:,} log events and {arguments.traces:,} traces stored in {filled:.0f} s")
    print(
        f"answer {result['outcome']} {causes}: first {first:.2f} s (the graph catches up), then median {ours:.2f} s, worst {max(waits):.2f} s"
    )
    print(f"counting error lines in SQL: {theirs:.2f} s; ours takes {ours / theirs:.2f} of that")


if __name__ == "__main__":
    main()

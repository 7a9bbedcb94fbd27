"""Send recorded incidents through the OTLP endpoint and ask about them through the chat API.

    python -m bench.replay CASE_FOLDER [CASE_FOLDER ...] [--out predictions.jsonl]

A case folder holds `incident.json` and `logs|spans|metrics.ndjson.gz`. All times are shifted alike, so that the
incident has just happened. Only telemetry is sent, under an environment name that says nothing; labels are never read.
One line per case goes to `--out`: {"case": name, "ranking": [services]}, for scoring elsewhere.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from bench.server import Server, start_server

type Row = dict[str, Any]

_BATCH = 5_000
_SECOND_NS = 1_000_000_000
_KIND_INTERNAL, _KIND_SERVER, _KIND_CLIENT = 1, 2, 3
_SEVERITY = {"TRACE": 1, "DEBUG": 5, "INFO": 9, "WARN": 13, "WARNING": 13, "ERROR": 17, "FATAL": 21}


@dataclass(frozen=True, slots=True)
class Recording:
    """What was recorded of one incident. `calls` are the stated (caller, callee), `skipped` counts unusable rows."""

    logs: tuple[Row, ...] = ()
    spans: tuple[Row, ...] = ()
    metrics: tuple[Row, ...] = ()
    calls: tuple[tuple[str, str], ...] = ()
    skipped: int = 0


def read_lines(path: Path) -> list[Row]:
    """Return the records of a gzipped NDJSON file; an absent file has none."""
    if not path.exists():
        return []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_recording(folder: Path) -> Recording:
    """Read a case folder's telemetry; rows of a time before 1970, which OTLP cannot say, are skipped and counted."""
    logs, spans = read_lines(folder / "logs.ndjson.gz"), read_lines(folder / "spans.ndjson.gz")
    metrics = read_lines(folder / "metrics.ndjson.gz")
    kept = (
        tuple(row for row in logs if row["t_ns"] >= 0),
        tuple(row for row in spans if row["start_ns"] >= 0),
        tuple(row for row in metrics if row["t_s"] >= 0),
    )
    skipped = len(logs) + len(spans) + len(metrics) - sum(map(len, kept))
    return Recording(*kept, skipped=skipped)


def _resource(service: str, pod: str) -> Resource:
    values = {"service.name": service} | ({"service.instance.id": pod} if pod else {})
    return Resource(attributes=[KeyValue(key=k, value=AnyValue(string_value=v)) for k, v in values.items()])


def _batches(rows: Sequence[Row]) -> Iterator[dict[tuple[str, str], list[Row]]]:
    for at in range(0, len(rows), _BATCH):
        groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
        for row in rows[at : at + _BATCH]:
            groups[row["service"], row.get("pod", "")].append(row)
        yield groups


def log_requests(rows: Sequence[Row], shift_ns: int = 0) -> Iterator[bytes]:
    """Yield OTLP log exports."""
    for groups in _batches(rows):
        request = ExportLogsServiceRequest()
        for (service, pod), members in groups.items():
            records = request.resource_logs.add(resource=_resource(service, pod)).scope_logs.add().log_records
            for row in members:
                records.add(
                    time_unix_nano=row["t_ns"] + shift_ns,
                    severity_number=_SEVERITY.get(str(row.get("severity", "INFO")).upper(), 9),
                    severity_text=str(row.get("severity", "")),
                    body=AnyValue(string_value=row["body"]),
                    trace_id=_hex(row.get("trace_id"), 16),
                    span_id=_hex(row.get("span_id"), 8),
                )
        yield request.SerializeToString()


def span_requests(rows: Sequence[Row], shift_ns: int = 0) -> Iterator[bytes]:
    """Yield OTLP trace exports. The recording has no kinds: a change of service makes a client and a server span."""
    service_of = {(r["trace_id"], r["span_id"]): r["service"] for r in rows}
    calls = {
        (r["trace_id"], r["parent_id"])
        for r in rows
        if r.get("parent_id") and service_of.get((r["trace_id"], r["parent_id"]), r["service"]) != r["service"]
    }
    for groups in _batches(rows):
        request = ExportTraceServiceRequest()
        for (service, pod), members in groups.items():
            spans = request.resource_spans.add(resource=_resource(service, pod)).scope_spans.add().spans
            for row in members:
                parent = service_of.get((row["trace_id"], row.get("parent_id")))
                entry = parent != row["service"]
                calling = (row["trace_id"], row["span_id"]) in calls
                spans.add(
                    trace_id=_hex(row["trace_id"], 16),
                    span_id=_hex(row["span_id"], 8),
                    parent_span_id=_hex(row.get("parent_id"), 8),
                    name=row["name"],
                    kind=_KIND_SERVER if entry else _KIND_CLIENT if calling else _KIND_INTERNAL,
                    start_time_unix_nano=row["start_ns"] + shift_ns,
                    end_time_unix_nano=row["end_ns"] + shift_ns,
                )
        yield request.SerializeToString()


def metric_requests(rows: Sequence[Row], shift_ns: int = 0) -> Iterator[bytes]:
    """Yield OTLP metric exports, every series a gauge."""
    for groups in _batches(rows):
        request = ExportMetricsServiceRequest()
        for (service, pod), members in groups.items():
            metrics = request.resource_metrics.add(resource=_resource(service, pod)).scope_metrics.add().metrics
            for row in members:
                metric = metrics.add(name=row["name"])
                metric.gauge.data_points.add(
                    time_unix_nano=int(row["t_s"] * _SECOND_NS) + shift_ns, as_double=row["value"]
                )
        yield request.SerializeToString()


def _hex(text: str | None, size: int) -> bytes:
    return bytes.fromhex(text).rjust(size, b"\0")[-size:] if text else b""


def send(server: Server, path: str, bodies: Iterable[bytes], environment: str) -> None:
    """Post OTLP protobuf bodies, gzipped."""
    headers = {"Content-Type": "application/x-protobuf", "Content-Encoding": "gzip"}
    with server.client() as client:
        for body in bodies:
            client.post(
                path, params={"environment": environment}, content=gzip.compress(body, 1), headers=headers
            ).raise_for_status()


def send_recording(server: Server, recording: Recording, environment: str, shift_ns: int = 0) -> float:
    """Send everything through the ways in that a user has; return the seconds that it took."""
    began = time.perf_counter()
    if recording.calls:
        edges = [{"source": caller, "target": callee} for caller, callee in recording.calls]
        with server.client() as client:
            client.post(
                "/ingest/topology", params={"environment": environment}, json={"edges": edges}
            ).raise_for_status()
    send(server, "/v1/traces", span_requests(recording.spans, shift_ns), environment)
    send(server, "/v1/logs", log_requests(recording.logs, shift_ns), environment)
    send(server, "/v1/metrics", metric_requests(recording.metrics, shift_ns), environment)
    return time.perf_counter() - began


def replay(server: Server, folder: Path, environment: str) -> tuple[dict[str, Any], float]:
    """Send one case as if it had just happened and ask its question; return the answer and the seconds of sending."""
    incident = json.loads((folder / "incident.json").read_text(encoding="utf-8"))
    first, last = incident["fault_window_s"]
    shift_s = int(time.time()) - 60 - last
    sent = send_recording(server, read_recording(folder), environment, shift_s * _SECOND_NS)
    question = {
        "question": incident["question"],
        "environment": environment,
        "from": first + shift_s,
        "to": last + shift_s,
    }
    return ask(server, question), sent


def ask(server: Server, question: dict[str, Any]) -> dict[str, Any]:
    """Ask through the chat API and return the answer."""
    with server.client() as client:
        response = client.post("/chat", json=question)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer


def cited_ids(answer: dict[str, Any]) -> set[str]:
    """Return the id of everything that an answer cites: for claims, causes, hops of the path and what it rules out."""
    verdict = answer["verdict"]
    ids = {i for holder in (*answer["claims"], *verdict["causes"], *verdict["ruled_out"]) for i in holder["evidence"]}
    return ids | {i for cause in verdict["causes"] for hop in cause["hop_evidence"].values() for i in hop}


def reread(server: Server, answer: dict[str, Any]) -> dict[str, str]:
    """Open every cited record again and return its state by id."""
    with server.client() as client:
        return {i: client.get(f"/evidence/{i}").json()["state"] for i in sorted(cited_ids(answer))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="case folders")
    parser.add_argument("--out", type=Path, help="write one prediction per line here")
    arguments = parser.parse_args()
    predictions = []
    with start_server() as server:
        for number, folder in enumerate(arguments.folders):
            answer, sent = replay(server, folder, f"replay-{number}")
            verdict = answer["verdict"]
            ranking = [ranked["service"] for ranked in verdict["ranking"]]
            predictions.append({"case": folder.name, "ranking": ranking})
            took = answer["budget"]["seconds"]
            print(f"{folder.name}: {verdict['outcome']}, sent in {sent:.1f} s, answered in {took:.2f} s: {ranking[:3]}")
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(p) + "\n" for p in predictions), encoding="utf-8")


if __name__ == "__main__":
    main()

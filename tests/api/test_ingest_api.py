from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import logging
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
import uvicorn
from fastapi import FastAPI, HTTPException, Request
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from api.alerts import alerts_router
from api.auth import Gate
from api.ingest import ingest_router
from api.rpc_status import encode_rpc_status
from cli.stack import StackHandle
from domain.settings import Settings
from ingest.alert_sources import AlertSources
from ingest.service import Ingest
from storage.blobs import BlobStore
from storage.database import Database, parse_database_url
from storage.ingest import IngestStore

KEY = {"X-API-Key": "secret"}
PROTOBUF = {**KEY, "Content-Type": "application/x-protobuf"}
LINE = {"timestamp": "2024-03-01T10:42:00Z", "service": "checkout", "level": "info", "message": "order 7 placed"}


def require(role: str) -> Callable[[Request], None]:
    def check(request: Request) -> None:
        if role != "ingest" or request.headers.get("x-api-key") != "secret":
            raise HTTPException(401)

    return check


class OneKey:
    """The gate of a server with one key."""

    async def check_alert_key(self, request: Request, token: str) -> None:
        require("ingest")(request)


def build_app(database: Database, folder: Path) -> FastAPI:
    app, settings = FastAPI(), Settings(max_body_bytes=1_000_000)
    ingest = Ingest(IngestStore(database), settings)
    app.include_router(ingest_router(ingest, require))
    gate = cast(Gate, OneKey())
    app.include_router(alerts_router(ingest, gate, AlertSources(settings), BlobStore(database, folder)))
    return app


@pytest.fixture
async def client(database: Database, tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(build_app(database, tmp_path))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=KEY) as opened:
        yield opened


@pytest.fixture
async def served(database: Database, tmp_path: Path) -> AsyncIterator[str]:
    """The address of a real server."""
    config = uvicorn.Config(
        build_app(database, tmp_path), port=0, ws="none", lifespan="off", log_config=None, loop="none"
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext  # type: ignore[assignment,method-assign]  # pytest's signals stay pytest's
    task = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    await task


async def rows(database: Database, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    def work(tx: Any) -> list[tuple[Any, ...]]:
        tx._cursor.execute(sql, parameters)
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


async def count(database: Database, environment: str) -> tuple[int, int]:
    events = await rows(database, "SELECT COUNT(*) FROM log_event WHERE environment = ?", environment)
    summed = await rows(database, "SELECT COALESCE(SUM(count), 0) FROM log_count WHERE environment = ?", environment)
    return int(events[0][0]), int(summed[0][0])


@pytest.mark.parametrize("compression", [Compression.Gzip, Compression.NoCompression])
async def test_the_opentelemetry_sdk_is_understood(
    served: str, database: Database, environment: str, compression: Compression
) -> None:
    resource = Resource.create(
        {"service.name": "checkout", "service.version": "1.2.3", "deployment.environment.name": environment,
         "host.name": "n1"}
    )  # fmt: skip

    def send() -> None:
        options: dict[str, Any] = {"headers": KEY, "compression": compression}
        loggers = LoggerProvider(resource)
        loggers.add_log_record_processor(
            SimpleLogRecordProcessor(OTLPLogExporter(f"{served}/v1/logs?environment=other", **options))
        )
        for number in range(3):
            loggers.get_logger("shop.orders").emit(
                LogRecord(
                    timestamp=1_709_289_720_000_000_000,
                    severity_number=SeverityNumber.ERROR,
                    body=f"order {number} failed",
                    attributes={"order": number},
                )
            )
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{served}/v1/traces", **options)))
        tracer = tracers.get_tracer("shop")
        with (
            tracer.start_as_current_span("POST /buy", kind=SpanKind.SERVER),
            contextlib.suppress(RuntimeError),
            tracer.start_as_current_span(
                "charge", kind=SpanKind.CLIENT, attributes={"server.address": "127.0.0.1", "server.port": 9000}
            ),
        ):
            raise RuntimeError("declined")
        meters = MeterProvider(
            [PeriodicExportingMetricReader(OTLPMetricExporter(f"{served}/v1/metrics", **options), 1e9)], resource
        )
        meter = meters.get_meter("shop")
        meter.create_counter("orders").add(5)
        meter.create_gauge("queue").set(2.5)
        meter.create_histogram("latency").record(12)
        meters.shutdown()
        tracers.shutdown()
        loggers.shutdown()

    await asyncio.to_thread(send)
    assert await count(database, environment) == (3, 3)
    found = await rows(
        database,
        "SELECT DISTINCT service, level, node, t.text, JSON_VALUE(attributes, '$.logger') FROM log_event e"
        " JOIN log_template t ON t.id = e.template_id WHERE environment = ?",
        environment,
    )
    assert found == [("checkout", 17, "n1", "order <*> failed", "shop.orders")]
    found = await rows(
        database,
        "SELECT c.name, c.kind, c.error, c.status_message, c.peer, c.version, p.name, p.error FROM span c"
        " JOIN span p ON p.environment = c.environment AND p.trace_id = c.trace_id AND p.span_id = c.parent_id"
        " WHERE c.environment = ?",
        environment,
    )
    assert found == [("charge", 3, 1, "RuntimeError: declined", "127.0.0.1:9000", "1.2.3", "POST /buy", 0)]
    found = await rows(
        database, "SELECT name, value FROM metric_point WHERE environment = ? ORDER BY name", environment
    )
    assert dict(found) == {
        "latency.count": 1.0, "latency.sum": 12.0, "latency.p50": 12.0, "latency.p95": 12.0, "orders": 5.0, "queue": 2.5,
    }  # fmt: skip


def traces(*spans: dict[str, Any], environment: str) -> ExportTraceServiceRequest:
    request = ExportTraceServiceRequest()
    block = request.resource_spans.add()
    said = block.resource.attributes.add(key="deployment.environment.name")
    said.value.string_value = environment
    for each in spans:
        block.scope_spans.add().spans.add(**each)
    return request


async def test_what_is_rejected_is_told_in_the_encoding_of_the_request(
    client: httpx.AsyncClient, database: Database, environment: str
) -> None:
    good = {"trace_id": b"t" * 16, "span_id": b"s" * 8, "start_time_unix_nano": 5000, "end_time_unix_nano": 9000}
    request = traces(good, {**good, "span_id": b""}, environment=environment)
    reply = await client.post("/v1/traces", content=request.SerializeToString(), headers=PROTOBUF)
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/x-protobuf")
    partial = ExportTraceServiceResponse.FromString(reply.content).partial_success
    assert (partial.rejected_spans, partial.error_message) == (1, "span 2: its span id is missing or malformed")
    # The same spans in another delivery: known already.
    reply = await client.post(
        f"/v1/traces?environment={environment}",
        json={"resourceSpans": [{"scopeSpans": [{"spans": [
            {"traceId": "74" * 16, "spanId": "73" * 8, "startTimeUnixNano": "5000"}, {"traceId": ""}]}]}]},
    )  # fmt: skip
    assert reply.json() == {
        "partialSuccess": {"rejectedSpans": "1", "errorMessage": "span 2: its trace id is missing or malformed"}
    }
    assert await rows(database, "SELECT COUNT(*) FROM span WHERE environment = ?", environment) == [(1,)]
    found = await rows(
        database, "SELECT accepted, duplicate, rejected FROM ingest_batch WHERE environment = ?", environment
    )
    assert found == [(0, 1, 1)]


async def test_equal_log_records_within_an_otlp_batch_all_count_and_a_retry_none(
    client: httpx.AsyncClient, database: Database, environment: str
) -> None:
    request = ExportLogsServiceRequest()
    for _ in range(3):
        record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=5000)
        record.body.string_value = "same"
    for body in (gzip.compress(request.SerializeToString()), gzip.compress(request.SerializeToString(), 1)):
        reply = await client.post(
            f"/v1/logs?environment={environment}", content=body, headers={**PROTOBUF, "Content-Encoding": "gzip"}
        )
        assert (reply.status_code, reply.content) == (200, b"")
    assert await count(database, environment) == (3, 3)


async def test_errors_of_otlp_are_status_messages(client: httpx.AsyncClient) -> None:
    reply = await client.post("/v1/logs", content=b"\xff\xff", headers=PROTOBUF)
    status = Status.FromString(reply.content)
    assert (reply.status_code, status.code) == (400, 3)
    assert "not an OTLP protobuf message" in status.message
    reply = await client.post("/v1/metrics", content=b"{", headers={"Content-Type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, 3)
    reply = await client.post("/v1/logs", content=b"no", headers={**PROTOBUF, "Content-Encoding": "gzip"})
    assert (reply.status_code, Status.FromString(reply.content).message[:20]) == (400, "The body is not gzip")
    assert (await client.post("/v1/logs", content=b"<a/>", headers={"Content-Type": "text/xml"})).status_code == 415
    assert (await client.post("/v1/logs", content=b"x" * 1_000_001, headers=PROTOBUF)).status_code == 413
    long = Status.FromString(encode_rpc_status(14, "é" * 5000))
    assert (long.code, long.message) == (14, "é" * 5000)


async def test_a_body_without_a_length_is_bounded_too(client: httpx.AsyncClient) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 100_000

    reply = await client.post("/ingest/logs", content=endless(), headers={"Content-Type": "application/json"})
    assert reply.status_code == 413
    assert "CAUSEGRAPH_MAX_BODY_BYTES" in reply.json()["error"]
    assert read < 15


async def test_json_replies_count(client: httpx.AsyncClient, environment: str) -> None:
    url = f"/ingest/logs?environment={environment}"
    reply = await client.post(url, json=[LINE, {"service": "x"}])
    assert reply.status_code == 200
    first = reply.json()
    assert (first["accepted"], first["duplicate"], first["rejected"]) == (1, 0, 1)
    assert first["errors"] == ["record 2: timestamp: missing; message: missing"]
    assert first["watermark"] > 0
    again = (await client.post(url, json=[LINE, {"service": "x"}])).json()
    assert again == {**first, "accepted": 0, "duplicate": 1}
    keyed = [
        (await client.post(url, json=[LINE], headers={"Idempotency-Key": "k1"})).json()["accepted"] for _ in range(2)
    ]
    assert keyed == [1, 0]
    nothing = await client.post(url, json=[{"service": "x"}])
    assert (nothing.status_code, nothing.json()["rejected"]) == (400, 1)
    empty = await client.post(url, json=[])
    assert (empty.status_code, empty.json()["accepted"]) == (200, 0)
    assert empty.json()["watermark"] >= first["watermark"]


async def test_every_kind_has_its_address(client: httpx.AsyncClient, database: Database, environment: str) -> None:
    when = LINE["timestamp"]
    sent: list[tuple[str, Any]] = [
        ("changes", [{"timestamp": when, "service": "a", "kind": "flag", "summary": "on"}]),
        ("events", {"timestamp": 1709289720, "kind": "Pod", "object": "a-1", "text": "restarted"}),
        ("topology", {"edges": [{"source": "a", "target": "b"}]}),
        ("alerts/generic", {"name": "down", "status": "firing", "starts_at": when, "labels": {"app": "a"}}),
    ]
    for path, body in sent:
        reply = await client.post(f"/ingest/{path}", json=body, params={"environment": environment})
        assert (reply.status_code, reply.json()["accepted"]) == (200, 1), reply.text
        assert ("ids" in reply.json()) == (path == "changes")
    for table in ("change_event", "orchestrator_event", "stated_edge", "alert"):
        found = await rows(database, f"SELECT COUNT(*) FROM {table} WHERE environment = ?", environment)  # noqa: S608
        assert found == [(1,)]


async def test_what_cannot_be_read_is_named(client: httpx.AsyncClient, environment: str) -> None:
    ndjson = {"Content-Type": "application/x-ndjson"}
    body = json.dumps(LINE).encode() + b"\n{oops}\n"
    reply = await client.post(f"/ingest/logs?environment={environment}", content=body, headers=ndjson)
    assert (reply.status_code, reply.json()["accepted"], reply.json()["rejected"]) == (200, 1, 1)
    assert reply.json()["errors"][0].startswith("Line 2 of the NDJSON body is not JSON")
    reply = await client.post("/ingest/logs", content=b"{oops}\n{oops}\n", headers=ndjson)
    assert (reply.status_code, reply.json()["rejected"]) == (400, 2)
    reply = await client.post(
        "/ingest/logs", content=b"a=1", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    assert reply.status_code == 415
    reply = await client.post("/ingest/alerts/nagios", json=[])
    assert (reply.status_code, "alertmanager, grafana, generic" in reply.text) == (400, True)
    reply = await client.post("/ingest/logs", params={"environment": "e" * 65}, json=[LINE])
    assert (reply.status_code, "environment" in reply.text) == (400, True)


async def test_callers_need_the_role(client: httpx.AsyncClient) -> None:
    for path in ("/v1/logs", "/v1/traces", "/v1/metrics", "/ingest/logs", "/ingest/alerts/generic"):
        assert (await client.post(path, json=[], headers={"X-API-Key": "wrong"})).status_code == 401


class Wire:
    """A road to the database that can be cut."""

    def __init__(self, url: str, path: str) -> None:
        self._target = parse_database_url(url)
        self._path = path
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        name = self._target
        self.url = (
            f"mariadb://{name['user']}:{name.get('password', '')}@localhost/{name['database']}?unix_socket={path}"
        )

    async def open(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, self._path)

    async def cut(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "unix_socket" in self._target:
            there, back = await asyncio.open_unix_connection(self._target["unix_socket"])
        else:
            there, back = await asyncio.open_connection(self._target["host"], self._target["port"])
        self._writers |= {writer, back}
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._copy(reader, back), self._copy(there, writer))

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(65536):
            writer.write(piece)
            await writer.drain()
        writer.close()


async def test_with_the_database_down_nothing_is_acknowledged_and_a_retry_is_stored_once(
    stack: StackHandle, database: Database, environment: str, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    wire = Wire(stack.database_url, str(tmp_path / "wire.sock"))
    await wire.open()
    far = Database(wire.url, connections=2)
    transport = httpx.ASGITransport(build_app(far, tmp_path))
    url = f"/ingest/logs?environment={environment}"
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=KEY, timeout=30) as client:
        assert (await client.post(url, json=[LINE])).json()["accepted"] == 1
        await wire.cut()
        with caplog.at_level(logging.CRITICAL):
            for _ in range(3):
                down = await client.post(url, json=[LINE, LINE])
                assert (down.status_code, down.headers["Retry-After"]) == (503, "5"), down.text
            otlp = await client.post("/v1/logs", content=b"", headers=PROTOBUF)
            assert (otlp.status_code, Status.FromString(otlp.content).code) == (503, 14)
        await wire.open()
        replies = [(await client.post(url, json=[LINE, LINE])).json() for _ in range(2)]
    assert [(reply["accepted"], reply["duplicate"]) for reply in replies] == [(2, 0), (0, 2)]
    assert await count(database, environment) == (3, 3)
    await far.close()
    await wire.cut()

"""OTLP over gRPC, as the OpenTelemetry SDK sends it, and as nobody should."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import RetryInfo  # type: ignore[import-untyped]  # ships no types
from google.rpc.status_pb2 import Status  # type: ignore[import-untyped]  # ships no types
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from agents.services import Services
from api.otlp_grpc import OtlpGrpc
from domain.addresses import Address
from domain.errors import SettingsError, StorageUnavailable
from domain.settings import Settings
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source
from storage.database import Database
from storage.ingest import IngestStore

MAX_BYTES = 1_000_000
Logs: Any = LogsServiceStub  # generated code without types
Traces: Any = TraceServiceStub


@dataclass
class Listening:
    place: str
    source: Source
    key: str
    told: list[int]

    def channel(self, **more: Any) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.place, **more)

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("x-api-key", self.key),)


@contextlib.asynccontextmanager
async def listen(services: Services, ingest: Ingest, key: str) -> AsyncIterator[Listening]:
    source, told = Source("otlp-grpc", ""), list[int]()
    server = OtlpGrpc(ingest, services.keys, source, lambda: told.append(1))
    async with server.listening(Address("127.0.0.1", 0)) as place:
        yield Listening(str(place), source, key, told)


@pytest.fixture(scope="module")
async def ingest(database: Database) -> Ingest:
    return Ingest(IngestStore(database), Settings(max_body_bytes=MAX_BYTES))


@pytest.fixture(scope="module")
async def served(services: Services, ingest: Ingest) -> AsyncIterator[Listening]:
    _, key = await services.keys.create_key("grpc", "ingest")
    async with listen(services, ingest, key) as listening:
        yield listening


async def rows(database: Database, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
    def work(tx: Any) -> list[tuple[Any, ...]]:
        tx._cursor.execute(sql, parameters)
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.NoCompression])
async def test_the_sdk_is_understood(
    served: Listening, database: Database, environment: str, compression: grpc.Compression
) -> None:
    resource = Resource.create({"service.name": "checkout", "deployment.environment.name": environment})

    def send() -> None:
        options: dict[str, Any] = {
            "endpoint": served.place, "insecure": True, "headers": served.metadata, "compression": compression,
        }  # fmt: skip
        loggers = LoggerProvider(resource)
        loggers.add_log_record_processor(SimpleLogRecordProcessor(OTLPLogExporter(**options)))
        for number in range(3):
            loggers.get_logger("shop").emit(
                LogRecord(timestamp=1_709_289_720_000_000_000, severity_number=SeverityNumber.ERROR, body=f"n {number}")
            )
        tracers = TracerProvider(resource=resource)
        tracers.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(**options)))
        with tracers.get_tracer("shop").start_as_current_span("buy"):
            pass
        meters = MeterProvider([PeriodicExportingMetricReader(OTLPMetricExporter(**options), 1e9)], resource)
        meters.get_meter("shop").create_counter("orders").add(5)
        for provider in (meters, tracers, loggers):
            provider.shutdown()

    told = len(served.told)
    await asyncio.to_thread(send)
    for table, expected in (("log_event", 3), ("span", 1), ("metric_point", 1)):
        found = await rows(database, f"SELECT COUNT(*) FROM {table} WHERE environment = ?", environment)  # noqa: S608
        assert found == [(expected,)], table
    assert len(served.told) == told + 5
    assert served.source.counts["accepted"] >= 5


def logs(*lines: str) -> ExportLogsServiceRequest:
    request = ExportLogsServiceRequest()
    scope = request.resource_logs.add().scope_logs.add()
    for line in lines:
        scope.log_records.add(time_unix_nano=5000).body.string_value = line
    return request


async def test_a_retry_counts_once_and_metadata_names_the_environment(
    served: Listening, database: Database, environment: str
) -> None:
    async with served.channel() as channel:
        export = Logs(channel).Export
        bearer = (("authorization", f"Bearer {served.key}"), ("environment", environment))
        for _ in range(2):
            assert not (await export(logs("a", "a"), metadata=bearer)).HasField("partial_success")
    assert await rows(database, "SELECT COUNT(*) FROM log_event WHERE environment = ?", environment) == [(2,)]


async def test_partial_success_names_what_was_rejected(served: Listening, database: Database, environment: str) -> None:
    request = ExportTraceServiceRequest()
    scope = request.resource_spans.add().scope_spans.add()
    for span_id in (b"s" * 8, b""):
        scope.spans.add(trace_id=b"t" * 16, span_id=span_id, start_time_unix_nano=5000)
    async with served.channel() as channel:
        metadata = (*served.metadata, ("environment", environment))
        reply = await Traces(channel).Export(request, metadata=metadata)
    assert reply.partial_success.rejected_spans == 1
    assert reply.partial_success.error_message == "span 2: its span id is missing or malformed"
    assert await rows(database, "SELECT COUNT(*) FROM span WHERE environment = ?", environment) == [(1,)]


async def failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def test_callers_need_a_key_with_the_role(served: Listening, services: Services) -> None:
    _, reader = await services.keys.create_key("reader", "read")
    async with served.channel() as channel:
        export = Logs(channel).Export
        for metadata in (
            (),
            (("x-api-key", "cg_wrong"),),
            (("x-api-key", reader),),
            (("authorization", "Basic eA=="),),
        ):
            assert (await failure(export(logs("a"), metadata=metadata))).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_what_cannot_be_taken_is_refused_for_good(served: Listening) -> None:
    bomb = b"\x0a" * (50 * MAX_BYTES)
    async with served.channel(
        compression=grpc.Compression.Gzip, options=[("grpc.max_send_message_length", -1)]
    ) as channel:
        export = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Export")
        for body, code in (
            (b"\xff\xff", grpc.StatusCode.INVALID_ARGUMENT),
            (bomb, grpc.StatusCode.RESOURCE_EXHAUSTED),
        ):
            error = await failure(export(body, metadata=served.metadata, timeout=30))
            assert error.code() is code
            # Without a RetryInfo it is not sent again.
            assert "grpc-status-details-bin" not in dict(error.trailing_metadata() or ())
        long = (*served.metadata, ("environment", "e" * 65))
        assert (await failure(export(b"", metadata=long))).code() is grpc.StatusCode.INVALID_ARGUMENT
        unknown = channel.unary_unary("/opentelemetry.proto.collector.logs.v1.LogsService/Nothing")
        assert (await failure(unknown(b""))).code() is grpc.StatusCode.UNIMPLEMENTED


class _Away(Ingest):
    """An ingest whose database is away for the first deliveries."""

    failures = 1

    async def accept_otlp_logs(self, delivery: Delivery) -> Receipt:
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable
        return await super().accept_otlp_logs(delivery)


async def test_while_nothing_can_be_stored_senders_are_asked_to_come_again(
    services: Services, database: Database, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    away = _Away(IngestStore(database), Settings())
    _, key = await services.keys.create_key("again", "ingest")
    with caplog.at_level(logging.CRITICAL):
        async with listen(services, away, key) as listening:
            async with listening.channel() as channel:
                error = await failure(Logs(channel).Export(logs("a"), metadata=listening.metadata))
            assert error.code() is grpc.StatusCode.UNAVAILABLE
            told = dict(error.trailing_metadata() or ())
            status, info = Status.FromString(told["grpc-status-details-bin"]), RetryInfo()
            assert (status.code, status.details[0].Unpack(info)) == (14, True)
            assert (
                info.retry_delay.seconds == RetryInfo.FromString(told["google.rpc.retryinfo-bin"]).retry_delay.seconds
            )
            away.failures = 1
            exporter = OTLPLogExporter(endpoint=listening.place, insecure=True, headers=listening.metadata)
            loggers = LoggerProvider(Resource.create({"deployment.environment.name": environment}))
            loggers.add_log_record_processor(SimpleLogRecordProcessor(exporter))
            await asyncio.to_thread(loggers.get_logger("shop").emit, LogRecord(timestamp=5000, body="a"))
            await asyncio.to_thread(loggers.shutdown)
    assert await rows(database, "SELECT COUNT(*) FROM log_event WHERE environment = ?", environment) == [(1,)]
    assert listening.source.counts["refused"] == 2


async def test_a_port_is_never_shared_with_another_program(services: Services, served: Listening) -> None:
    host, _, port = served.place.rpartition(":")
    server = OtlpGrpc(services.ingest, services.keys, Source("second", ""), lambda: None)
    with pytest.raises(SettingsError, match="CAUSEGRAPH_GRPC_LISTEN"):
        async with server.listening(Address(host, int(port))):
            pass


@given(
    st.binary(max_size=200),
    st.sampled_from(["logs.v1.LogsService", "trace.v1.TraceService", "metrics.v1.MetricsService"]),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_bytes_are_answered(served: Listening, body: bytes, service: str) -> None:
    async with served.channel() as channel:
        call = channel.unary_unary(f"/opentelemetry.proto.collector.{service}/Export")
        try:
            await call(body, metadata=served.metadata, timeout=20)
        except grpc.aio.AioRpcError as exc:
            assert exc.code() is grpc.StatusCode.INVALID_ARGUMENT, exc

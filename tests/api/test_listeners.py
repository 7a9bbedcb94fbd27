"""The ways in beside HTTP, as the settings open them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub

from agents.services import Services
from api.app import build_app
from api.listeners import listening
from domain.errors import SettingsError
from domain.settings import Settings
from ingest.sources import Sources

Logs: Any = LogsServiceStub  # generated code without types


@contextlib.asynccontextmanager
async def listen(services: Services, **settings: Any) -> AsyncIterator[dict[str, Any]]:
    """Open what some settings ask for; gives what `/info` says of it, by name."""
    told = Settings(data_dir=services.settings.data_dir, **settings)
    mine = replace(services, settings=told, sources=Sources())
    async with listening(mine):
        yield {source.name: source for source in mine.sources.opened}
    assert mine.sources.opened == []


@pytest.fixture
def taken() -> Iterator[str]:
    """An address that another program has."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        held.listen()
        yield f"127.0.0.1:{held.getsockname()[1]}"


async def test_what_is_open_is_told_with_its_real_address(services: Services, admin_key: str, environment: str) -> None:
    settings = {
        "grpc_listen": "127.0.0.1:0", "syslog_udp_listen": "127.0.0.1:0", "syslog_tcp_listen": "127.0.0.1:0",
        "syslog_environments": f"127.0.0.0/8={environment}",
    }  # fmt: skip
    async with listen(services, **settings) as opened:
        assert set(opened) == {"otlp-grpc", "syslog-udp", "syslog-tcp"}
        request = ExportLogsServiceRequest()
        record = request.resource_logs.add().scope_logs.add().log_records.add(time_unix_nano=5000)
        record.body.string_value = environment
        async with grpc.aio.insecure_channel(opened["otlp-grpc"].address) as channel:
            await Logs(channel).Export(request, metadata=(("x-api-key", admin_key), ("environment", environment)))
        host, _, port = opened["syslog-tcp"].address.rpartition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"<13>app: hello\n")
        await writer.drain()
        end = time.monotonic() + 60
        while opened["syslog-tcp"].counts["accepted"] != 1:
            assert time.monotonic() < end
            await asyncio.sleep(0.02)
        writer.close()
        assert opened["otlp-grpc"].describe()["counts"] == {"accepted": 1}


async def test_info_tells_of_them(services: Services, admin_key: str) -> None:
    told = Settings(
        data_dir=services.settings.data_dir,
        grpc_listen="127.0.0.1:0",
        github_secret="hush",
        kafka_options="sasl.password=hush",
    )
    mine = replace(services, settings=told, sources=Sources())
    transport = httpx.ASGITransport(build_app(mine))
    async with (
        listening(mine),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": admin_key}) as client,
    ):
        reply = await client.get("/info")
    (source,) = reply.json()["sources"]
    assert (source["name"], source["problem"]) == ("otlp-grpc", "")
    assert "hush" not in reply.text


async def test_off_is_off(services: Services) -> None:
    async with listen(services, grpc_listen="off") as opened:
        assert opened == {}


async def test_a_default_port_is_left_to_whoever_has_it(
    services: Services, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Settings.model_fields["grpc_listen"], "default", taken)
    Settings.model_rebuild(force=True)
    try:
        async with listen(services) as opened:
            assert taken in opened["otlp-grpc"].problem
    finally:
        monkeypatch.undo()
        Settings.model_rebuild(force=True)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"grpc_listen": "TAKEN"}, "CAUSEGRAPH_GRPC_LISTEN"),
        ({"grpc_listen": "4317"}, "CAUSEGRAPH_GRPC_LISTEN"),
        ({"syslog_tcp_listen": "TAKEN"}, "CAUSEGRAPH_SYSLOG_TCP_LISTEN"),
        ({"syslog_udp_listen": "127.0.0.1:0", "syslog_allow": "x"}, "CAUSEGRAPH_SYSLOG_ALLOW"),
        ({"syslog_udp_listen": "127.0.0.1:0", "syslog_certificate": "/no/such.pem"}, "CAUSEGRAPH_SYSLOG_CERTIFICATE"),
        ({"kafka_topics": "a"}, "CAUSEGRAPH_KAFKA_SERVERS"),
        ({"kafka_servers": "127.0.0.1:1", "kafka_topics": "a=b"}, "CAUSEGRAPH_KAFKA_TOPICS"),
        ({"kafka_servers": "127.0.0.1:1", "kafka_topics": "a", "kafka_options": "x=y"}, "CAUSEGRAPH_KAFKA_OPTIONS"),
    ],
)
async def test_what_was_asked_for_and_cannot_be_had_is_an_error(
    services: Services, taken: str, settings: dict[str, str], named: str
) -> None:
    told = {"grpc_listen": "off"} | {name: taken if value == "TAKEN" else value for name, value in settings.items()}
    with pytest.raises(SettingsError, match=named):
        async with listen(services, **told):
            pass


async def test_kafka_that_is_away_keeps_nothing_from_starting_or_ending(services: Services) -> None:
    settings = {"kafka_servers": "127.0.0.1:1", "kafka_topics": "a", "kafka_insights_topic": "b"}
    async with asyncio.timeout(60), listen(services, grpc_listen="off", **settings) as opened:
        assert set(opened) == {"kafka", "kafka-insights"}

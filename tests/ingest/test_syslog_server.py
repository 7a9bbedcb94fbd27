"""The syslog listeners, with util-linux's `logger` as the sender."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import socket
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from domain.addresses import Address
from domain.errors import SettingsError, StorageError, StorageUnavailable
from domain.settings import Settings
from ingest import syslog_server
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source
from ingest.syslog import SyslogRules
from ingest.syslog_server import SyslogServer
from ingest.syslog_settings import read_networks, read_rules, read_tls
from storage.database import Database
from storage.ingest import IngestStore

LOCAL = Address("127.0.0.1", 0)
needs_logger = pytest.mark.skipif(shutil.which("logger") is None, reason="util-linux's `logger` is not installed")


class Gate(Ingest):
    """An ingest whose database is away while `shut`."""

    shut = False
    broken: Exception | None = None

    async def accept(self, kind: Any, form: str, delivery: Delivery, decode: Any) -> Receipt:
        if self.broken:
            raise self.broken
        if self.shut:
            raise StorageUnavailable
        return await super().accept(kind, form, delivery, decode)


@dataclass
class Listening:
    server: SyslogServer
    ingest: Gate
    udp: Source
    tcp: Source
    udp_port: int
    tcp_port: int


@contextlib.asynccontextmanager
async def listen(
    database: Database, environment: str, allow: str = "127.0.0.0/8", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Listening]:
    ingest = Gate(IngestStore(database), Settings())
    rules: SyslogRules = read_rules("UTC", f"127.0.0.0/8={environment}")
    server = SyslogServer(ingest, rules, read_networks("syslog_allow", allow), lambda: None)
    udp, tcp = Source("syslog-udp", ""), Source("syslog-tcp", "")
    async with (
        server.storing(),
        server.listening_udp(LOCAL, udp) as udp_at,
        server.listening_tcp(LOCAL, tcp, tls) as tcp_at,
    ):
        yield Listening(server, ingest, udp, tcp, udp_at.port, tcp_at.port)


async def messages(database: Database, environment: str) -> list[tuple[Any, ...]]:
    def work(tx: Any) -> list[tuple[Any, ...]]:
        sql = "SELECT service, level, message, attributes FROM log_event WHERE environment = ? ORDER BY message"
        tx._cursor.execute(sql, (environment,))
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


async def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def run_logger(*arguments: str) -> None:
    process = await asyncio.create_subprocess_exec("logger", "--server", "127.0.0.1", *arguments)
    assert await asyncio.wait_for(process.wait(), 30) == 0


@needs_logger
async def test_logger_is_understood_in_every_framing(database: Database, environment: str) -> None:
    common = ("-t", "cart", "-p", "local0.err")
    async with listen(database, environment) as listening:
        udp, tcp = ("--udp", "-P", str(listening.udp_port)), ("--tcp", "-P", str(listening.tcp_port))
        await run_logger(*udp, "--rfc3164", *common, "a udp 3164")
        await run_logger(*udp, "--rfc5424", *common, "b udp 5424")
        await run_logger(*tcp, "--rfc3164", *common, "c tcp 3164")
        detail = ("--sd-id", "order@1", "--sd-param", 'number="7"', "--msgid", "PLACED")
        await run_logger(*tcp, "--rfc5424", *detail, *common, "d tcp 5424")
        await run_logger(*tcp, "--rfc5424", "--octet-count", *common, "e counted")
        await until(lambda: listening.udp.counts["accepted"] == 2 and listening.tcp.counts["accepted"] == 3)
    found = await messages(database, environment)
    assert [row[:3] for row in found] == [
        ("cart", 17, text) for text in ("a udp 3164", "b udp 5424", "c tcp 3164", "d tcp 5424", "e counted")
    ]
    assert '"order@1.number":"7"' in found[3][3].replace(" ", "")


async def test_while_nothing_can_be_stored_tcp_waits_and_udp_counts_what_it_drops(
    database: Database, environment: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(syslog_server, "_QUEUE_BYTES", 20_000)
    lines = [f"<13>app: line {number:05d}" for number in range(2000)]
    with caplog.at_level(logging.CRITICAL):
        async with listen(database, environment) as listening:
            listening.ingest.shut = True
            _, writer = await asyncio.open_connection("127.0.0.1", listening.tcp_port)
            writer.write("\n".join(lines).encode())
            writer.write_eof()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:

                def dropped() -> bool:
                    sock.sendto(b"<13>app: too much", ("127.0.0.1", listening.udp_port))
                    return listening.udp.counts["dropped"] > 0

                await until(dropped)
            assert listening.tcp.counts["accepted"] == 0
            listening.ingest.shut = False
            await until(lambda: listening.tcp.counts["accepted"] == len(lines))
            writer.close()
    stored = [row[2] for row in await messages(database, environment)]
    assert [text for text in stored if text.startswith("line")] == [line.removeprefix("<13>app: ") for line in lines]


@pytest.mark.parametrize("broken", [ZeroDivisionError("a defect"), StorageError("refused")])
async def test_what_can_never_be_stored_is_counted_and_blocks_nothing(
    database: Database,
    environment: str,
    broken: Exception,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(syslog_server, "_RETRY_SECONDS", (0.01,))
    with caplog.at_level(logging.CRITICAL):
        async with listen(database, environment) as listening:
            listening.ingest.broken = broken
            _, writer = await asyncio.open_connection("127.0.0.1", listening.tcp_port)
            writer.write(b"<13>app: bad\n")
            await until(lambda: listening.tcp.counts["lost"] == 1)
            listening.ingest.broken = None
            writer.write(b"<13>app: good\n")
            await until(lambda: listening.tcp.counts["accepted"] == 1)
            writer.close()
    assert [row[2] for row in await messages(database, environment)] == ["good"]


async def test_what_was_taken_is_stored_at_the_end(database: Database, environment: str) -> None:
    async with listen(database, environment) as listening:
        _, writer = await asyncio.open_connection("127.0.0.1", listening.tcp_port)
        writer.write(b"<13>app: one\n<13>app: two without an end")
        writer.write_eof()
        await until(lambda: len(listening.server._queue) == 2)
        writer.close()
    assert [row[2] for row in await messages(database, environment)] == ["one", "two without an end"]


async def test_only_networks_that_are_allowed_are_listened_to(database: Database, environment: str) -> None:
    async with listen(database, environment, allow="10.0.0.0/8") as listening:
        reader, writer = await asyncio.open_connection("127.0.0.1", listening.tcp_port)
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"<13>app: x", ("127.0.0.1", listening.udp_port))
        await until(lambda: listening.udp.counts["refused"] == listening.tcp.counts["refused"] == 1)
    assert await messages(database, environment) == []


async def test_a_port_that_is_taken_is_named(database: Database, environment: str) -> None:
    async with listen(database, environment) as listening:
        for open_it, port in (
            (listening.server.listening_udp, listening.udp_port),
            (listening.server.listening_tcp, listening.tcp_port),
        ):
            with pytest.raises(SettingsError, match=r"CAUSEGRAPH_SYSLOG_(UDP|TCP)_LISTEN"):
                async with open_it(Address("127.0.0.1", port), Source("second", "")):
                    pass


def make_certificate(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(certificate.public_bytes(encoding))
    (folder / "key.pem").write_bytes(key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain))
    return folder / "cert.pem", folder / "key.pem"


async def test_tls(database: Database, environment: str, tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    with pytest.raises(SettingsError, match="CAUSEGRAPH_SYSLOG_CERTIFICATE"):
        read_tls(key, certificate)
    async with listen(database, environment, tls=read_tls(certificate, key)) as listening:
        trusted = ssl.create_default_context(cafile=str(certificate))
        _, writer = await asyncio.open_connection("localhost", listening.tcp_port, ssl=trusted)
        writer.write(b"22 <13>app: over the wire")
        await writer.drain()
        writer.close()
        await until(lambda: listening.tcp.counts["accepted"] == 1)
    assert [row[2] for row in await messages(database, environment)] == ["over the wire"]

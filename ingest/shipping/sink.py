"""Where batches go: `POST /ingest/logs` of a server, one at a time over one connection, in a thread of its own."""

from __future__ import annotations

import asyncio
import http.client
import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal, Protocol
from urllib.parse import quote, urlsplit

import msgspec

from domain.errors import SettingsError

_TIMEOUT_SECONDS = 60.0
_REPLY_BYTES = 1024 * 1024
_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_BAD_BATCH = {400, 413, 415, 422}


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a batch.

    `taken`: acknowledged, with its counts. `refused`: these bytes will never be taken. `later`: send the same again, after
    `wait_seconds` at least if that is set. `wrong`: as later, but a person has to change something first.
    """

    outcome: Literal["taken", "refused", "later", "wrong"]
    reason: str = ""
    wait_seconds: float = 0.0
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    errors: tuple[str, ...] = ()


class Sink(Protocol):
    """Takes batches of NDJSON, compressed with zstd."""

    async def send(self, body: bytes, key: str) -> Answer:
        """Deliver a batch under its Idempotency-Key and say what became of it; raises nothing for what may pass."""

    async def close(self) -> None: ...


class _Receipt(msgspec.Struct):
    accepted: int = 0
    duplicate: int = 0
    rejected: int = 0
    errors: list[str] = []


class HttpSink:
    """A Causegraph server. Raises SettingsError for an address that is none."""

    def __init__(self, server: str, api_key: str, environment: str = "", ca_file: str = "") -> None:
        try:
            parts = urlsplit(server)
            port = parts.port
        except ValueError as exc:
            raise SettingsError(f"{server!r} is not an address: {exc}") from exc
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SettingsError(
                f"The server must be an address such as https://causegraph.example:8765, not {server!r}."
            )
        self._host, self._port, self._is_tls = parts.hostname, port, parts.scheme == "https"
        self._path = f"{parts.path.rstrip('/')}/ingest/logs"
        if environment:
            self._path += f"?environment={quote(environment, safe='')}"
        self._headers = {
            "Content-Type": "application/x-ndjson",
            "Content-Encoding": "zstd",
            "User-Agent": "causegraph-ship",
            "X-API-Key": api_key,
            "Prefer": "return=minimal",
        }
        self._ca_file = ca_file
        self._connection: http.client.HTTPConnection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ship-send")

    async def send(self, body: bytes, key: str) -> Answer:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._send, body, key)

    async def close(self) -> None:
        if self._connection is not None and self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(socket.SHUT_RDWR)  # wakes the thread, if it waits for a reply
        self._thread.submit(self._disconnect)
        self._thread.shutdown(wait=False)

    def _send(self, body: bytes, key: str) -> Answer:
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.request("POST", self._path, body, {**self._headers, "Idempotency-Key": key})
            reply = self._connection.getresponse()
            text = reply.read(_REPLY_BYTES)
            if not reply.isclosed():
                self._disconnect()  # more than is worth reading
            return read_answer(reply.status, reply.headers.get("Retry-After", ""), text)
        except (OSError, http.client.HTTPException) as exc:
            self._disconnect()
            wrong = isinstance(exc, ssl.SSLCertVerificationError)
            return Answer("wrong" if wrong else "later", f"{self._host}: {exc or type(exc).__name__}")

    def _connect(self) -> http.client.HTTPConnection:
        if not self._is_tls:
            return http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS)
        context = ssl.create_default_context(cafile=self._ca_file or None)
        return http.client.HTTPSConnection(self._host, self._port, timeout=_TIMEOUT_SECONDS, context=context)

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def read_answer(status: int, retry_after: str, text: bytes) -> Answer:
    """Return what a reply means for the batch that it answers."""
    try:
        receipt = msgspec.json.decode(text, type=_Receipt)
    except (msgspec.DecodeError, msgspec.ValidationError, UnicodeDecodeError):
        receipt = None
    if status == 200:
        if receipt is None:
            return Answer("wrong", "the reply is not Causegraph's: does the address lead to its server?")
        counts = receipt.accepted, receipt.duplicate, receipt.rejected
        return Answer("taken", "", 0.0, *counts, tuple(receipt.errors))
    reason = f"status {status}: {text[:300].decode('utf-8', 'replace')}"
    if status in _BAD_BATCH:
        return Answer("refused", reason, errors=tuple(receipt.errors) if receipt else ())
    if status in _RETRIED or status >= 500:
        return Answer("later", reason, _seconds(retry_after))
    return Answer("wrong", reason, _seconds(retry_after))


def _seconds(retry_after: str) -> float:
    text = retry_after.strip()
    return min(float(text), 3600.0) if text.isascii() and text.isdigit() else 0.0

"""Listens for syslog over UDP and TCP, and hands what comes to `Ingest` in batches.

Syslog has no acknowledgement: what is in memory when the process dies is lost, and over UDP also what comes faster than
it can be stored. The latter is counted (`dropped`); over TCP the sender is made to wait instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

from domain.addresses import Address
from domain.errors import CausegraphError, SettingsError, StorageBusy, StorageFull, StorageUnavailable
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source
from ingest.syslog import Frame, Network, SyslogRules, decode_frames, encode_frames, read_peer
from ingest.syslog_framing import Framer

logger = logging.getLogger(__name__)

MESSAGE_BYTES = 64 * 1024
_QUEUE_BYTES = 16 * 1024 * 1024
_FRAME_COST = 200  # bytes that a frame takes beside its content
_BATCH = 2000  # frames
_GATHER_SECONDS = 0.2
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSALS = 5  # after so many errors that are no outage, a batch is given up
_STOP_SECONDS = 10.0
_CONNECTIONS = 256
_RECEIVE_BUFFER = 4 * 1024 * 1024


class SyslogServer:
    """One set of rules, one queue, any number of listeners. Use inside `storing()`."""

    def __init__(
        self, ingest: Ingest, rules: SyslogRules, allowed: Sequence[Network], notify: Callable[[], None]
    ) -> None:
        self._ingest = ingest
        self._rules = rules
        self._allowed = allowed
        self._notify = notify
        self._queue: deque[tuple[Source, Frame]] = deque()
        self._bytes = 0
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()
        self._stopping = False

    @asynccontextmanager
    async def storing(self) -> AsyncIterator[None]:
        """Store what the listeners take, for as long as the block lasts; at its end, what they have taken."""
        task = asyncio.create_task(self._store_all())
        try:
            yield
        finally:
            self._stopping = True
            self._filled.set()
            try:
                await asyncio.wait_for(task, _STOP_SECONDS)
            except TimeoutError:
                logger.error("Syslog messages were lost at the end.", extra={"messages": len(self._queue)})

    @asynccontextmanager
    async def listening_udp(self, address: Address, source: Source) -> AsyncIterator[Address]:
        """Take datagrams, one message each. Gives the address with its real port; raises SettingsError."""
        loop = asyncio.get_running_loop()
        try:
            transport, _ = await loop.create_datagram_endpoint(
                lambda: _Datagrams(partial(self._take_datagram, source)), local_addr=(address.host, address.port)
            )
        except OSError as exc:
            raise _unavailable("syslog_udp_listen", address, exc) from exc
        sock = transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        try:
            yield Address(address.host, sock.getsockname()[1])
        finally:
            transport.close()

    @asynccontextmanager
    async def listening_tcp(
        self, address: Address, source: Source, tls: ssl.SSLContext | None = None
    ) -> AsyncIterator[Address]:
        """Take connections. Gives the address with its real port; raises SettingsError."""
        open_now: set[asyncio.StreamWriter] = set()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = str((writer.get_extra_info("peername") or ("",))[0])
            if not self._is_allowed(peer) or len(open_now) >= _CONNECTIONS:
                source.counts["refused"] += 1
                writer.close()
                return
            open_now.add(writer)
            try:
                await self._take_stream(reader, peer, source)
            finally:
                open_now.discard(writer)
                writer.close()

        try:
            server = await asyncio.start_server(take, address.host, address.port, ssl=tls)
        except OSError as exc:
            raise _unavailable("syslog_tcp_listen", address, exc) from exc
        try:
            yield Address(address.host, server.sockets[0].getsockname()[1])
        finally:
            server.close()
            for writer in [*open_now]:
                writer.transport.abort()

    # Taking

    def _is_allowed(self, peer: str) -> bool:
        address = read_peer(peer)
        return address is not None and any(address in network for network in self._allowed)

    def _take_datagram(self, source: Source, content: bytes, peer: str) -> None:
        if not self._is_allowed(peer):
            source.counts["refused"] += 1
        elif self._bytes >= _QUEUE_BYTES:
            source.counts["dropped"] += 1
        else:
            self._put(source, Frame(peer, time.time_ns() // 1000, content[:MESSAGE_BYTES]))

    async def _take_stream(self, reader: asyncio.StreamReader, peer: str, source: Source) -> None:
        framer = Framer(MESSAGE_BYTES)
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while data := await reader.read(MESSAGE_BYTES):
                for content in framer.feed(data):
                    self._put(source, Frame(peer, time.time_ns() // 1000, content))
                while self._bytes >= _QUEUE_BYTES:  # the sender is not read from until there is room
                    self._emptied.clear()
                    await self._emptied.wait()
        if content := framer.rest():
            self._put(source, Frame(peer, time.time_ns() // 1000, content))

    def _put(self, source: Source, frame: Frame) -> None:
        if frame.content.strip(b"\r\n\0 "):
            self._queue.append((source, frame))
            self._bytes += len(frame.content) + _FRAME_COST
            self._filled.set()

    # Storing

    async def _store_all(self) -> None:
        while True:
            await self._filled.wait()
            if not self._queue:
                if self._stopping:
                    return
                self._filled.clear()
                continue
            if len(self._queue) < _BATCH and not self._stopping:
                await asyncio.sleep(_GATHER_SECONDS)
            taken = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            await self._store(taken)
            self._bytes -= sum(len(frame.content) + _FRAME_COST for _, frame in taken)
            self._emptied.set()

    async def _store(self, taken: Sequence[tuple[Source, Frame]]) -> None:
        by_source: dict[int, tuple[Source, list[Frame]]] = {}
        for source, frame in taken:
            by_source.setdefault(id(source), (source, []))[1].append(frame)
        for source, frames in by_source.values():
            receipt = await self._deliver(frames, source)
            if receipt is not None:
                source.count(receipt)
                self._notify()

    async def _deliver(self, frames: Sequence[Frame], source: Source) -> Receipt | None:
        """Store frames, for as long as that takes; None if they can never be stored."""
        # The key makes a try whose answer was lost count once. Messages have no identity of their own.
        delivery = Delivery(encode_frames(frames), idempotency_key=uuid.uuid4().hex, bulk=True)
        tries = refusals = 0
        while True:
            try:
                return await self._ingest.accept("logs", "syslog", delivery, partial(decode_frames, self._rules))
            except CausegraphError as exc:
                if not isinstance(exc, StorageUnavailable | StorageBusy | StorageFull):
                    refusals += 1
                if refusals >= _REFUSALS:
                    source.counts["lost"] += len(frames)
                    logger.error("Syslog messages cannot be stored.", extra={"reason": str(exc)})
                    return None
                if tries == 0:
                    logger.warning("Syslog messages wait to be stored.", extra={"reason": str(exc)})
            except Exception:  # the outermost loop: one batch must not end the storing of all
                source.counts["lost"] += len(frames)
                logger.exception("Syslog messages cannot be stored.")
                return None
            await asyncio.sleep(_RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
            tries += 1


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, take: Callable[[bytes, str], None]) -> None:
        self._take = take

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._take(data, addr[0])


def _unavailable(setting: str, address: Address, exc: OSError) -> SettingsError:
    return SettingsError(
        f"{address} cannot be listened on ({exc.strerror or exc}): set CAUSEGRAPH_{setting.upper()} to a free address. "
        "Ports below 1024, such as 514, need a privilege: let the sender use another, such as 5514."
    )

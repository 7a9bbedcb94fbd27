"""The loop: portions of every source through the filter into batches, batches into the outbox, the outbox to the server."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from domain.errors import ShippingError
from ingest.shipping.delivery import Delivery, compress
from ingest.shipping.filtering import Filter
from ingest.shipping.line import Line
from ingest.shipping.sink import Sink
from ingest.shipping.source import Portion, Source
from ingest.shipping.state import State

logger = logging.getLogger(__name__)

_COUNTED = "counted\n"
_REPORTED = "reported\n"
_DISK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class ShipperOptions:
    """When a batch is closed, how much may wait for the server (bytes, compressed), and times in seconds."""

    batch_bytes: int = 1024 * 1024
    batch_lines: int = 10_000
    batch_seconds: float = 1.0
    outbox_bytes: int = 64 * 1024 * 1024
    poll_seconds: float = 0.2
    report_seconds: float = 60.0
    grace_seconds: float = 5.0
    give_up_seconds: float = 300.0
    node: str = ""


class Shipper:
    """Ships what the sources bring. Reading stops while the outbox is full, so that memory and disk are bounded."""

    def __init__(
        self, state: State, sources: Sequence[Source], rules: Filter, sink: Sink, options: ShipperOptions
    ) -> None:
        self.read_lines = 0
        self.delivery = Delivery(state, sink)
        self._state = state
        self._sources = sources
        self._filter = rules
        self._options = options
        self._stopping = asyncio.Event()
        self._lines: list[Line] = []
        self._size = 0
        self._cursors: dict[str, dict[str, bytes | None]] = {}
        self._reported: Counter[str] = Counter()
        self._sending: asyncio.Task[None] | None = None
        self._give_up_seconds = math.inf
        self._began = 0.0
        self._reported_at = time.monotonic()
        self._encode = msgspec.json.Encoder().encode_lines

    def stop(self) -> None:
        """Stop reading; `run` saves what was read, gives the server a few seconds to take it, and returns."""
        self._stopping.set()

    async def run(self, *, once: bool = False) -> bool:
        """Ship until `stop`, or with `once` until everything that is there was delivered.

        False if something still waits in the outbox; it will be sent by the next run. Raises ShippingError.
        """
        for source in self._sources:
            await source.start(self._state.cursors(source.name))
        self._give_up_seconds = self._options.give_up_seconds if once else math.inf
        sending = self._sending = asyncio.create_task(self.delivery.run(until_empty=self._stopping.is_set))
        try:
            await self._read_all(sending)
            await self._save()
            self._stopping.set()
            self.delivery.announce()
            await self._drain(sending, self._options.give_up_seconds if once else self._options.grace_seconds)
        finally:
            sending.cancel()
            with suppress(asyncio.CancelledError):
                await sending
            for source in self._sources:
                await source.close()
        return self._state.waiting().batches == 0

    async def _read_all(self, sending: asyncio.Task[None]) -> None:
        while not self._stopping.is_set():
            if sending.done():
                sending.result()
            found = await self._read_some()
            if self._is_due():
                await self._save()
            if found:
                await asyncio.sleep(0)
            elif all(source.is_finished() for source in self._sources):
                self._report(force=True)
                return
            else:
                await self._pause(self._options.poll_seconds)

    async def _read_some(self) -> bool:
        """Take a portion of each source; False if none had one."""
        found = False
        for source in self._sources:
            portion = await source.read()
            for said in source.describe():
                logger.warning(said, extra={"source": source.name})
            if portion is not None:
                found = True
                self._add(source.name, portion)
                if self._is_full():
                    await self._save()
        return found

    def _add(self, name: str, portion: Portion) -> None:
        self._touch()
        self._cursors.setdefault(name, {}).update(portion.cursors)
        self.read_lines += len(portion.lines)
        self._lines += self._filter.apply(portion.lines)
        self._size += portion.size

    def _touch(self) -> None:
        if not self._cursors and not self._lines:
            self._began = time.monotonic()

    def _is_full(self) -> bool:
        return self._size >= self._options.batch_bytes or len(self._lines) >= self._options.batch_lines

    def _is_due(self) -> bool:
        self._report()
        return bool(self._cursors or self._lines) and time.monotonic() - self._began >= self._options.batch_seconds

    async def _save(self) -> None:
        """Put what was gathered into the outbox; waits while that is full."""
        if not self._cursors and not self._lines:
            return
        await self._wait_for_room()
        counts = self._counts()
        body = compress(self._encode(self._lines)) if self._lines else None
        while True:
            try:
                self._state.save(self._cursors, body, len(self._lines), counts)
                break
            except ShippingError as exc:
                if self._stopping.is_set():
                    raise
                logger.error("Reading stands still.", extra={"reason": str(exc)})
                await self._pause(_DISK_SECONDS)
        self._lines, self._size, self._cursors = [], 0, {}
        self._reported.clear()
        self._filter.dropped.clear()
        self._filter.counted.clear()
        self.delivery.announce()

    async def _wait_for_room(self) -> None:
        full_since = time.monotonic()
        while not self._stopping.is_set() and self._state.waiting().size >= self._options.outbox_bytes:
            if self._sending is not None and self._sending.done():
                self._sending.result()
            if time.monotonic() - full_since > self._give_up_seconds:
                self.stop()
            with suppress(TimeoutError):
                async with asyncio.timeout(self._options.poll_seconds):
                    await self.delivery.room()

    def _counts(self) -> Counter[str]:
        counts = Counter({f"dropped\n{rule}": number for rule, number in self._filter.dropped.items()})
        counts.update({f"{_COUNTED}{rule}\n{service}": n for (rule, service), n in self._filter.counted.items()})
        counts.update(self._reported)
        counts["read"] = len(self._lines)
        return counts

    def _report(self, *, force: bool = False) -> None:
        """Ship how many lines were only counted since the last report, a line for each rule and service."""
        now = time.monotonic()
        if not force and now - self._reported_at < self._options.report_seconds:
            return
        self._reported_at = now
        totals = Counter(self._state.counters())
        totals.update(self._reported)
        totals.update({f"{_COUNTED}{rule}\n{service}": n for (rule, service), n in self._filter.counted.items()})
        for name, total in totals.items():
            if name.startswith(_COUNTED):
                rule, _, service = name.removeprefix(_COUNTED).partition("\n")
                fresh = total - totals[f"{_REPORTED}{rule}\n{service}"]
                if fresh > 0:
                    self._touch()
                    self._lines.append(_counted_line(rule, service, fresh, self._options.node))
                    self._reported[f"{_REPORTED}{rule}\n{service}"] += fresh

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _drain(self, sending: asyncio.Task[None], seconds: float) -> None:
        """Wait for the outbox to empty, for as long as there is progress within so many seconds."""
        left = self._state.waiting().batches
        while not sending.done():
            await asyncio.wait([sending], timeout=seconds)
            now_left = self._state.waiting().batches
            if not sending.done() and now_left >= left:
                return
            left = now_left
        sending.result()


def _counted_line(rule: str, service: str, count: int, node: str) -> Line:
    return Line(
        timestamp=time.time_ns() // 1000,
        service=service,
        message=f"{count} lines were only counted by the shipper's rule {rule!r}",
        level="info",
        node=node,
        attributes={"filter.name": rule, "filter.count": count},
    )

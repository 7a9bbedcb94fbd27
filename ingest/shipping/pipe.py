"""The source that reads standard input, or another pipe. What was read cannot be read again: the outbox keeps it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, tzinfo

from ingest.raw_lines import LineReader
from ingest.shipping.assembly import Assembler, Naming
from ingest.shipping.formats import Form
from ingest.shipping.line import MAX_LINE_BYTES
from ingest.shipping.source import Portion
from ingest.shipping.tail import CHUNK_BYTES, Chunk, Cursor


class PipeSource:
    """Reads a pipe to its end. While the outbox is full nothing is read, and the writer waits.

    Lines that were taken from the pipe are saved within the time of a batch; a crash before that loses them, since a pipe
    cannot be read twice.
    """

    def __init__(
        self,
        name: str,
        fd: int,
        naming: Naming,
        *,
        form: Form | None = "plain",
        joins: bool = True,
        parses: bool = False,
        encoding: str = "utf-8",
        join_seconds: float = 1.0,
        zone: tzinfo | None = None,
    ) -> None:
        self.name = name
        self._fd = fd
        reader = LineReader(zone or UTC) if parses else None
        cursor = Cursor(name, 0, 0)
        self._assembler = Assembler(cursor, naming, form, joins=joins, encoding=encoding, reader=reader, zone=zone)
        self._join_seconds = join_seconds
        self._rest = b""
        self._cut = 0
        self._is_finished = False
        self._next_idle = 0.0

    async def start(self, cursors: Mapping[str, bytes]) -> None:
        os.set_blocking(self._fd, False)

    async def read(self) -> Portion | None:
        if self._is_finished:
            return None
        try:
            data = os.read(self._fd, CHUNK_BYTES)
        except BlockingIOError:
            return self._flush_idle()
        now_us = time.time_ns() // 1000
        if not data:
            self._is_finished = True
            lines = self._assembler.add(Chunk([self._rest] if self._rest else [], 0, self._cut), now_us)
            return Portion(lines + self._assembler.flush())
        *whole, rest = (self._rest + data).split(b"\n")
        chunk = Chunk(whole, len(data), self._cut if whole else 0)
        if whole:
            self._cut = 0
        self._cut += max(0, len(rest) - MAX_LINE_BYTES)
        self._rest = rest[:MAX_LINE_BYTES]
        return Portion(self._assembler.add(chunk, now_us), {}, len(data))

    def is_finished(self) -> bool:
        return self._is_finished

    async def close(self) -> None:
        with suppress(OSError):
            os.set_blocking(self._fd, True)

    def describe(self) -> list[str]:
        return []

    def _flush_idle(self) -> Portion | None:
        now = asyncio.get_running_loop().time()
        if now < self._next_idle:
            return None
        self._next_idle = now + self._join_seconds
        lines = self._assembler.flush_idle()
        return Portion(lines) if lines else None

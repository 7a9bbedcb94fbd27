"""The sending half: batches of the outbox in order, each again and again until it is acknowledged or taken apart."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from collections import Counter
from collections.abc import Callable

import msgspec
import zstandard

from ingest.shipping.sink import Answer, Sink
from ingest.shipping.state import Batch, State

logger = logging.getLogger(__name__)

MAX_BODY_BYTES = 256 * 1024 * 1024
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 60.0
_COMPLAIN_SECONDS = 60.0
_RECORD = re.compile(r"record (\d{1,9}): ")
_LEVEL = 1  # on log lines hardly larger than 3, in half the time


def compress(ndjson: bytes) -> bytes:
    """Return what the outbox keeps and the sink sends."""
    return zstandard.ZstdCompressor(level=_LEVEL).compress(ndjson)


class Delivery:
    """Sends what is in the outbox. Nothing leaves it unacknowledged, but for records that the server refuses for good:
    those are set aside in a file and counted."""

    def __init__(self, state: State, sink: Sink) -> None:
        self.trouble = ""
        self.tried_at = 0.0
        self._state = state
        self._sink = sink
        self._complained_at = 0.0
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    def announce(self) -> None:
        """Say that a batch has come into the outbox."""
        self._arrived.set()

    async def room(self) -> None:
        """Wait until a batch has left the outbox."""
        self._room.clear()
        await self._room.wait()

    async def run(self, *, until_empty: Callable[[], bool]) -> None:
        """Send until cancelled, or until the outbox is empty once `until_empty` says that this is the end."""
        while True:
            batch = self._state.next_batch()
            if batch is None:
                if until_empty():
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            counts = await self._deliver(batch)
            self._state.finish(batch, counts)
            self.trouble = ""
            self._room.set()

    async def _deliver(self, batch: Batch) -> Counter[str]:
        counts: Counter[str] = Counter(batches=1)
        answer = await self._insist(batch.body, batch.key)
        if answer.outcome == "taken":
            self._count(answer, counts, lambda: split_records(batch.body))
            return counts
        await self._take_apart(split_records(batch.body), batch.key, answer, counts)
        return counts

    async def _take_apart(self, records: list[bytes], key: str, answer: Answer, counts: Counter[str]) -> None:
        """Send the halves of a refused batch, and of refused halves, down to the records that are refused by themselves.

        The halves' keys follow from the batch's, so that a crash on the way changes nothing.
        """
        if len(records) == 1:
            self._set_aside(records, answer.reason, counts)
            return
        middle = len(records) // 2
        for name, half in (("a", records[:middle]), ("b", records[middle:])):
            half_key = f"{key}{name}"
            reply = await self._insist(compress(b"\n".join(half)), half_key)
            if reply.outcome == "taken":
                self._count(reply, counts, half.copy)
            else:
                await self._take_apart(half, half_key, reply, counts)

    async def _insist(self, body: bytes, key: str) -> Answer:
        """Send until there is an answer that is final: taken or refused."""
        wait = _FIRST_WAIT_SECONDS
        while True:
            self.tried_at = time.monotonic()
            answer = await self._sink.send(body, key)
            if answer.outcome in ("taken", "refused"):
                return answer
            self._complain(answer)
            # Half of it by chance, so that many nodes do not come back in step.
            await asyncio.sleep(max(answer.wait_seconds, wait / 2) + random.uniform(0, wait / 2))  # noqa: S311
            wait = min(wait * 2, _LONGEST_WAIT_SECONDS)

    def _complain(self, answer: Answer) -> None:
        now = time.monotonic()
        if answer.reason != self.trouble or now - self._complained_at > _COMPLAIN_SECONDS:
            logger.warning("Nothing is delivered; it is tried again.", extra={"reason": answer.reason})
            self._complained_at = now
            self._state.note("trouble", answer.reason)
        self.trouble = answer.reason

    def _count(self, answer: Answer, counts: Counter[str], records: Callable[[], list[bytes]]) -> None:
        counts.update(accepted=answer.accepted, duplicate=answer.duplicate)
        if not answer.rejected:
            return
        bodies = records()
        numbers = {int(found[1]): reason for reason in answer.errors if (found := _RECORD.match(reason))}
        for number, reason in numbers.items():
            if 1 <= number <= len(bodies):
                self._set_aside([bodies[number - 1]], reason, counts)
        unnamed = answer.rejected - len(numbers)
        if unnamed > 0:
            counts["rejected"] += unnamed
            logger.warning("The server rejected records without naming them.", extra={"records": unnamed})

    def _set_aside(self, records: list[bytes], reason: str, counts: Counter[str]) -> None:
        self._state.set_aside(
            b"".join(
                msgspec.json.encode({"reason": reason, "record": record.decode("utf-8", "replace")}) + b"\n"
                for record in records
            )
        )
        counts["set_aside"] += len(records)
        logger.warning("The server refused a record for good; it is set aside.", extra={"reason": reason})


def split_records(body: bytes) -> list[bytes]:
    """Return the records of a compressed NDJSON body."""
    plain = zstandard.ZstdDecompressor().decompress(body, max_output_size=MAX_BODY_BYTES)
    return [record for record in plain.split(b"\n") if record]

"""What makes an acknowledgement true: each delivery is synced to a spool on the disk, then drained into the database.

A delivery is acknowledged when its frame is on the disk; many share one sync. What is drained again after a crash is in
the ledger by then and changes nothing. While the database is away the spool holds, and the acknowledgement stays true.

Each process has a spool folder of its own under one root. A folder whose process died is adopted by another one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.errors import StorageBusy, StorageError, StorageUnavailable
from domain.times import SECOND_US
from storage.batch import Batch, PreparedBatch, prepare
from storage.dead_letters import DeadLetters
from storage.drain import Drain
from storage.frames import Head, encode_frame
from storage.ingest import IngestStore, Written
from storage.lane import Lane, Waiting, open_lane, open_own_lane, undrained_elsewhere
from storage.spool import read_position

logger = logging.getLogger(__name__)

_HELD_RECORDS = 30_000  # kept in memory as rows; others are read from the disk when it is their turn
_FEW_RECORDS = 500  # so few on their way are in the database at once: also bulk deliveries wait for them
_MANY_RECORDS = 20_000  # with so many on their way, bulk deliveries wait for their turn: their senders slow down
_DELIVERIES = 200_000
_ADOPT_SECONDS = 3.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class SpoolStatus:
    """What is in the spools of this process. `problem` is why they are not being drained, or empty."""

    deliveries: int
    records: int
    bytes: int
    oldest_seconds: float
    problem: str
    adopted: int
    damaged: int
    torn: int


class SpooledStore:
    """A `Sink` that acknowledges what is on the disk. While it is not `running`, deliveries go straight to the database.

    `max_bytes` bounds the spool (StorageBusy above it); `wait_seconds` is how long `take` waits for the database, so that
    it can say what was new.
    """

    def __init__(
        self, store: IngestStore, root: Path, dead_letters: DeadLetters, *, max_bytes: int, wait_seconds: float
    ) -> None:
        self._store = store
        self._root = root
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._drain = Drain(store, dead_letters, self._forget)
        self._own: Lane | None = None
        self._waiting: dict[tuple[str, str, str], Waiting] = {}
        self._queue: list[tuple[Waiting, bytes]] = []
        self._appending: list[tuple[Waiting, bytes]] = []
        self._queued = asyncio.Event()
        self._eased: asyncio.Future[None] | None = None
        self._damaged = self._torn = 0

    # -- in ------------------------------------------------------------------------------------------------------------

    async def take(self, batch: Batch, patience: float | None = None, bulk: bool = False) -> Written:
        """Keep a batch durably; raises StorageFull without room on the disk, StorageBusy where the spool is full."""
        if self._own is None:
            return await self._store.take(batch)
        prepared, frame = await asyncio.to_thread(_prepare_both, batch)
        if self._own is None:
            return await self._store.write(prepared)
        waiting, retry = self._enqueue(prepared, frame, Head.of(batch))
        await asyncio.shield(waiting.durable)
        seconds = self._wait_seconds if patience is None else min(patience, self._wait_seconds)
        written = await (self._ease(waiting, seconds) if bulk else self._answer(waiting, seconds))
        if written is None:
            written = Written(waiting.sequence, waiting.head.records, 0, ids=prepared.ids, spooled=True)
        if retry and not written.refused:
            return Written(written.seq, 0, waiting.head.records, True, prepared.ids, written.spooled)
        return written

    async def latest_seq(self) -> int:
        """Return the number of the last batch that was taken."""
        last = self._own.spool.last if self._own is not None and self._own.pending else 0
        try:
            return max(last, await self._store.latest_seq())
        except StorageUnavailable:
            if self._own is None:
                raise
            return max(last, self._store.last_seq)

    def _enqueue(self, prepared: PreparedBatch, frame: bytes, head: Head) -> tuple[Waiting, bool]:
        """Return the delivery to wait for, and whether it is an earlier one of which this is a retry."""
        known = self._waiting.get(head.delivery)
        if known is not None:
            return known, True
        queued = sum(waiting.size for waiting, _ in (*self._queue, *self._appending))
        size = sum(lane.bytes for lane in self._drain.lanes) + queued
        if size + len(frame) > self._max_bytes or len(self._waiting) >= _DELIVERIES:
            raise StorageBusy("The spool is full: the database takes less than is sent. Send again, more slowly.")
        loop = asyncio.get_running_loop()
        waiting = Waiting(head, len(frame), loop.create_future(), loop.create_future(), prepared)
        self._waiting[head.delivery] = waiting
        self._queue.append((waiting, frame))
        self._queued.set()
        return waiting, False

    async def _answer(self, waiting: Waiting, seconds: float) -> Written | None:
        if self._drain.problem and not waiting.answer.done():
            return None
        done, _ = await asyncio.wait({waiting.answer}, timeout=seconds)
        return waiting.answer.result() if done else None

    async def _ease(self, waiting: Waiting, seconds: float) -> Written | None:
        """The same for a bulk delivery: it waits only while little is on its way, or very much.

        So the sender and the database work at the same time, however few connections it sends over, and the sender is slowed
        down before rows have to be read from the disk again.
        """
        on_their_way = self._drain.records
        if on_their_way <= _FEW_RECORDS:
            return await self._answer(waiting, seconds)
        if on_their_way > _MANY_RECORDS and not self._drain.problem:
            if self._eased is None:
                self._eased = asyncio.get_running_loop().create_future()
            either: set[asyncio.Future[Any]] = {self._eased, waiting.answer}
            await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return waiting.answer.result() if waiting.answer.done() else None

    async def _append_forever(self, lane: Lane) -> None:
        while True:
            await self._queued.wait()
            self._queued.clear()
            self._appending, self._queue = self._queue, []
            frames = [frame for _, frame in self._appending]
            try:
                places = await lane.append(frames, self._store.last_seq + 1)
            except StorageError as exc:
                logger.error("Deliveries could not be spooled", extra={"deliveries": len(frames), "reason": str(exc)})
                for waiting, _ in self._appending:
                    self._fail(waiting, exc)
            except Exception as exc:
                logger.exception("Deliveries could not be spooled")
                for waiting, _ in self._appending:
                    self._fail(waiting, StorageError(f"The spool cannot be written: {exc}"))
            else:
                for (waiting, _), place in zip(self._appending, places, strict=True):
                    waiting.place = place
                    if lane.held_records + waiting.head.records > _HELD_RECORDS:
                        waiting.prepared = None
                    lane.add(waiting)
                    waiting.durable.set_result(None)
                self._drain.wake()
            self._appending = []

    def _fail(self, waiting: Waiting, exc: StorageError) -> None:
        self._forget(waiting)
        waiting.durable.set_exception(exc)
        waiting.durable.exception()  # its caller may have gone
        waiting.answer.cancel()

    def _forget(self, waiting: Waiting) -> None:
        if self._waiting.get(waiting.head.delivery) is waiting:
            del self._waiting[waiting.head.delivery]
        if self._eased is not None and self._drain.records <= _MANY_RECORDS:
            self._eased.set_result(None)
            self._eased = None

    # -- looking -------------------------------------------------------------------------------------------------------

    async def wait_drained(self, seconds: float) -> bool:
        """Wait until all that was acknowledged before, by any process of this data folder, is in the database.

        Returns False after so many seconds, and at once where the database takes nothing.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        others = await asyncio.to_thread(self._look_at_others)
        lanes = [(lane, lane.added) for lane in self._drain.lanes]  # after: what is adopted meanwhile is in both
        while True:
            drained = all(lane.settled >= added for lane, added in lanes)
            others = [(folder, last) for folder, last in others if read_position(folder) < last]
            if drained and not others:
                return True
            if self._drain.problem or asyncio.get_running_loop().time() >= deadline:
                return False
            await asyncio.sleep(_LOOK_SECONDS)

    def status(self) -> SpoolStatus:
        """Return what is waiting in this process's spools."""
        lanes = self._drain.lanes
        arrivals = [lane.pending[0].head.received_us for lane in lanes if lane.pending]
        age_us = max(0, time.time_ns() // 1000 - min(arrivals)) if arrivals else 0
        return SpoolStatus(
            deliveries=sum(len(lane.pending) for lane in lanes),
            records=self._drain.records,
            bytes=sum(lane.bytes for lane in lanes),
            oldest_seconds=round(age_us / SECOND_US, 3),
            problem=self._drain.problem,
            adopted=sum(lane is not self._own for lane in lanes),
            damaged=self._damaged,
            torn=self._torn,
        )

    def _look_at_others(self) -> list[tuple[Path, int]]:
        return undrained_elsewhere(self._root, [lane.spool.folder for lane in self._drain.lanes])

    # -- life ----------------------------------------------------------------------------------------------------------

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Acknowledge by the spool, and drain it, for as long as the block lasts; what is left then stays in it."""
        files = ThreadPoolExecutor(1, thread_name_prefix="spool")
        with contextlib.suppress(StorageUnavailable):
            await self._store.latest_seq()
        own = await open_own_lane(self._root, files)
        self._welcome(own)
        self._own = own
        tasks = [
            asyncio.create_task(work) for work in (self._append_forever(own), self._drain.run(), self._adopt(files))
        ]
        try:
            yield
        finally:
            await self._stop(tasks)
            files.shutdown()

    async def _stop(self, tasks: Sequence[asyncio.Task[None]]) -> None:
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline:
            draining = not self._drain.problem and any(lane.pending for lane in self._drain.lanes)
            if not (self._queue or self._appending or draining):
                break
            await asyncio.sleep(_LOOK_SECONDS)
        self._own = None
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for waiting, _ in (*self._appending, *self._queue):
            self._fail(waiting, StorageUnavailable("This server is stopping: send again."))
        for lane in self._drain.lanes:
            await lane.close()
        self._drain.lanes, self._appending, self._queue, self._waiting = [], [], [], {}

    async def _adopt(self, files: ThreadPoolExecutor) -> None:
        """Take over the spools of processes that died, and let go of those that are drained."""
        while True:
            try:
                for lane in [lane for lane in self._drain.lanes if lane is not self._own and not lane.pending]:
                    self._drain.lanes.remove(lane)
                    await lane.close()
                for folder, _ in await asyncio.to_thread(self._look_at_others):
                    found = await open_lane(folder, files)
                    if found is not None:
                        self._welcome(found)
            except StorageError as exc:
                logger.warning("The spools of other processes cannot be looked at", extra={"reason": str(exc)})
            await asyncio.sleep(_ADOPT_SECONDS)

    def _welcome(self, lane: Lane) -> None:
        """Take in a spool with what was left in it."""
        self._torn += sum(damage.torn for damage in lane.spool.damages)
        self._damaged += sum(not damage.torn for damage in lane.spool.damages)
        self._drain.lanes.insert(0, lane)
        for waiting in lane.pending:
            waiting.durable.set_result(None)
            self._waiting.setdefault(waiting.head.delivery, waiting)
        if lane.pending:
            logger.info("What an earlier run left in its spool is drained", extra={"deliveries": len(lane.pending)})
            self._drain.wake()


def _prepare_both(batch: Batch) -> tuple[PreparedBatch, bytes]:
    return prepare(batch), encode_frame(batch)

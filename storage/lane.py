"""One spool with the deliveries in it that are not in the database yet, in order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from domain.errors import StorageError
from storage.batch import PreparedBatch, prepare
from storage.durable_files import translate_os_error
from storage.frames import Head, decode_frame, read_head
from storage.ingest import Written
from storage.spool import NOWHERE, Place, Spool, read_last, read_position

_GROUP_RECORDS = 8_000
_GROUP_DELIVERIES = 64


@dataclass(eq=False, slots=True)
class Waiting:
    """A delivery on its way: `durable` is done when it is on the disk, `answer` when the database has it.

    An `answer` of None means that nobody knows when that will be. `prepared` is None where the rows are not kept in
    memory; they are read from the spool again.
    """

    head: Head
    size: int
    durable: asyncio.Future[None]
    answer: asyncio.Future[Written | None]
    prepared: PreparedBatch | None = None
    place: Place = NOWHERE
    failures: int = 0

    @property
    def sequence(self) -> int:
        """Its number in the spool; 0 while it has none."""
        return self.place.sequence


class Lane:
    """A spool and its deliveries; its files are touched by one thread, the executor's.

    `added` and `settled` count the deliveries that came and those that went.
    """

    def __init__(self, spool: Spool, files: Executor) -> None:
        self.spool = spool
        self.pending: deque[Waiting] = deque()
        self.records = self.held_records = self.bytes = 0
        self.added = self.settled = 0
        self._files = files
        self._drained = spool.drained

    @classmethod
    def recovered(cls, spool: Spool, files: Executor, loop: asyncio.AbstractEventLoop) -> Self:
        """Return a spool with what an earlier process left in it. Reads the disk."""
        lane = cls(spool, files)
        for place, payload in spool.recover():
            durable: asyncio.Future[None] = loop.create_future()
            head = _head_or_nothing(place, payload)
            lane.add(Waiting(head, place.length, durable, loop.create_future(), place=place))
        return lane

    def add(self, waiting: Waiting) -> None:
        """Take in a delivery that is on the disk."""
        self.pending.append(waiting)
        self.added += 1
        self.bytes += waiting.size
        self.records += waiting.head.records
        if waiting.prepared is not None:
            self.held_records += waiting.head.records

    def settle(self, waiting: Waiting) -> None:
        """Take out the delivery at the head of the lane, which `waiting` must be."""
        if self.pending.popleft() is not waiting:
            raise ValueError("a lane is drained in order")
        self.settled += 1
        self.bytes -= waiting.size
        self.records -= waiting.head.records
        if waiting.prepared is not None:
            self.held_records -= waiting.head.records
        self._drained = waiting.sequence

    def next_group(self) -> list[Waiting]:
        """Return the deliveries to be stored together next."""
        group: list[Waiting] = []
        records = 0
        for waiting in self.pending:
            records += waiting.head.records
            if group and (records > _GROUP_RECORDS or len(group) == _GROUP_DELIVERIES):
                break
            group.append(waiting)
        return group

    def load(self, waiting: Waiting) -> PreparedBatch:
        """Return the rows of a delivery that are not in memory, from the disk; raises StorageError."""
        return prepare(decode_frame(self.spool.read(waiting.place)))

    def read_raw(self, waiting: Waiting) -> bytes:
        """Return the bytes of a delivery, whatever has become of them."""
        return self.spool.read_raw(waiting.place)

    async def append(self, frames: Sequence[bytes], at_least: int) -> list[Place]:
        """Append frames to the spool; raises StorageError, and none of them is there then."""
        return await self._in_thread(lambda: self.spool.append(frames, at_least))

    async def release(self) -> None:
        """Let the spool remove what is settled."""
        await self._in_thread(lambda: self.spool.release(self._drained))

    async def close(self) -> None:
        """Give the spool free for another process."""
        await self.release()
        await self._in_thread(self.spool.close)

    async def _in_thread[T](self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._files, work)


async def open_lane(folder: Path, files: Executor) -> Lane | None:
    """Return the lane of a folder with what an earlier process left in it; None while another process holds it."""
    loop = asyncio.get_running_loop()

    def work() -> Lane | None:
        spool = Spool.open(folder)
        return None if spool is None else Lane.recovered(spool, files, loop)

    return await loop.run_in_executor(files, work)


async def open_own_lane(root: Path, files: Executor) -> Lane:
    """Return a lane under a folder that no other process holds: the first free one, or a new one."""
    number = 0
    while (lane := await open_lane(root / f"{number:03d}", files)) is None:
        number += 1
    return lane


def undrained_elsewhere(root: Path, ours: Collection[Path]) -> list[tuple[Path, int]]:
    """Return the folders of other spools that hold something, and the sequence up to which they do."""
    try:
        folders = sorted(path for path in root.iterdir() if path.is_dir() and path not in ours)
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise translate_os_error(exc, root) from exc
    found = ((folder, read_last(folder)) for folder in folders)
    return [(folder, last) for folder, last in found if last > read_position(folder)]


def _head_or_nothing(place: Place, payload: bytes) -> Head:
    """Return a delivery's head; one that cannot be read will be a dead letter when it is its turn."""
    try:
        return read_head(payload)
    except StorageError:
        return Head("", "logs", f"unreadable {place.sequence}", 0, 0, 0)


def refused(waiting: Waiting, letter: str) -> Written:
    """Return what a delivery came to that the database never takes."""
    reason = f"the database does not take this delivery: it is kept as the dead letter {letter}"
    return Written(waiting.sequence, 0, 0, refused=waiting.head.records, reason=reason)

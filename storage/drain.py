"""From the spools into the database: one task, in order, several deliveries to a transaction.

What the database refuses for good goes to the dead letters and blocks nothing; while it is away, or takes nothing at all,
the spools hold.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from domain.errors import StorageError, StorageFull, StorageRefused, StorageUnavailable
from storage.batch import PreparedBatch
from storage.dead_letters import DeadLetters
from storage.ingest import IngestStore, Written
from storage.lane import Lane, Waiting, refused

logger = logging.getLogger(__name__)

_TRIES = 3
_PAUSE_SECONDS = 0.5


class Drain:
    """Drains `lanes`. `problem` is why nothing is being stored, or empty; `settled` is told of each delivery that went."""

    def __init__(self, store: IngestStore, dead_letters: DeadLetters, settled: Callable[[Waiting], None]) -> None:
        self.lanes: list[Lane] = []
        self.problem = ""
        self._store = store
        self._dead = dead_letters
        self._settled = settled
        self._woken = asyncio.Event()

    @property
    def records(self) -> int:
        """How many records are on their way into the database."""
        return sum(lane.records for lane in self.lanes)

    def wake(self) -> None:
        """Say that there is something to drain."""
        self._woken.set()

    async def run(self) -> None:
        """Drain until cancelled."""
        while True:
            lane = next((lane for lane in self.lanes if lane.pending), None)
            if lane is None:
                self._woken.clear()
                await self._woken.wait()
                continue
            try:
                await self._drain(lane)
            except StorageError as exc:
                self._hold(str(exc))
                await asyncio.sleep(_PAUSE_SECONDS)
            except Exception as exc:
                logger.exception("The spool could not be drained")
                self._hold(f"{type(exc).__name__}: {exc}")
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                if self.problem:
                    logger.info("The spool is being drained again", extra={"deliveries": len(lane.pending)})
                self.problem = ""

    async def _drain(self, lane: Lane) -> None:
        group: list[tuple[Waiting, PreparedBatch]] = []
        for waiting in lane.next_group():
            try:
                held = waiting.prepared
                group.append((waiting, held if held is not None else await asyncio.to_thread(lane.load, waiting)))
            except StorageError as exc:
                if not group:
                    waiting.failures += 1
                    if waiting.failures < _TRIES:
                        raise
                    await self._give_up(lane, waiting, exc)
                break
        if group:
            await self._store_group(lane, group)
        await lane.release()

    async def _store_group(self, lane: Lane, group: Sequence[tuple[Waiting, PreparedBatch]]) -> None:
        try:
            written = await self._store.write_all([(prepared, waiting.sequence) for waiting, prepared in group])
        except (StorageUnavailable, StorageFull):
            raise
        except StorageError as exc:
            if len(group) > 1:
                for one in group:
                    await self._store_group(lane, [one])
                return
            waiting = group[0][0]
            waiting.failures += 1
            if not isinstance(exc, StorageRefused):
                if waiting.failures < _TRIES:
                    raise
                await self._store.probe()  # raises where the database takes nothing at all
            await self._give_up(lane, waiting, exc)
            return
        for (waiting, _), done in zip(group, written, strict=True):
            self._settle(lane, waiting, done)

    async def _give_up(self, lane: Lane, waiting: Waiting, exc: StorageError) -> None:
        payload = await asyncio.to_thread(lane.read_raw, waiting)
        letter = await asyncio.to_thread(self._dead.keep_delivery, waiting.head, payload, str(exc))
        logger.error("A delivery cannot be stored", extra={"dead_letter": letter, "reason": str(exc)})
        self._settle(lane, waiting, refused(waiting, letter))

    def _settle(self, lane: Lane, waiting: Waiting, written: Written) -> None:
        lane.settle(waiting)
        self._settled(waiting)
        if not waiting.answer.done():
            waiting.answer.set_result(written)

    def _hold(self, reason: str) -> None:
        if not self.problem:
            logger.warning("The spool holds what the database does not take", extra={"reason": reason})
        self.problem = reason
        for lane in self.lanes:
            for waiting in lane.pending:
                if not waiting.answer.done():
                    waiting.answer.set_result(None)

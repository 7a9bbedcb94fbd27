"""A durable queue of jobs in MariaDB: claimed with SKIP LOCKED, held by a lease, tried again with growing pauses.

A job runs at least once. Two workers never hold one job: a lease that ran out may be taken over, and the old holder,
whose attempt number is then out of date, can no longer change the job.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

from blake3 import blake3

from domain.errors import CausegraphError, NotFound, StorageError
from domain.evidence import canonical_bytes
from domain.times import SECOND_US
from storage.database import Database, Row, Transaction

logger = logging.getLogger(__name__)

type JobStatus = Literal["queued", "running", "done", "dead"]
type Handler = Callable[["Job"], Awaitable[Mapping[str, Any] | None]]

_LONGEST_PAUSE_SECONDS = 600.0
_OUTAGE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Job:
    """One job. `attempt` counts the claims so far; `result` is what it gave, or `{"error": ...}` of the last failure."""

    id: int
    queue: str
    payload: Mapping[str, Any]
    status: JobStatus
    attempt: int
    run_after_us: int
    lease_until_us: int
    created_us: int
    ended_us: int | None
    result: Mapping[str, Any]

    @classmethod
    def from_row(cls, row: Row) -> Job:
        return cls(
            id=int(row[0]),
            queue=str(row[1]),
            payload=json.loads(row[2]),
            status=cast(JobStatus, row[3]),
            attempt=int(row[4]),
            run_after_us=int(row[5]),
            lease_until_us=int(row[6]),
            created_us=int(row[7]),
            ended_us=None if row[8] is None else int(row[8]),
            result=json.loads(row[9]) if row[9] else {},
        )


class JobQueue:
    """The jobs of one name. Every method raises StorageError or a child of it when the database fails."""

    def __init__(
        self,
        database: Database,
        name: str,
        *,
        max_attempts: int = 5,
        lease_seconds: float = 60.0,
        pause_seconds: float = 2.0,
    ) -> None:
        self.name = name
        self.lease_seconds = lease_seconds
        self._database = database
        self._max_attempts = max_attempts
        self._pause_seconds = pause_seconds

    async def enqueue(self, payload: Mapping[str, Any], *, key: str = "", delay_seconds: float = 0.0) -> int:
        """Add a job and return its id; the same `key` again adds nothing and returns the first one's id."""
        name = blake3((key or secrets.token_hex(32)).encode()).hexdigest()
        body = canonical_bytes(payload).decode()

        def work(tx: Transaction) -> int:
            now = _now(tx)
            tx.execute("insert_job", (self.name, name, body, now + _us(delay_seconds), now))
            return int(tx.fetch("job_by_key", (self.name, name))[0][0])

        return await self._database.transaction(work)

    async def claim(self) -> Job | None:
        """Take the next due job for `lease_seconds`, or one whose worker went silent; None if there is none.

        A job whose worker went silent in its last allowed attempt is not tried again: it is dead.
        """

        def work(tx: Transaction) -> Job | None:
            now = _now(tx)
            while rows := tx.fetch("next_abandoned_job", (self.name, now)):
                job = Job.from_row(rows[0])
                if job.attempt < self._max_attempts:
                    return self._start(tx, job, now)
                told = json.dumps({"error": f"the worker went silent in attempt {job.attempt}"})
                tx.execute("end_job", ("dead", now, told, job.id, job.attempt))
            rows = tx.fetch("next_due_job", (self.name, now))
            return self._start(tx, Job.from_row(rows[0]), now) if rows else None

        return await self._database.transaction(work)

    async def extend(self, job: Job) -> bool:
        """Renew the lease from now; False if the job is no longer this worker's."""

        def work(tx: Transaction) -> bool:
            return bool(tx.execute("extend_job", (_now(tx) + _us(self.lease_seconds), job.id, job.attempt)))

        return await self._database.transaction(work)

    async def finish(self, job: Job, result: Mapping[str, Any] | None = None) -> bool:
        """Mark the job done and keep its result; False if the job is no longer this worker's."""
        text = canonical_bytes(result or {}).decode()
        return await self._database.transaction(
            lambda tx: bool(tx.execute("end_job", ("done", _now(tx), text, job.id, job.attempt)))
        )

    async def fail(self, job: Job, error: str) -> JobStatus:
        """Queue the job again after a pause that doubles each time, or give it up; return its status then."""
        text = json.dumps({"error": error[:4000]})

        def work(tx: Transaction) -> JobStatus:
            now = _now(tx)
            if job.attempt >= self._max_attempts:
                tx.execute("end_job", ("dead", now, text, job.id, job.attempt))
            else:
                pause = min(_LONGEST_PAUSE_SECONDS, self._pause_seconds * 2 ** (job.attempt - 1))
                tx.execute("requeue_job", (job.attempt, now + _us(pause), text, job.id, job.attempt))
            return _one(tx, self.name, job.id).status

        return await self._database.transaction(work)

    async def release(self, job: Job) -> None:
        """Give a job back untouched, for a worker that is shutting down: it is due at once and the attempt not counted."""
        await self._database.transaction(
            lambda tx: tx.execute("requeue_job", (job.attempt - 1, _now(tx), None, job.id, job.attempt))
        )

    async def get(self, job_id: int) -> Job:
        """Return a job as it stands; raises NotFound."""
        return await self._database.transaction(lambda tx: _one(tx, self.name, job_id))

    async def counts(self) -> Mapping[str, int]:
        """Return how many jobs there are of each status."""
        return {str(row[0]): int(row[1]) for row in await self._database.fetch("count_jobs", (self.name,))}

    def _start(self, tx: Transaction, job: Job, now: int) -> Job:
        lease_until = now + _us(self.lease_seconds)
        tx.execute("start_job", (job.attempt + 1, lease_until, job.id))
        return replace(job, status="running", attempt=job.attempt + 1, lease_until_us=lease_until)


async def run_worker(queue: JobQueue, handler: Handler, stop: asyncio.Event, *, poll_seconds: float = 0.5) -> None:
    """Run the jobs of a queue one after another until `stop` is set; the job in hand is finished first.

    The lease is renewed while a handler works; a handler whose lease was lost is cancelled. If the worker itself is
    cancelled, it gives its job back. An outage of the database is waited out.
    """
    outage = False
    while not stop.is_set():
        try:
            job = await queue.claim()
            if job is not None:
                await _run_job(queue, handler, job)
            outage = False
        except StorageError as exc:
            if not outage:
                logger.warning("A worker waits for the database", extra={"queue": queue.name, "reason": str(exc)})
            outage, job = True, None
        if job is None:
            await _wait(stop, _OUTAGE_SECONDS if outage else poll_seconds)


async def _run_job(queue: JobQueue, handler: Handler, job: Job) -> None:
    working = asyncio.create_task(_call(handler, job))
    renewing = asyncio.create_task(_keep_lease(queue, job))
    try:
        await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            logger.warning("A job was lost to another worker", extra={"queue": queue.name, "job": job.id})
            await _cancel(working)
            return
        await _see_through(_record(queue, job, working))
    except asyncio.CancelledError:
        if not working.done():
            await _cancel(working)
            await _see_through(queue.release(job))
        raise
    finally:
        await _cancel(renewing)


async def _call(handler: Handler, job: Job) -> Mapping[str, Any] | None:
    return await handler(job)


async def _see_through(writing: Coroutine[Any, Any, None]) -> None:
    """Wait for a write that records an outcome, also when cancelled meanwhile."""
    task = asyncio.create_task(writing)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise


async def _record(queue: JobQueue, job: Job, working: asyncio.Future[Mapping[str, Any] | None]) -> None:
    try:
        result = working.result()
    except asyncio.CancelledError:
        await queue.fail(job, "the handler was cancelled")
    except Exception as exc:
        unforeseen = None if isinstance(exc, CausegraphError) else exc
        told = {"queue": queue.name, "job": job.id, "attempt": job.attempt, "reason": str(exc)}
        logger.warning("A job failed", exc_info=unforeseen, extra=told)
        await queue.fail(job, f"{type(exc).__name__}: {exc}")
    else:
        await queue.finish(job, result)


async def _keep_lease(queue: JobQueue, job: Job) -> None:
    """Return when the lease is lost; renew it until then."""
    loop = asyncio.get_running_loop()
    held_until = loop.time() + queue.lease_seconds
    while loop.time() < held_until:
        await asyncio.sleep(queue.lease_seconds / 3)
        asked = loop.time()
        try:
            if not await queue.extend(job):
                return
        except StorageError as exc:  # the lease may hold longer than the outage
            logger.warning("A lease could not be renewed", extra={"job": job.id, "reason": str(exc)})
        else:
            held_until = asked + queue.lease_seconds


async def _cancel(task: asyncio.Future[Any]) -> None:
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return


def _one(tx: Transaction, queue: str, job_id: int) -> Job:
    rows = tx.fetch("job_by_id", (queue, job_id))
    if not rows:
        raise NotFound(f"There is no job {job_id} in queue {queue}.")
    return Job.from_row(rows[0])


def _now(tx: Transaction) -> int:
    return int(tx.fetch("database_now")[0][0])


def _us(seconds: float) -> int:
    return round(seconds * SECOND_US)

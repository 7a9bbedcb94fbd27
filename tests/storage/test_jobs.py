"""The job queue: once at a time, at least once, and nothing is lost when a worker dies."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cli.stack import StackHandle
from domain.errors import NotFound, StorageUnavailable
from storage.database import Database
from storage.jobs import Job, JobQueue, run_worker

ROOT = Path(__file__).parents[2]


@pytest.fixture
def name(environment: str) -> str:
    return environment[:32]


async def drain(queue: JobQueue, *, workers: int = 1, seconds: float = 20.0, **states: int) -> None:
    """Wait until the counts of the queue are as told."""
    deadline = time.monotonic() + seconds
    while await queue.counts() != states:
        assert time.monotonic() < deadline, f"{await queue.counts()} instead of {states}"
        await asyncio.sleep(0.05)


async def test_a_job_goes_from_queued_to_done(database: Database, name: str) -> None:
    queue = JobQueue(database, name)
    job_id = await queue.enqueue({"question": "why?"})
    assert (await queue.get(job_id)).status == "queued"
    job = await queue.claim()
    assert job is not None and (job.id, job.payload, job.attempt) == (job_id, {"question": "why?"}, 1)
    assert await queue.claim() is None
    assert await queue.finish(job, {"answer": 42})
    done = await queue.get(job_id)
    assert (done.status, done.result) == ("done", {"answer": 42}) and done.ended_us
    assert not await queue.finish(job) and not await queue.extend(job)
    with pytest.raises(NotFound):
        await queue.get(0)


async def test_the_same_key_is_the_same_job(database: Database, name: str) -> None:
    queue, other = JobQueue(database, name), JobQueue(database, name[:-1] + "x")
    ids = await asyncio.gather(*(queue.enqueue({"n": n}, key="alert-1") for n in range(5)))
    assert len(set(ids)) == 1
    assert await queue.enqueue({}, key="alert-2") != ids[0]
    assert await other.enqueue({}, key="alert-1") != ids[0]
    assert await queue.enqueue({}) != await queue.enqueue({})


async def test_jobs_come_in_order_and_not_before_their_time(database: Database, name: str) -> None:
    queue = JobQueue(database, name)
    later = await queue.enqueue({}, delay_seconds=0.3)
    ids = [await queue.enqueue({}) for _ in range(3)]
    assert [(await queue.claim()).id for _ in range(3)] == ids  # type: ignore[union-attr]
    assert await queue.claim() is None
    await asyncio.sleep(0.35)
    job = await queue.claim()
    assert job is not None and job.id == later


async def test_a_failing_job_is_tried_again_after_growing_pauses_then_given_up(database: Database, name: str) -> None:
    queue = JobQueue(database, name, max_attempts=3, pause_seconds=0.1)
    job_id = await queue.enqueue({})
    pauses = []
    for attempt in (1, 2, 3):
        while (job := await queue.claim()) is None:
            await asyncio.sleep(0.01)
        assert job.attempt == attempt
        before = time.time_ns() // 1000
        status = await queue.fail(job, f"no {attempt}")
        pauses.append((await queue.get(job_id)).run_after_us - before)
        assert status == ("dead" if attempt == 3 else "queued")
        assert await queue.claim() is None
    assert 0.05e6 < pauses[0] < 0.15e6 < pauses[1] < 0.25e6
    assert (await queue.get(job_id)).result == {"error": "no 3"}


async def test_an_expired_lease_is_taken_over_and_the_old_holder_can_do_nothing(database: Database, name: str) -> None:
    queue = JobQueue(database, name, lease_seconds=0.2)
    await queue.enqueue({})
    old = await queue.claim()
    assert old is not None and await queue.claim() is None
    await asyncio.sleep(0.15)
    assert await queue.extend(old)
    await asyncio.sleep(0.15)
    assert await queue.claim() is None
    await asyncio.sleep(0.1)
    new = await queue.claim()
    assert new is not None and (new.id, new.attempt) == (old.id, 2)
    assert not await queue.extend(old)
    assert not await queue.finish(old, {"by": "old"})
    assert await queue.fail(old, "old") == "running"
    assert await queue.finish(new, {"by": "new"})
    assert (await queue.get(old.id)).result == {"by": "new"}


async def test_a_job_that_kills_its_workers_is_given_up(database: Database, name: str) -> None:
    queue = JobQueue(database, name, lease_seconds=0.01, max_attempts=2)
    job_id = await queue.enqueue({})
    for _ in range(2):
        assert await queue.claim() is not None
        await asyncio.sleep(0.02)
    assert await queue.claim() is None
    dead = await queue.get(job_id)
    assert dead.status == "dead" and "silent" in dead.result["error"]


async def test_workers_side_by_side_never_hold_one_job(database: Database, name: str) -> None:
    queue = JobQueue(database, name)
    for number in range(60):
        await queue.enqueue({"number": number})
    ran: Counter[int] = Counter()
    holding: set[int] = set()

    async def handler(job: Job) -> None:
        assert job.id not in holding
        holding.add(job.id)
        await asyncio.sleep(0.002)
        holding.remove(job.id)
        ran[job.id] += 1

    stop = asyncio.Event()
    workers = [asyncio.create_task(run_worker(queue, handler, stop, poll_seconds=0.02)) for _ in range(6)]
    await drain(queue, done=60)
    stop.set()
    await asyncio.gather(*workers)
    assert len(ran) == 60 and set(ran.values()) == {1}


async def test_a_worker_keeps_its_lease_through_long_work(database: Database, name: str) -> None:
    queue = JobQueue(database, name, lease_seconds=0.3)
    job_id = await queue.enqueue({})
    stop = asyncio.Event()
    runs = []

    async def handler(job: Job) -> dict[str, bool]:
        runs.append(job.attempt)
        await asyncio.sleep(1.0)
        return {"long": True}

    workers = [asyncio.create_task(run_worker(queue, handler, stop, poll_seconds=0.05)) for _ in range(2)]
    await drain(queue, done=1)
    stop.set()
    await asyncio.gather(*workers)
    assert runs == [1] and (await queue.get(job_id)).result == {"long": True}


async def test_a_handler_that_fails_does_not_end_the_worker(database: Database, name: str) -> None:
    queue = JobQueue(database, name, max_attempts=2, pause_seconds=0.01)
    bad = await queue.enqueue({"bad": True})
    await queue.enqueue({})
    stop = asyncio.Event()

    async def handler(job: Job) -> None:
        if job.payload.get("bad"):
            raise LookupError("no such thing")

    worker = asyncio.create_task(run_worker(queue, handler, stop, poll_seconds=0.02))
    await drain(queue, done=1, dead=1)
    stop.set()
    await worker
    assert (await queue.get(bad)).result == {"error": "LookupError: no such thing"}


async def test_stopping_finishes_the_job_in_hand_and_cancelling_gives_it_back(database: Database, name: str) -> None:
    queue = JobQueue(database, name)
    started = asyncio.Event()

    async def handler(job: Job) -> None:
        started.set()
        await asyncio.sleep(0.2 if job.payload["short"] else 60)

    short = await queue.enqueue({"short": True})
    long = await queue.enqueue({"short": False})
    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(queue, handler, stop))
    await started.wait()
    stop.set()
    await worker
    assert (await queue.get(short)).status == "done"
    started.clear()
    worker = asyncio.create_task(run_worker(queue, handler, asyncio.Event()))
    await started.wait()
    worker.cancel()
    with pytest.raises(asyncio.CancelledError):
        await worker
    given_back = await queue.get(long)
    assert (given_back.status, given_back.attempt) == ("queued", 0)
    assert await queue.claim() is not None


async def test_a_handler_whose_lease_was_lost_is_cancelled(database: Database, name: str) -> None:
    queue = JobQueue(database, name, lease_seconds=0.3)
    await queue.enqueue({})
    cancelled = asyncio.Event()
    started: asyncio.Future[Job] = asyncio.get_running_loop().create_future()

    async def handler(job: Job) -> None:
        started.set_result(job)
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(queue, handler, stop))
    await queue.finish(await started, {"by": "another"})
    await asyncio.wait_for(cancelled.wait(), 5)
    stop.set()
    await worker


async def test_a_worker_waits_out_an_outage(
    database: Database, name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    queue = JobQueue(database, name)
    await queue.enqueue({})
    monkeypatch.setattr("storage.jobs._OUTAGE_SECONDS", 0.01)
    real, left = queue.claim, iter(range(5))

    async def claim() -> Job | None:
        if next(left, None) is not None:
            raise StorageUnavailable
        return await real()

    monkeypatch.setattr(queue, "claim", claim)

    async def handler(job: Job) -> None:
        return None

    stop = asyncio.Event()
    worker = asyncio.create_task(run_worker(queue, handler, stop, poll_seconds=0.02))
    await drain(queue, done=1)
    stop.set()
    await worker
    assert sum("waits for the database" in record.message for record in caplog.records) == 1


WORKER = """
import asyncio, os, sys
from pathlib import Path
from storage.database import Database
from storage.jobs import Job, JobQueue, run_worker

async def main(url, name, log):
    database = Database(url, connections=2)
    queue = JobQueue(database, name, lease_seconds=0.6, max_attempts=50)
    async def handler(job: Job):
        with open(log, "a") as file:
            file.write(f"{job.id}\\n")
        await asyncio.sleep(0.05)
        return {"pid": os.getpid()}
    await run_worker(queue, handler, asyncio.Event(), poll_seconds=0.02)

asyncio.run(main(*sys.argv[1:]))
"""


async def test_killed_workers_lose_nothing(database: Database, stack: StackHandle, name: str, tmp_path: Path) -> None:
    queue = JobQueue(database, name, lease_seconds=0.6, max_attempts=50)
    ids = {await queue.enqueue({"number": number}) for number in range(40)}
    log = tmp_path / "ran"
    arguments = (sys.executable, "-c", WORKER, stack.database_url, name, str(log))

    async def start() -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(*arguments, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."})

    workers = [await start() for _ in range(2)]
    try:
        for _ in range(3):
            lines = len(log.read_text().splitlines()) if log.exists() else 0
            deadline = time.monotonic() + 15
            while not log.exists() or len(log.read_text().splitlines()) < lines + 3:
                assert time.monotonic() < deadline, "the workers do nothing"
                await asyncio.sleep(0.01)
            killed = workers.pop(0)
            killed.send_signal(signal.SIGKILL)
            await killed.wait()
            workers.append(await start())
        await drain(queue, done=40)
    finally:
        for worker in workers:
            worker.kill()
            await worker.wait()
    ran = Counter(map(int, log.read_text().split()))
    assert set(ran) == ids
    # Only the jobs that a killed worker held ran again.
    assert sum(ran.values()) - len(ids) <= 3

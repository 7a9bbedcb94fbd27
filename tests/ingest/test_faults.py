"""Faults against an oracle of acknowledged ids: what was acknowledged is stored once, as in a run without faults.

The receiver and MariaDB are killed at random, the receiver also in the moment of an acknowledgement, MariaDB stands still,
the spool ends in unfinished frames, deliveries come twice, the sender's clock steps. FAULTS sets how many kills (100 and more for a bench run), FAULT_SEED repeats a run.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack import ensure_stack, stack_status, stop_stack
from domain.settings import Settings
from domain.times import HOUR_US
from ingest.service import Delivery, Ingest
from storage.database import QUERIES, Database
from storage.ingest import IngestStore
from tests.serving import Serve

pytestmark = pytest.mark.long

# By default the test ends after this time, on a machine too slow for all of its faults.
SECONDS = float("inf") if "FAULTS" in os.environ else 120.0
FAULTS = int(os.environ.get("FAULTS", "12"))
KINDS = (
    "kill receiver",
    "kill on acknowledgement",
    "kill mariadb",
    "torn frame",
    "mariadb stands still",
    "kill both",
    "kill on acknowledgement",
)

QUERIES["fault_messages"] = "SELECT message FROM log_event WHERE environment = ?"
QUERIES["fault_counts"] = (
    "SELECT slot_us, service, template_id, level, count, first_us, last_us FROM log_count WHERE environment = ? "
    "ORDER BY slot_us, service, template_id, level"
)


class Oracle:
    """Sends deliveries until each is acknowledged, some of them again, and keeps the bodies that were.

    While the `fuse` is set, whoever hears first that a delivery is safe on the disk alone kills the receiver.
    """

    def __init__(
        self, server: Serve, environment: str, seed: int, stop: threading.Event, fuse: threading.Event
    ) -> None:
        self._server = server
        self._fuse = fuse
        self._path = f"/ingest/logs?environment={environment}"
        self._choose = random.Random(seed)
        self._stop = stop
        self._step_us = 0
        self.acknowledged: dict[str, bytes] = {}
        self.problems: list[str] = []
        self.tries: Counter[str] = Counter()

    def run(self) -> None:
        with self._server.client(timeout=20) as client:
            while not self._stop.is_set():
                if self.acknowledged and self._choose.random() < 0.2:
                    key = self._choose.choice(sorted(self.acknowledged))
                    reply = self._deliver(client, key, self.acknowledged[key])
                    # While the database is away nobody can know: what is stored in the end is compared below.
                    if reply is not None and reply["accepted"] and not reply.get("spooled"):
                        self.problems.append(f"counted again: {reply}")
                else:
                    key, body = uuid.uuid4().hex, self._body()
                    if self._deliver(client, key, body) is not None:
                        self.acknowledged[key] = body

    def _body(self) -> bytes:
        if self._choose.random() < 0.1:
            self._step_us = self._choose.randrange(-HOUR_US, HOUR_US)
        now = time.time_ns() // 1000 + self._step_us
        lines = [
            {
                "timestamp": now + n,
                "service": self._choose.choice(("web", "cart")),
                "level": "info",
                "message": f"id {uuid.uuid4()} placed by {self._choose.choice(('card', 'invoice', 'voucher'))}",
            }
            for n in range(self._choose.randint(1, 1500 if self._choose.random() < 0.1 else 200))
        ]
        return json.dumps(lines).encode()

    def _deliver(self, client: httpx.Client, key: str, body: bytes) -> dict[str, Any] | None:
        headers = {"Content-Type": "application/json", "Idempotency-Key": key}
        if self._choose.random() < 0.5:  # a bulk delivery: where there are many, it does not wait for the database
            headers["Prefer"] = "return=minimal"
        end = time.monotonic() + 600
        while time.monotonic() < end:
            try:
                reply = client.post(self._path, content=body, headers=headers)
            except httpx.TransportError as exc:
                self.tries[type(exc).__name__] += 1
                time.sleep(0.1)
                continue
            self.tries[str(reply.status_code)] += 1
            if reply.status_code == 200:
                told = dict(reply.json())
                if self._fuse.is_set() and told.get("spooled"):
                    self._fuse.clear()
                    self.tries["killed with its reply"] += 1
                    assert self._server.process is not None
                    self._server.process.send_signal(signal.SIGKILL)
                return told
            if reply.status_code not in (429, 503):
                break
            time.sleep(0.1)
        self.problems.append(f"not acknowledged: {dict(self.tries)}")
        return None


@pytest.fixture
def server() -> Iterator[Serve]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-faults-"))
    serve = Serve(folder / "data", {"CAUSEGRAPH_SPOOL_WAIT_SECONDS": "1"})
    try:
        serve.start()
        serve.wait()
        yield serve
    finally:
        serve.stop()
        stop_stack(serve.data_dir)
        shutil.rmtree(folder)


async def test_nothing_acknowledged_is_lost_or_counted_twice(server: Serve, environment: str) -> None:
    seed = int(os.environ.get("FAULT_SEED", random.randrange(1 << 32)))
    print(f"FAULT_SEED={seed}")
    stop, fuse = threading.Event(), threading.Event()
    oracles = [Oracle(server, environment, seed + number, stop, fuse) for number in range(3)]
    threads = [threading.Thread(target=oracle.run) for oracle in oracles]
    for thread in threads:
        thread.start()
    choose, done, began = random.Random(seed), Counter[str](), time.monotonic()
    try:
        while _kills(done) < FAULTS and (time.monotonic() - began < SECONDS or _kills(done) < 3):
            time.sleep(choose.uniform(0.2, 2.0))
            number = done.total()
            kind = KINDS[number] if number < len(KINDS) else choose.choice(KINDS)
            _break(server, kind, choose, fuse)
            done[kind] += 1
            print(f"{kind}: {_kills(done)} kills after {time.monotonic() - began:.0f} s", flush=True)
    finally:
        stop.set()
        for thread in threads:
            thread.join(700)
    print(
        f"{_kills(done)} kills, faults {dict(done)} in {time.monotonic() - began:.0f} s; "
        f"tries {dict(sum((o.tries for o in oracles), Counter()))}"
    )
    _wait_patiently(server)
    _wait_until_drained(server)
    assert [problem for oracle in oracles for problem in oracle.problems] == []
    bodies = [body for oracle in oracles for body in oracle.acknowledged.values()]
    await _compare_with_a_clean_run(server, environment, bodies)


def _kills(done: Counter[str]) -> int:
    """Return how many of the faults were a kill -9; one of both servers is one."""
    return done.total() - done["mariadb stands still"]


def _break(server: Serve, kind: str, choose: random.Random, fuse: threading.Event) -> None:
    mariadb = stack_status(server.data_dir).servers.get("mariadb")
    pid = mariadb.pid if mariadb is not None else 0
    if kind in ("kill mariadb", "kill both"):
        _signal(pid, signal.SIGKILL)
    if kind == "kill on acknowledgement":
        _kill_on_acknowledgement(pid, fuse)
    if kind == "mariadb stands still":
        _signal(pid, signal.SIGSTOP)
        time.sleep(choose.uniform(0.5, 3.0))
        _signal(pid, signal.SIGCONT)
    if kind in ("kill receiver", "kill both", "torn frame", "kill on acknowledgement"):
        server.kill()
        if kind == "torn frame":
            _tear(server.data_dir, choose)
        server.start()
        _wait_patiently(server)


def _kill_on_acknowledgement(mariadb: int, fuse: threading.Event) -> None:
    """Take MariaDB away, so that the disk alone holds what is acknowledged, and the receiver with the first reply."""
    fuse.set()
    _signal(mariadb, signal.SIGKILL)
    end = time.monotonic() + 5
    while fuse.is_set() and time.monotonic() < end:
        time.sleep(0.01)
    fuse.clear()


def _wait_patiently(server: Serve) -> None:
    """Wait for a server on a machine that may be busy with something else."""
    for _ in range(3):
        with suppress(AssertionError):
            server.wait()
            return
        if server.process is None or server.process.poll() is not None:
            break
    server.wait()


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, number)


def _tear(data_dir: Path, choose: random.Random) -> None:
    """Leave what a crash leaves that hits in the middle of a write: the beginning of a frame at the end of the spool."""
    folder = data_dir / "spool" / "000"
    segments = sorted(folder.glob("*.segment"))
    path = segments[-1] if segments else folder / f"{1:020d}.segment"
    whole = b"CGf1" + (5000).to_bytes(4, "big") + (10**9).to_bytes(8, "big") + choose.randbytes(4 + 5000)
    with path.open("ab") as file:
        file.write(whole[: choose.randrange(1, len(whole) - 1)])


def _wait_until_drained(server: Serve) -> None:
    end = time.monotonic() + 120
    while True:
        with suppress(httpx.TransportError):
            spool = httpx.get(f"{server.url}/health", timeout=30).json()["spool"]
            if not spool["deliveries"] and not spool["adopted"]:
                assert (spool["damaged"], spool["dead_letters"]) == (0, 0)
                return
        assert time.monotonic() < end, "the spool is not drained"
        time.sleep(0.2)


async def _compare_with_a_clean_run(server: Serve, environment: str, bodies: list[bytes]) -> None:
    database = Database(ensure_stack(server.data_dir).database_url)
    try:
        clean, ingest = f"{environment}-clean", Ingest(IngestStore(database), Settings(data_dir=server.data_dir))
        for number, body in enumerate(bodies):
            await ingest.accept_logs(Delivery(body, "application/json", "", clean, f"clean {number}"))
        sent = Counter(line["message"] for body in bodies for line in json.loads(body))
        stored = Counter(str(row[0]) for row in await database.fetch("fault_messages", (environment,)))
        print(f"acknowledged {sent.total()} ids in {len(bodies)} deliveries; missing {(sent - stored).total()}, "
              f"too many {(stored - sent).total()}")  # fmt: skip
        assert sent
        assert stored == sent
        counts = await database.fetch("fault_counts", (environment,))
        assert sum(int(row[4]) for row in counts) == sent.total()
        assert counts == await database.fetch("fault_counts", (clean,))
    finally:
        await database.close()


def _may_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(
    shutil.which("unshare") is None or not _may_mount(), reason="no mount namespaces are permitted here"
)
async def test_on_a_full_disk_nothing_is_acknowledged_that_is_not_kept() -> None:
    """The spool lies on a file system of 4 MB while MariaDB stands still; then there is room again."""
    folder = Path(tempfile.mkdtemp(prefix="causegraph-full-"))
    spool = folder / "data" / "spool"
    spool.mkdir(parents=True)
    ensure_stack(folder / "data")
    mount = f"mount -t tmpfs -o size=4m tmpfs '{spool}' && exec \"$@\""
    serve = Serve(folder / "data", {"CAUSEGRAPH_SPOOL_WAIT_SECONDS": "0"}, ("unshare", "-rm", "sh", "-c", mount, "sh"))
    serve.start()
    try:
        serve.wait()
        pid = stack_status(serve.data_dir).servers["mariadb"].pid
        choose, acknowledged, refused = random.Random(7), 0, 0
        with serve.client() as client:
            client.get("/info").raise_for_status()
            _signal(pid, signal.SIGSTOP)
            while refused < 3:
                lines = [
                    {"timestamp": 1e15 + n, "service": "web", "message": choose.randbytes(3000).hex()}
                    for n in range(50)
                ]
                reply = client.post("/ingest/logs?environment=full", json=lines)
                assert reply.status_code in (200, 503), reply.text
                assert reply.status_code == 200 or reply.headers["retry-after"]
                acknowledged += 50 * (reply.status_code == 200)
                refused += reply.status_code == 503
                assert acknowledged < 5000, "the disk is never full"
            _signal(pid, signal.SIGCONT)
            end = time.monotonic() + 60
            while client.get("/health").json()["spool"]["deliveries"]:
                assert time.monotonic() < end
                time.sleep(0.1)
            assert client.post("/ingest/logs?environment=full", json=lines).status_code == 200
            acknowledged += 50
            while client.get("/health").json()["spool"]["deliveries"]:
                assert time.monotonic() < end
                time.sleep(0.1)
    finally:
        with suppress(KeyError):
            _signal(stack_status(serve.data_dir).servers["mariadb"].pid, signal.SIGCONT)
        serve.stop()
    database = Database(ensure_stack(folder / "data").database_url)
    assert len(await database.fetch("fault_messages", ("full",))) == acknowledged
    await database.close()
    stop_stack(folder / "data")
    shutil.rmtree(folder)

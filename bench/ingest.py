"""How fast log records come in, to a committed row: OTLP over HTTP, and files followed by `causegraph ship`.

    python -m bench.ingest [--lines 200000] [--way otlp --way files --way plain] [--json]
    python -m bench.ingest --lines 10000000 --way otlp        # is memory flat? A quarter of an hour, 8 GB of disk

Everything is on one machine: the sender's share of its cores is shown. The end is when the last row is committed and the
spool is empty. `plain` loads the same lines in batches into a table with the same keys: no HTTP, no decoding, no
template, no spool, no ledger, no counts. The difference is the price of what is guaranteed and derived. Vector and
Fluent Bit, to compare with, are in none of the registries that were looked at (Debian, PyPI, npm).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import psutil

from bench.log_lines import Body, make_body, make_chunk, make_line, vary_body, vary_chunks
from bench.server import ROOT, Server, start_server
from cli.stack import ensure_stack, stack_status
from domain.telemetry import Level, LogEvent
from storage.database import QUERIES, Database
from storage.log_rows import make_log_rows

ENVIRONMENT = "bench"
_SETTLE_SECONDS = 10.0  # what a server does once: read its model of language, open its connections
_SAMPLE_SECONDS = 0.5
_BODIES = 200
_PLAIN_LINES = 1_000_000
_BATCH = 8_000
QUERIES["bench_stored"] = "SELECT COUNT(*) FROM log_event WHERE environment = ?"
QUERIES["bench_plain_table"] = "CREATE TABLE bench_plain LIKE log_event"
QUERIES["bench_plain_load"] = QUERIES["ingest_load_logs"].replace("INTO TABLE log_event", "INTO TABLE bench_plain")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far: of the receiver, of MariaDB, of this process and its children that have ended."""

    receiver: float
    mariadb: float
    sender: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one way in came to. CPU is in seconds per million lines; memory is the receiver's and MariaDB's, in MB."""

    way: str
    lines: int
    seconds: float
    lines_per_second: float
    megabytes_per_second: float
    receiver_cpu: float
    mariadb_cpu: float
    sender_cpu: float
    receiver_memory: tuple[int, ...]
    mariadb_memory: tuple[int, ...]

    @property
    def is_flat(self) -> bool:
        """Whether the receiver's memory stopped growing: its last third is no more than a tenth above its second."""
        third = len(self.receiver_memory) // 3
        second, last = self.receiver_memory[third : 2 * third], self.receiver_memory[2 * third :]
        return bool(second) and statistics.median(last) <= 1.1 * statistics.median(second)


class Meter:
    """Measures the processes of a server while something is sent to it."""

    def __init__(self, server: Server, receiver: psutil.Process | None = None) -> None:
        state = json.loads((server.data_dir / "run" / "server.json").read_text())
        self._receiver = receiver or psutil.Process(state["pid"])
        self._mariadb = psutil.Process(stack_status(server.data_dir).servers["mariadb"].pid)
        self._memory: list[tuple[int, int]] = []
        self._over = threading.Event()

    def measure(self, way: str, lines: int, text_bytes: int, work: Callable[[], None]) -> Result:
        """Run work and return what it cost."""
        sampling = threading.Thread(target=self._sample)
        sampling.start()
        began, before = time.perf_counter(), self._usage()
        try:
            work()
        finally:
            self._over.set()
            sampling.join()
        seconds, after, million = time.perf_counter() - began, self._usage(), lines / 1e6
        own = after.sender - before.sender
        return Result(
            way=way,
            lines=lines,
            seconds=round(seconds, 2),
            lines_per_second=round(lines / seconds),
            megabytes_per_second=round(text_bytes / seconds / 1e6, 2),
            receiver_cpu=round((after.receiver - before.receiver) / million, 1),
            mariadb_cpu=round((after.mariadb - before.mariadb) / million, 1),
            sender_cpu=round(own / million, 1),
            receiver_memory=_thin([receiver for receiver, _ in self._memory]),
            mariadb_memory=_thin([mariadb for _, mariadb in self._memory]),
        )

    def _usage(self) -> Usage:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return Usage(
            receiver=sum(self._receiver.cpu_times()[:2]),
            mariadb=sum(self._mariadb.cpu_times()[:2]),
            sender=time.process_time() + children.ru_utime + children.ru_stime,
        )

    def _sample(self) -> None:
        while True:
            sizes = [process.memory_info().rss // 1_000_000 for process in (self._receiver, self._mariadb)]
            self._memory.append((sizes[0], sizes[1]))
            if self._over.wait(_SAMPLE_SECONDS):
                return


def _thin(samples: Sequence[int]) -> tuple[int, ...]:
    step = max(1, len(samples) // 20)
    return tuple(samples[::step])


class Senders:
    """Sends export requests over a few connections, each again until it is acknowledged."""

    def __init__(self, server: Server, senders: int) -> None:
        self._senders = senders
        self._client = httpx.Client(
            base_url=server.url,
            headers=server.headers | {"Content-Type": "application/x-protobuf"},
            timeout=120,
            limits=httpx.Limits(max_connections=senders),
        )

    def send(self, bodies: Sequence[Body], count: int) -> None:
        """Send so many requests, varied from these bodies."""
        with ThreadPoolExecutor(self._senders) as threads:
            for _ in threads.map(lambda number: self._send_one(bodies[number % len(bodies)], number), range(count)):
                pass

    def _send_one(self, body: Body, number: int) -> None:
        content = vary_body(body, number)
        while (status := self._client.post("/v1/logs", content=content).status_code) != 200:
            if status not in (429, 503):
                raise SystemExit(f"the server said {status}")
            time.sleep(0.2)


def measure_otlp(server: Server, lines: int, batch: int, senders: int) -> Result:
    """Send export requests and wait until all of it is committed."""
    count = max(1, lines // batch)
    with multiprocessing.Pool(1) as pool:  # its memory and its time are not ours
        bodies = pool.starmap(make_body, [(batch, seed, ENVIRONMENT) for seed in range(min(_BODIES, count))])
    text_bytes = sum(bodies[number % len(bodies)].text_bytes for number in range(count))
    sending = Senders(server, senders)

    def work() -> None:
        sending.send(bodies, count)
        _wait_until_stored(server)

    return Meter(server).measure("OTLP over HTTP", count * batch, text_bytes, work)


def measure_files(server: Server, lines: int, batch: int) -> Result:
    """Write a log file, then ship it to its end and wait until all of it is committed; the shipper is the sender."""
    chunks = [make_chunk(batch, seed) for seed in range(20)]
    count = max(1, lines // batch)
    text_bytes = sum(chunks[number % len(chunks)].text_bytes for number in range(count))
    with tempfile.TemporaryDirectory(prefix="causegraph-bench-") as name:
        log = Path(name) / "app.log"
        with log.open("wb") as file:
            file.writelines(vary_chunks(chunks, count * batch))
        command = [sys.executable, "-m", "cli.main", "ship", str(log), "--once", "--server", server.url]
        command += ["--state", str(Path(name) / "state"), "--service", "web", "--environment", ENVIRONMENT]
        environ = {**os.environ, "CAUSEGRAPH_API_KEY": server.key}

        def work() -> None:
            done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, check=False)
            if done.returncode:
                raise SystemExit(f"causegraph ship failed:\n{done.stderr.decode(errors='replace')[-2000:]}")
            _wait_until_stored(server)

        return Meter(server).measure("files through causegraph ship", count * batch, text_bytes, work)


def measure_plain(server: Server, lines: int) -> Result:
    """Load the same number of lines with nothing around; the receiver is this process."""
    choose, now = random.Random(3), time.time_ns() // 1000
    texts = [make_line(choose) for _ in range(min(lines, _PLAIN_LINES))]
    ids = choose.randbytes(16).hex(), choose.randbytes(8).hex()

    async def load() -> None:
        database = Database(_database_url(server))
        await database.execute("bench_plain_table")
        for at in range(0, len(texts), _BATCH):
            events = [
                LogEvent(ENVIRONMENT, now + at + n, "web", Level.INFO, text, n % 6, "", "node-1", *ids)
                for n, text in enumerate(texts[at : at + _BATCH])
            ]
            content = make_log_rows(events, lambda attributes: "{}").load(at).encode()
            await database.transaction(lambda tx, content=content: tx.load_rows("bench_plain_load", content))  # type: ignore[misc]
        await database.close()

    me = psutil.Process()
    return Meter(server, me).measure("plain load", len(texts), sum(map(len, texts)), lambda: asyncio.run(load()))


def _wait_until_stored(server: Server) -> None:
    with server.client() as client:
        while client.get("/health").json()["spool"]["deliveries"]:
            time.sleep(0.02)


def _database_url(server: Server) -> str:
    return ensure_stack(server.data_dir).database_url


async def _count_stored(server: Server) -> int:
    database = Database(_database_url(server))
    try:
        return int((await database.fetch("bench_stored", (ENVIRONMENT,)))[0][0])
    finally:
        await database.close()


@contextmanager
def _warm_server(batch: int, senders: int) -> Iterator[Server]:
    with start_server() as server:
        Senders(server, senders).send([make_body(batch, 10**6, "warm")], 1)
        time.sleep(_SETTLE_SECONDS)
        yield server


def run(ways: Sequence[str], lines: int, batch: int, senders: int) -> Iterator[Result]:
    """Measure each way on one cold server."""
    with _warm_server(batch, senders) as server:
        sent = 0
        for way in ways:
            match way:
                case "otlp":
                    result = measure_otlp(server, lines, batch, senders)
                case "files":
                    result = measure_files(server, lines, batch)
                case _:
                    yield measure_plain(server, lines)
                    continue
            sent += result.lines
            stored = asyncio.run(_count_stored(server))
            if stored != sent:
                raise SystemExit(f"{stored} rows are stored, {sent} lines were sent")
            yield result


def _say(one: Result) -> None:
    print(
        f"{one.way}: {one.lines:,} lines in {one.seconds} s = {one.lines_per_second:,} lines/s, "
        f"{one.megabytes_per_second} MB/s of text\n"
        f"  CPU seconds per million lines: receiver {one.receiver_cpu}, MariaDB {one.mariadb_cpu}, "
        f"sender {one.sender_cpu}\n"
        f"  memory in MB over time: receiver {' '.join(map(str, one.receiver_memory))}\n"
        f"                          MariaDB  {' '.join(map(str, one.mariadb_memory))}",
        flush=True,
    )
    if len(one.receiver_memory) >= 9:
        print(f"  the receiver's memory is {'flat' if one.is_flat else 'NOT flat'}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1000, help="lines of a request")
    parser.add_argument("--senders", type=int, default=4, help="connections of the OTLP sender")
    parser.add_argument("--way", action="append", choices=["otlp", "files", "plain"], help="only this; may be repeated")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    machine = {"cores": os.cpu_count(), "load": round(os.getloadavg()[0], 1)}
    if not given.json:
        print(f"{machine['cores']} cores, load average at the start {machine['load']}", flush=True)
    results = []
    for one in run(given.way or ["otlp", "files", "plain"], given.lines, given.batch, given.senders):
        results.append(one)
        if not given.json:
            _say(one)
    if given.json:
        print(json.dumps({**machine, "results": [{**asdict(one), "flat": one.is_flat} for one in results]}))


if __name__ == "__main__":
    main()

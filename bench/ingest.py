"""How fast log records come in: OTLP over HTTP to a committed row, beside a plain insert of the same lines.

    python -m bench.ingest [--records 200000] [--batch 1000] [--senders 4] [--json]

Each line has parameters of its own. The sender encodes its OpenTelemetry payloads before the clock starts; what it uses of the
machine while it sends is shown. The end is when the last row is committed and the spool is empty. `plain` writes the same
lines with batched inserts from one process into a table with the same keys: no HTTP, no decoding, no template, no spool, no
ledger, no counts. The difference is the price of what is guaranteed and derived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import random
import statistics
import time
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass

import httpx
import psutil
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench.server import Server, start_server
from cli.stack import stack_status
from storage.database import QUERIES, Database, Row

ENVIRONMENT = "bench"
_SETTLE_SECONDS = 10.0
QUERIES["bench_stored"] = "SELECT COUNT(*) FROM log_event WHERE environment = ?"
QUERIES["bench_plain_table"] = "CREATE TABLE bench_plain LIKE log_event"
QUERIES["bench_plain_add"] = QUERIES["ingest_add_logs"].replace("INTO log_event", "INTO bench_plain")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds so far of the receiver, of MariaDB and of the sender, and the receiver's resident memory in MB."""

    receiver: float
    mariadb: float
    sender: float
    memory: float


@dataclass(frozen=True, slots=True)
class Result:
    """What one way in came to. CPU is in seconds per million lines; memory in MB, sampled while it ran."""

    way: str
    lines: int
    seconds: float
    lines_per_second: float
    megabytes_per_second: float
    receiver_cpu: float
    mariadb_cpu: float
    sender_cpu: float
    memory_first: float
    memory_last: float
    memory_peak: float


def make_line(choose: random.Random) -> str:
    """Return a line of one of six kinds, with numbers and ids that no other line has."""
    match choose.randrange(6):
        case 0:
            return f"order {uuid.UUID(int=choose.getrandbits(128))} placed in {choose.randrange(900)} ms"
        case 1:
            return f"GET /api/products/{choose.randrange(99999)} 200 {choose.random() * 100:.2f}ms"
        case 2:
            return f"cache miss for key session:{choose.getrandbits(64):016x}"
        case 3:
            return f"connection from 10.{choose.randrange(256)}.{choose.randrange(256)}.7:{choose.randrange(65535)} accepted"
        case 4:
            return f"payment of {choose.random() * 1000:.2f} EUR authorised for customer {choose.randrange(10**7)}"
        case _:
            return f"slow query took {choose.randrange(5000)} ms: stock of sku {choose.randrange(10**6)}"


def make_body(size: int, seed: int) -> tuple[bytes, int]:
    """Return an ExportLogsServiceRequest of `size` records, and the bytes of their lines."""
    choose, text_bytes = random.Random(seed), 0
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    said = {"service.name": choose.choice(("web", "cart", "stock")), "host.name": f"node-{choose.randrange(4)}"}
    for key, value in (said | {"deployment.environment.name": ENVIRONMENT}).items():
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_logs.add()
    start = time.time_ns()
    for number in range(size):
        line = make_line(choose)
        text_bytes += len(line)
        record = scope.log_records.add(time_unix_nano=start + number * 1000, severity_number=9)
        record.body.string_value = line
        record.trace_id, record.span_id = choose.randbytes(16), choose.randbytes(8)
        record.attributes.add(key="thread.name").value.string_value = "worker-1"
    return request.SerializeToString(), text_bytes


class Senders:
    """Sends bodies over a few connections, each again until it is acknowledged."""

    def __init__(self, server: Server, senders: int) -> None:
        self._threads = ThreadPoolExecutor(senders)
        self._client = httpx.Client(
            base_url=server.url,
            headers=server.headers | {"Content-Type": "application/x-protobuf"},
            timeout=120,
            limits=httpx.Limits(max_connections=senders),
        )

    def send(self, bodies: Sequence[bytes]) -> None:
        list(self._threads.map(self._send_one, bodies))

    def _send_one(self, body: bytes) -> None:
        while (status := self._client.post("/v1/logs", content=body).status_code) != 200:
            if status not in (429, 503):
                raise SystemExit(f"the server said {status}")
            time.sleep(0.2)


def measure_http(server: Server, bodies: Sequence[bytes], lines: int, text_bytes: int, senders: int) -> Result:
    """Send every body and wait until all of it is committed."""
    sending, samples = Senders(server, senders), []
    receiver, mariadb = _processes(server)
    began, before = time.perf_counter(), _usage(receiver, mariadb)
    part = max(1, len(bodies) // 20)
    for at in range(0, len(bodies), part):
        sending.send(bodies[at : at + part])
        samples.append(_usage(receiver, mariadb).memory)
    with server.client() as client:
        while client.get("/health").json()["spool"]["deliveries"]:
            time.sleep(0.02)
    seconds, after = time.perf_counter() - began, _usage(receiver, mariadb)
    return _result("OTLP over HTTP", lines, text_bytes, seconds, before, after, samples)


async def measure_plain(server: Server, rows: Sequence[Row], text_bytes: int, batch: int) -> Result:
    """Insert the same number of rows with nothing around."""
    _, mariadb = _processes(server)
    database, me = Database(_database_url(server)), psutil.Process()
    await database.execute("bench_plain_table")
    began, before, samples = time.perf_counter(), _usage(me, mariadb), []
    for at in range(0, len(rows), batch):
        part = rows[at : at + batch]
        await database.transaction(lambda tx, part=part: tx.execute_rows("bench_plain_add", part))  # type: ignore[misc]
        samples.append(_usage(me, mariadb).memory)
    seconds, after = time.perf_counter() - began, _usage(me, mariadb)
    await database.close()
    return _result("plain batched insert", len(rows), text_bytes, seconds, before, after, samples)


def _result(
    way: str, lines: int, text_bytes: int, seconds: float, before: Usage, after: Usage, memory: Sequence[float]
) -> Result:
    million = lines / 1e6
    own = after.sender - before.sender
    receiver = after.receiver - before.receiver
    return Result(
        way=way,
        lines=lines,
        seconds=round(seconds, 2),
        lines_per_second=round(lines / seconds),
        megabytes_per_second=round(text_bytes / seconds / 1e6, 2),
        receiver_cpu=round(receiver / million, 1),
        mariadb_cpu=round((after.mariadb - before.mariadb) / million, 1),
        sender_cpu=round(own / million, 1),
        memory_first=round(memory[0]),
        memory_last=round(statistics.median(memory[-3:])),
        memory_peak=round(max(memory)),
    )


def _processes(server: Server) -> tuple[psutil.Process, psutil.Process]:
    state = json.loads((server.data_dir / "run" / "server.json").read_text())
    return psutil.Process(state["pid"]), psutil.Process(stack_status(server.data_dir).servers["mariadb"].pid)


def _usage(receiver: psutil.Process, mariadb: psutil.Process) -> Usage:
    return Usage(
        receiver=sum(receiver.cpu_times()[:2]),
        mariadb=sum(mariadb.cpu_times()[:2]),
        sender=time.process_time(),
        memory=receiver.memory_info().rss / 1e6,
    )


def _database_url(server: Server) -> str:
    from cli.stack import ensure_stack

    return ensure_stack(server.data_dir).database_url


def _make_rows(count: int) -> tuple[list[Row], int]:
    choose = random.Random(3)
    lines = [make_line(choose) for _ in range(count)]
    now = time.time_ns() // 1000
    ids = choose.randbytes(16).hex(), choose.randbytes(8).hex()
    attributes = '{"thread.name":"worker-1"}'
    rows: list[Row] = [
        (number // 1000, ENVIRONMENT, now + number, "web", 9, number % 6, "node-1", *ids, line, attributes)
        for number, line in enumerate(lines)
    ]
    return rows, sum(map(len, lines))


async def run(records: int, batch: int, senders: int) -> list[Result]:
    """Measure both ways on one cold server."""
    with multiprocessing.Pool(1) as pool:  # its memory and its time are not ours
        made = pool.starmap(make_body, [(batch, seed) for seed in range(records // batch)])
    bodies, text_bytes = [body for body, _ in made], sum(size for _, size in made)
    lines = len(bodies) * batch
    with start_server() as server:
        warm = make_body(batch, 10**6)[0]
        Senders(server, senders).send([warm])
        await asyncio.sleep(
            _SETTLE_SECONDS
        )  # what a server does once: read its model of language, open its connections
        http = await asyncio.to_thread(measure_http, server, bodies, lines, text_bytes, senders)
        database = Database(_database_url(server))
        stored = int((await database.fetch("bench_stored", (ENVIRONMENT,)))[0][0])
        await database.close()
        if stored != lines + batch:
            raise SystemExit(f"{stored} rows are stored, {lines + batch} were sent")
        rows, row_bytes = _make_rows(lines)
        plain = await measure_plain(server, rows, row_bytes, batch)
    return [http, plain]


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast log records come in, to a committed row.")
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--batch", type=int, default=1000)
    parser.add_argument("--senders", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = asyncio.run(run(given.records, given.batch, given.senders))
    if given.json:
        print(
            json.dumps({"cores": os.cpu_count(), "load": os.getloadavg()[0], "results": [asdict(r) for r in results]})
        )
        return
    for one in results:
        print(
            f"{one.way}: {one.lines:,} lines in {one.seconds} s = {one.lines_per_second:,} lines/s, "
            f"{one.megabytes_per_second} MB/s of text\n"
            f"  CPU seconds per million lines: receiver {one.receiver_cpu}, MariaDB {one.mariadb_cpu}, "
            f"sender {one.sender_cpu}\n"
            f"  receiver's memory: {one.memory_first} MB at first, {one.memory_last} MB at last, peak {one.memory_peak} MB"
        )
    print(f"{os.cpu_count()} cores, load average {os.getloadavg()[0]:.1f}; Vector and Fluent Bit are not measured")


if __name__ == "__main__":
    main()

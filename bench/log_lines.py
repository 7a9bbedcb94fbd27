"""Log lines for benchmarks of ingest: six kinds, each line with parameters of its own, made once and varied while sent."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

# Written over, at equal length, whenever a body or a chunk is sent again: so no two lines are alike, and the sender
# spends next to nothing on it.
_MARK = b"70000007"
_TIMES = tuple(0x4D41524B00000000 + number for number in range(10))
_STAMP = "2026-11-21T10:00:00.000000Z"


@dataclass(frozen=True, slots=True)
class Body:
    """An export request or a piece of a log file: how many lines, and the bytes of their messages."""

    content: bytes
    lines: int
    text_bytes: int


def make_line(choose: random.Random) -> str:
    """Return a line of one of six kinds."""
    mark = _MARK.decode()
    match choose.randrange(6):
        case 0:
            rest = f"{choose.getrandbits(96):024x}"
            return f"order {mark}-{rest[:4]}-{rest[4:8]}-{rest[8:12]}-{rest[12:]} placed in {choose.randrange(900)} ms"
        case 1:
            return f"GET /api/products/{mark} 200 {choose.random() * 100:.2f}ms"
        case 2:
            return f"cache miss for key session:{mark}{choose.getrandbits(32):08x}"
        case 3:
            host = f"10.{choose.randrange(256)}.{choose.randrange(256)}.7:{choose.randrange(65535)}"
            return f"connection {mark} from {host} accepted"
        case 4:
            return f"payment of {choose.random() * 1000:.2f} EUR authorised for customer {mark}"
        case _:
            return f"slow query took {choose.randrange(5000)} ms: stock of sku {mark}"


def make_body(size: int, seed: int, environment: str) -> Body:
    """Return an ExportLogsServiceRequest of so many records."""
    choose, text_bytes = random.Random(seed), 0
    request = ExportLogsServiceRequest()
    resource = request.resource_logs.add()
    said = {"service.name": choose.choice(("web", "cart", "stock")), "host.name": f"node-{choose.randrange(4)}"}
    for key, value in (said | {"deployment.environment.name": environment}).items():
        resource.resource.attributes.add(key=key).value.string_value = value
    scope = resource.scope_logs.add()
    for number in range(size):
        line = make_line(choose)
        text_bytes += len(line)
        time_ns = _TIMES[number * len(_TIMES) // size]
        record = scope.log_records.add(time_unix_nano=time_ns, severity_number=9)
        record.body.string_value = line
        record.trace_id, record.span_id = choose.randbytes(16), choose.randbytes(8)
        record.attributes.add(key="thread.name").value.string_value = "worker-1"
    return Body(request.SerializeToString(), size, text_bytes)


def vary_body(body: Body, number: int) -> bytes:
    """Return an export request with lines that no other number has, of now."""
    content, now = body.content.replace(_MARK, b"%08d" % number), time.time_ns()
    for at, mark in enumerate(_TIMES):
        content = content.replace(mark.to_bytes(8, "little"), (now + at * 1_000_000).to_bytes(8, "little"))
    return content


def make_chunk(size: int, seed: int) -> Body:
    """Return lines of a log file, with time and level before each."""
    choose = random.Random(seed)
    lines = [make_line(choose) for _ in range(size)]
    text = "".join(f"{_STAMP[:20]}{at % 1_000_000:06}Z INFO {line}\n" for at, line in enumerate(lines))
    return Body(text.encode(), size, sum(map(len, lines)))


def vary_chunks(chunks: Sequence[Body], lines: int) -> Iterator[bytes]:
    """Yield pieces of a log file, so many lines in all, no two of them alike; each piece is a second later."""
    number = 0
    while lines > 0:
        content = chunks[number % len(chunks)].content
        hour, minute, second = number // 3600 % 24, number // 60 % 60, number % 60
        stamp = f"2026-11-21T{hour:02}:{minute:02}:{second:02}".encode()
        yield content.replace(_STAMP[:19].encode(), stamp).replace(_MARK, b"%08d" % number)
        lines -= chunks[number % len(chunks)].lines
        number += 1

"""A server that takes `/ingest/logs` as Causegraph does: each Idempotency-Key once. It can be told to misbehave."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import zstandard

type Reply = tuple[int, dict[str, str], dict[str, Any]]


@dataclass
class Receiver:
    """What was taken, in order. `judge` may answer a request in place of taking it, from its number and its records."""

    judge: Callable[[int, list[Any]], Reply | None] = lambda number, records: None
    records: list[dict[str, Any]] = field(default_factory=list)
    keys: dict[str, bytes] = field(default_factory=dict)
    headers: list[dict[str, str]] = field(default_factory=list)
    requests: int = 0
    duplicates: int = 0
    conflicts: int = 0
    url: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def messages(self) -> list[str]:
        return [record["message"] for record in self.records]

    def take(self, key: str, body: bytes, headers: dict[str, str]) -> Reply:
        with self._lock:
            self.requests += 1
            self.headers.append(headers)
            records = [json.loads(line) for line in body.splitlines()]
            refused = self.judge(self.requests, records)
            if refused is not None:
                return refused
            if key in self.keys:
                self.duplicates += 1
                self.conflicts += self.keys[key] != body
                return 200, {}, {"accepted": 0, "duplicate": len(records), "rejected": 0, "errors": []}
            self.keys[key] = body
            self.records += records
            return 200, {}, {"accepted": len(records), "duplicate": 0, "rejected": 0, "errors": []}


@contextmanager
def receiving(port: int = 0, **given: Any) -> Iterator[Receiver]:
    """Run a receiver on a free port."""
    receiver = Receiver(**given)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            body = zstandard.ZstdDecompressor().decompressobj().decompress(raw)
            status, headers, reply = receiver.take(self.headers["Idempotency-Key"], body, dict(self.headers))
            told = json.dumps(reply).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(told))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(told)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        server.daemon_threads = True
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()

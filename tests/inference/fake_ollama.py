"""A server that answers `/api/embed` as Ollama 0.33 does, word for word where it fails; over real HTTP."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

DIMENSION = 8


class FakeOllama(ThreadingHTTPServer):
    """Knows the model `emb`. `replies` are taken one by one before it answers by itself: (status, body)."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.replies: list[tuple[int, str]] = []
        self.asked: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: FakeOllama

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append(body)
        self._answer(*self._reply(body))

    def _reply(self, body: dict[str, Any]) -> tuple[int, str]:
        if self.server.replies:
            return self.server.replies.pop(0)
        if self.path != "/api/embed":
            return 404, "404 page not found"
        if body["model"] != "emb":
            return 404, json.dumps({"error": f'model "{body["model"]}" not found, try pulling it first'})
        texts = body["input"] if isinstance(body["input"], list) else [body["input"]]
        vectors = [[float(len(text) + at) for at in range(DIMENSION)] for text in texts]
        return 200, json.dumps({"model": "emb", "embeddings": vectors, "prompt_eval_count": 1})

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json" if text.startswith("{") else "text/plain")
        self.send_header("content-length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *arguments: object) -> None:
        """Say nothing."""


@contextmanager
def running() -> Iterator[FakeOllama]:
    """A server for the time of a block."""
    with FakeOllama() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()

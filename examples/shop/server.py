"""The HTTP side of a service: a thread per request, TLS where it is wanted, and an end that turns nobody away."""

import contextlib
import json
import logging
import socket
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from examples.shop.layout import Json
from examples.shop.state import HOST


@dataclass(frozen=True, slots=True)
class Request:
    """One request: the values of the route's placeholders, the query, and the decoded body."""

    method: str
    path: str
    parameters: dict[str, str] = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    body: Json = field(default_factory=dict)


type Answer = Callable[[Request, dict[str, str]], tuple[int, Json]]
"""From a request and its headers (lower case) to a status and a body."""

type Tls = Callable[[], ssl.SSLContext]
"""The TLS settings to use for the next connection."""


class Server(ThreadingHTTPServer):
    """A thread per request. The port is shared, so that the next release can listen before this one stops."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128
    allow_reuse_port = True

    def __init__(self, port: int, answer: Answer, tls: Tls | None, log: logging.Logger) -> None:
        self.answer = answer
        self.tls = tls
        self.log = log
        self.under_way = 0
        self.idle = threading.Condition()
        super().__init__((HOST, port), _RequestHandler)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self.idle:
            self.under_way += 1
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            if self.tls:
                request.settimeout(5.0)
                request = self.tls().wrap_socket(request, server_side=True)
            super().process_request_thread(request, client_address)
        except (ssl.SSLError, OSError) as error:
            self._log_handshake(error, client_address)
            self.shutdown_request(request)
        finally:
            with self.idle:
                self.under_way -= 1
                self.idle.notify_all()

    def drain(self) -> None:
        """Answer those who are connected already, then close: nobody who got through is turned away."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                request, client_address = self.socket.accept()
                request.setblocking(True)
                self.process_request(request, client_address)
        self.server_close()
        with self.idle:
            self.idle.wait_for(lambda: self.under_way == 0, timeout=3.0)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away before its answer is not worth a line."""
        if not isinstance(sys.exception(), ConnectionError | TimeoutError):
            self.log.exception("connection of %s:%d failed", *client_address)

    def _log_handshake(self, error: OSError, client_address: tuple[str, int]) -> None:
        if not isinstance(error, ConnectionError | ssl.SSLEOFError):
            self.log.warning("TLS handshake with %s:%d failed: %s", *client_address, error)


class _RequestHandler(BaseHTTPRequestHandler):
    server: Server
    timeout = 10.0

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        length = int(self.headers.get("content-length") or 0)
        try:
            body = cast(Json, json.loads(self.rfile.read(length))) if length else {}
        except ValueError:
            self._send(400, {"error": "the body is not JSON"})
            return
        headers = {key.lower(): value for key, value in self.headers.items()}
        request = Request(self.command, url.path, {}, dict(parse_qsl(url.query)), body)
        self._send(*self.server.answer(request, headers))

    do_POST = do_PUT = do_DELETE = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """The services write their own log."""

    def _send(self, status: int, answer: Json) -> None:
        payload = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(payload)))
        self.end_headers()
        with contextlib.suppress(socket.error):
            self.wfile.write(payload)

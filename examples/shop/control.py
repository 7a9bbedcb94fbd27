"""How a command in another terminal reaches the running shop: an HTTP server on the loopback, its address and secret in
the state folder."""

import hmac
import http.client
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from examples.shop.state import HOST

TIMEOUT_S = 60.0

type Operate = Callable[[list[str], str], str]


class ControlError(Exception):
    """The running shop cannot be reached, or refused the command."""


class Control:
    """Takes commands and hands them to `operate`, one at a time."""

    def __init__(self, path: Path, operate: Operate, errors: tuple[type[Exception], ...]) -> None:
        self._path = path
        self._token = secrets.token_urlsafe(24)
        token, lock = self._token, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers.get("content-length") or 0))
                if not hmac.compare_digest(self.headers.get("authorization", ""), f"Bearer {token}"):
                    self._send(401, "wrong token")
                    return
                command = json.loads(body)
                try:
                    with lock:
                        self._send(200, operate(command["arguments"], command["actor"]))
                except errors as error:
                    self._send(409, str(error))

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in http.server
                """Nothing to say."""

            def _send(self, status: int, text: str) -> None:
                payload = text.encode()
                self.send_response(status)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

        self._server = ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True, name="control")

    def start(self) -> None:
        self._path.unlink(missing_ok=True)
        self._path.touch(mode=0o600)
        self._path.write_text(json.dumps({"port": self._server.server_port, "token": self._token}))
        self._thread.start()

    def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        self._server.shutdown()
        self._server.server_close()


def send_command(path: Path, arguments: list[str], actor: str) -> str:
    """Have the running shop carry out an operator's command. Raises ControlError."""
    if not path.exists():
        raise ControlError(f"no shop runs on {path.parent}")
    address = json.loads(path.read_text())
    connection = http.client.HTTPConnection(HOST, address["port"], timeout=TIMEOUT_S)
    body = json.dumps({"arguments": arguments, "actor": actor})
    try:
        connection.request("POST", "/", body, {"authorization": f"Bearer {address['token']}"})
        response = connection.getresponse()
        text = response.read().decode()
    except OSError as error:
        raise ControlError(f"the shop on {path.parent} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise ControlError(text)
    return text

"""`causegraph serve` as a process of a test's own, which can be killed and started again at the same address."""

from __future__ import annotations

import asyncio
import contextlib
import http.server
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from cli.server import read_local_key

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "cli.main")
_START_SECONDS = 120.0


def clean_environ(data_dir: Path, **more: str) -> dict[str, str]:
    """Return the environment of a command on a data folder, without what the person running the tests has set."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEGRAPH_")}
    cache = os.environ.get("CAUSEGRAPH_CACHE_DIR")
    return kept | {"CAUSEGRAPH_DATA_DIR": str(data_dir)} | ({"CAUSEGRAPH_CACHE_DIR": cache} if cache else {}) | more


def run_command(data_dir: Path, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run `causegraph ARGUMENTS` to its end."""
    return subprocess.run(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env=clean_environ(data_dir, **environ),
        capture_output=True,
        text=True,
        check=False,
        timeout=180,
    )


async def read_lives(module: str, *arguments: str) -> list[Any]:
    """Run a script of the tests to its end, in which processes are killed one after another; return the JSON of each line it printed."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, *arguments,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 600)
    assert process.returncode == 0, err.decode()[-4000:]
    return [json.loads(line) for line in out.splitlines()]


@contextlib.contextmanager
def listening(handler: type[http.server.BaseHTTPRequestHandler]) -> Iterator[str]:
    """Let a handler answer HTTP on this machine for as long as the context lasts; yield its address."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Serve:
    """A server on a data folder. Its address stays the same for as long as this object lives.

    `before` is put in front of the command, such as what gives it a file system of its own.
    """

    data_dir: Path
    environ: dict[str, str] = field(default_factory=dict)
    before: Sequence[str] = ()
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.log = self.data_dir.with_name(self.data_dir.name + ".serve.log")
        if not self.port:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                self.port = probe.getsockname()[1]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def seen_data_dir(self) -> Path:
        """The data folder by a path that is good in this process too, whatever the server has mounted there."""
        if not self.before or self.process is None:
            return self.data_dir
        return Path(f"/proc/{self.process.pid}/root{self.data_dir}")

    def start(self) -> None:
        """Start the process; `wait` says when it answers."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*self.before, *COMMAND, "-v", "serve", "--port", str(self.port)],
                cwd=ROOT,
                env=clean_environ(self.data_dir, **self.environ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self) -> None:
        """Wait until it answers."""
        assert self.process is not None
        end = time.monotonic() + _START_SECONDS
        while time.monotonic() < end and self.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/health", timeout=10)
                return
            time.sleep(0.1)
        raise AssertionError(f"the server did not start:\n{self.said()[-3000:]}")

    def said(self) -> str:
        """Return its log."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it as Ctrl-C would."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(number)
            self.process.wait(60)

    def client(self, timeout: float = 60.0) -> httpx.Client:
        """Return a client with the admin's key."""
        headers = {"X-API-Key": read_local_key(self.seen_data_dir)}
        return httpx.Client(base_url=self.url, headers=headers, timeout=timeout)

"""What the shipper costs: lines per second, CPU and memory of following files, to a sink and to a real server.

    .venv/bin/python -m bench.ship --lines 500000

Beside it `tail -F` into a socket, which keeps no cursor, joins nothing, and loses what a crash or a full socket loses: the
price of the shipper's promises. No registry that was looked at (Debian, PyPI, npm) has Vector or Fluent Bit. Every line
carries parameters of its own.
"""

from __future__ import annotations

import argparse
import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from bench.server import ROOT, start_server

_KINDS = (
    "order {0} of customer {1} placed: {2} items, {3} ms",
    "GET /cart/{0} 200 {3}ms from 10.0.{2}.{2}",
    "stock of item {1} is {2}, reserved by order {0}",
    "payment {0} accepted by provider-{2} after {3} ms, reference {1}",
)


@dataclass(slots=True)
class Measured:
    """One run: seconds of the clock and of the processor, and memory in MB as it was sampled."""

    name: str
    lines: int
    bytes: int
    wall: float = 0.0
    cpu: float = 0.0
    rss: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        half = self.rss[len(self.rss) // 2] if self.rss else 0.0
        return (
            f"{self.name:<28}{self.lines / self.wall:>10,.0f} lines/s {self.bytes / self.wall / 1e6:>7.1f} MB/s"
            f"{self.cpu / self.lines * 1e6:>8.1f} CPU s per million lines"
            f"{half:>7.0f} MB halfway {max(self.rss, default=0.0):>5.0f} MB at most"
        )


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=300_000)
    parser.add_argument("--server-lines", type=int, default=100_000, help="lines to a real server; 0 leaves it out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="causegraph-bench-") as name:
        folder = Path(name)
        log, small = folder / "app.log", folder / "small.log"
        write_lines(log, options.lines)
        write_lines(small, options.server_lines)
        (folder / "empty.log").touch()
        with sink() as url:
            print(f"load of the machine at the start: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores", flush=True)
            start = ship(folder / "empty.log", folder / "state-empty", url, "", 1)
            print(f"start and end with nothing to do: {start.wall:.2f} s, {max(start.rss):.0f} MB", flush=True)
            print(ship(log, folder / "state-sink", url, "shipper to a sink", options.lines), flush=True)
            raw = folder / "ship.yaml"
            raw.write_text(f"sources: [{{kind: files, paths: [{log}], parse: false}}]\n")
            done = ship(log, folder / "state-raw", url, "  with parse: false", options.lines, config=raw)
            print(done, flush=True)
        print(tail(log, options.lines), flush=True)
        if options.server_lines:
            with start_server() as server:
                done = ship(
                    small, folder / "state-server", server.url, "shipper to a server", options.server_lines, server.key
                )
                print(done, flush=True)


def write_lines(path: Path, count: int) -> None:
    """Write lines with distinct parameters, as a service does."""
    choose = random.Random(7)
    with path.open("w") as file:
        for number in range(count):
            text = choose.choice(_KINDS).format(
                f"{choose.getrandbits(48):012x}",
                choose.randrange(10**7),
                choose.randrange(250),
                choose.randrange(4000),
            )
            file.write(f"2026-11-21T10:{number // 60 % 60:02}:{number % 60:02}.{number % 1000:03}Z INFO {text}\n")


def ship(
    log: Path, state: Path, url: str, name: str, lines: int, key: str = "key", config: Path | None = None
) -> Measured:
    """Ship a file, or what a configuration names, to its end in a process of its own."""
    what = ["--config", str(config)] if config else [str(log)]
    command = [sys.executable, "-m", "cli.main", "ship", *what, "--once", "--server", url, "--state", str(state)]
    environ = {**os.environ, "CAUSEGRAPH_API_KEY": key}
    measured = Measured(name, lines, log.stat().st_size)

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(command, cwd=ROOT, env=environ, stderr=subprocess.PIPE)

    _measure(measured, start, until=lambda process: process.poll() is not None)
    return measured


def tail(log: Path, lines: int) -> Measured:
    """Send a file through `tail -F` into a socket that is read and thrown away."""
    measured = Measured("tail -F to a socket", lines, log.stat().st_size)
    read = [0]
    ours, theirs = socket.socketpair()

    def drain() -> None:
        while data := ours.recv(1 << 20):
            read[0] += len(data)

    reader = threading.Thread(target=drain, daemon=True)
    reader.start()

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["tail", "-n", "+1", "-F", str(log)], stdout=theirs.fileno(), stderr=subprocess.PIPE)

    _measure(measured, start, until=lambda process: read[0] >= measured.bytes)
    theirs.close()
    reader.join()
    ours.close()
    return measured


def _measure(
    measured: Measured,
    start: Callable[[], subprocess.Popen[bytes]],
    until: Callable[[subprocess.Popen[bytes]], bool],
) -> None:
    began = time.monotonic()
    process = start()
    while not until(process):
        measured.rss.append(_rss(process.pid))
        measured.cpu = _cpu(process.pid) or measured.cpu
        time.sleep(0.02)
    measured.wall = time.monotonic() - began
    measured.cpu = _cpu(process.pid) or measured.cpu
    process.terminate()
    _, told = process.communicate()
    if process.returncode not in (0, -15):
        raise SystemExit(f"{measured.name} failed:\n{told.decode(errors='replace')}")


def _rss(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS")), 0.0)


def _cpu(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def sink() -> Iterator[str]:
    """Take every batch and look at none of it; gives the address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            told = b'{"accepted": 1, "duplicate": 0, "rejected": 0, "errors": []}'
            self.send_header("Content-Length", str(len(told)))
            self.end_headers()
            self.wfile.write(told)

        def log_request(self, code: object = "-", size: object = "-") -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


if __name__ == "__main__":
    main()

"""A Causegraph server of a benchmark's own: a cold stack in a folder that is removed afterwards, real HTTP."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from cli.server import find_server, read_local_key

ROOT = Path(__file__).resolve().parent.parent
_START_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Server:
    """Where a running server answers, its key, and the data folder behind it."""

    url: str
    key: str
    data_dir: Path

    @property
    def headers(self) -> dict[str, str]:
        return {"X-API-Key": self.key}

    def client(self, timeout: float = 120.0) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout)


@contextmanager
def start_server(keep: Path | None = None, *, investigations_per_hour: int = 0) -> Iterator[Server]:
    """Start `causegraph serve` on a new stack and a free port; stop and remove everything at the end.

    With `keep` the data folder is that one, and it stays. What it notices by itself it does not investigate, unless told
    to: that would be measured too.
    """
    data_dir = keep or Path(tempfile.mkdtemp(prefix="causegraph-bench-"))
    environment = {**os.environ, "CAUSEGRAPH_DATA_DIR": str(data_dir), "CAUSEGRAPH_PORT": "0"}
    environment["CAUSEGRAPH_SYMPTOM_INVESTIGATIONS_PER_HOUR"] = str(investigations_per_hour)
    command = [sys.executable, "-m", "cli.main"]
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / "bench-serve.log").open("wb") as log:
        process = subprocess.Popen([*command, "serve"], env=environment, cwd=ROOT, stdout=log, stderr=log)
        try:
            yield _wait(process, data_dir)
        finally:
            process.terminate()
            process.wait(30)
            subprocess.run([*command, "down"], env=environment, cwd=ROOT, check=False, capture_output=True)
            if keep is None:
                shutil.rmtree(data_dir, ignore_errors=True)


def _wait(process: subprocess.Popen[bytes], data_dir: Path) -> Server:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        if (state := find_server(data_dir)) is not None:
            return Server(state.address.rstrip("/"), read_local_key(data_dir), data_dir)
        time.sleep(0.1)
    tail = (data_dir / "bench-serve.log").read_text(encoding="utf-8", errors="replace")[-2000:]
    raise SystemExit(f"the server did not start:\n{tail}")

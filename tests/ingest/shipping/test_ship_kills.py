"""Shipper and server are killed at random while files are written and rotated: every line is stored, and once."""

from __future__ import annotations

import logging
import logging.handlers
import os
import random
import shutil
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.server import read_local_key
from cli.stack import ensure_stack, stop_stack
from storage.database import Database
from tests.sending import TOKEN
from tests.serving import COMMAND, ROOT, Serve, clean_environ

pytestmark = pytest.mark.long

SECONDS = float(os.environ.get("SHIP_SECONDS", "40"))
_DRAIN_SECONDS = 180.0


@pytest.fixture
def server() -> Iterator[Serve]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-ship-"))
    serve = Serve(folder / "data")
    serve.start()
    serve.wait()
    yield serve
    serve.stop()
    stop_stack(serve.data_dir)
    shutil.rmtree(folder)


class _Writer(threading.Thread):
    """Writes lines with a token each to a file that Python's logging rotates."""

    def __init__(self, path: Path, seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.tokens: list[str] = []
        self._choose = random.Random(seed)
        self._stop_writing = stop
        self._handler = logging.handlers.RotatingFileHandler(path, maxBytes=100_000, backupCount=10_000)

    def run(self) -> None:
        logger = logging.Logger("writer")
        logger.addHandler(self._handler)
        while not self._stop_writing.is_set():
            for _ in range(self._choose.randint(1, 60)):
                token = f"{self._choose.getrandbits(128):032x}"
                self.tokens.append(token)
                logger.info("INFO order %s placed", token)
            time.sleep(self._choose.uniform(0.0, 0.05))
        self._handler.close()


def _start_shipper(server: Serve, logs: Path, environment: str, state: Path) -> subprocess.Popen[bytes]:
    arguments = [f"{logs}/*.log*", "--start", "beginning", "--server", server.url, "-e", environment]
    with (state.with_name("ship.log")).open("ab") as out:
        return subprocess.Popen(
            [*COMMAND, "ship", *arguments, "--state", str(state)],
            cwd=ROOT,
            env=clean_environ(server.data_dir, CAUSEGRAPH_API_KEY=read_local_key(server.data_dir)),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )


async def test_every_line_is_stored_once_whatever_is_killed(server: Serve, environment: str) -> None:
    seed = random.randrange(1 << 32)
    choose = random.Random(seed)
    logs = server.data_dir.with_name("logs")
    logs.mkdir()
    state = logs.with_name("state")
    stop = threading.Event()
    writers = [_Writer(logs / f"{number}.log", seed + number, stop) for number in range(3)]
    for writer in writers:
        writer.start()
    shipper = _start_shipper(server, logs, environment, state)
    kills: Counter[str] = Counter()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            time.sleep(choose.uniform(0.1, 3.0))
            if choose.random() < 0.75:
                shipper.kill()
                shipper.wait()
                kills["shipper"] += 1
                shipper = _start_shipper(server, logs, environment, state)
            else:
                server.kill()
                kills["server"] += 1
                server.start()
    finally:
        stop.set()
        for writer in writers:
            writer.join()
        shipper.kill()
        shipper.wait()
    server.wait()
    written = Counter(token for writer in writers for token in writer.tokens)
    rotated = len(list(logs.iterdir()))
    database = Database(ensure_stack(server.data_dir).database_url)
    shipper = _start_shipper(server, logs, environment, state)
    try:
        end = time.monotonic() + _DRAIN_SECONDS
        stored: Counter[str] = Counter()
        while stored != written and time.monotonic() < end:
            time.sleep(1.0)
            messages = [str(row[0]) for row in await database.fetch("sent_messages", (environment,))]
            stored = Counter(TOKEN.findall("\n".join(messages)))
    finally:
        shipper.kill()
        shipper.wait()
        await database.close()
    missing, doubled = (written - stored).total(), (stored - written).total()
    print(
        f"seed {seed}: {dict(kills)}, {written.total()} lines in {rotated} files, {missing} missing, {doubled} doubled"
    )
    assert kills["shipper"] >= 3
    assert (missing, doubled) == (0, 0)

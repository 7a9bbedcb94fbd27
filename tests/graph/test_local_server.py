"""The configuration of the private FalkorDB."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from domain.local import StackPaths
from graph.local_server import FalkorDBServer, ask_redis


@pytest.mark.parametrize("name", ['a "quoted" one', "back\\slash \\n", "two\nlines", "d'or # $HOME \t ü"])
def test_any_data_folder_is_one_that_redis_understands(tmp_path: Path, name: str) -> None:
    data, near = tmp_path / name, tmp_path / "s"
    near.mkdir()
    server = FalkorDBServer(StackPaths(data, near))
    server.paths.run.mkdir(parents=True)
    server.prepare(lambda line: None)
    near_log = tmp_path / "log"
    with (
        near_log.open("wb") as log,
        subprocess.Popen(server.command(), env=server.environment(), stdout=log) as process,
    ):
        try:
            end = time.monotonic() + 60
            while not server.is_ready() and process.poll() is None and time.monotonic() < end:
                time.sleep(0.02)
            told = ask_redis(server.socket, "CONFIG", "GET", "dir")
        finally:
            process.terminate()
    assert f"\r\n{server.data}\r\n" in told

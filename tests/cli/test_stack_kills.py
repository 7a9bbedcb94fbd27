"""Random kills of everything, again and again: whatever was committed is there afterwards, and nothing else runs."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack import ensure_stack, stack_status, stop_stack
from tests.cli.stack_client import find_stack_processes, prepare, read_nodes, read_rows

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("KILLS", "40"))
ROOT = Path(__file__).resolve().parents[2]
VICTIMS = ("mariadb", "falkordb", "supervisor", "writer", "everything")


def _start_writer(data: Path, oracle: Path, number: int) -> subprocess.Popen[bytes]:
    program = Path(__file__).with_name("stack_client.py")
    command = [sys.executable, str(program), str(data), str(oracle), str(number * 1_000_000_000)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with oracle.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stderr=log, env=environment)


def _pid_of(data: Path, name: str) -> int:
    status = stack_status(data)
    if name == "supervisor":
        return status.supervisor or 0
    return status.servers[name].pid if name in status.servers else 0


def _kill(pid: int) -> None:
    if pid:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _read_oracle(oracle: Path) -> dict[str, set[int]]:
    noted: dict[str, set[int]] = {"row": set(), "answered": set(), "node": set()}
    for line in oracle.read_text().splitlines():
        kind, number = line.split()
        noted[kind].add(int(number))
    return noted


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-kills-"))
    yield folder
    stop_stack(folder)
    shutil.rmtree(folder)


def test_nothing_committed_is_lost(data: Path, tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    choose = random.Random(seed)
    oracle = tmp_path / "committed"
    prepare(ensure_stack(data))
    writers = [_start_writer(data, oracle, number) for number in (1, 2)]
    started = len(writers)
    kills = dict.fromkeys(VICTIMS, 0)
    try:
        for _ in range(KILLS):
            time.sleep(choose.uniform(0.05, 1.0))
            victim = choose.choice(VICTIMS)
            kills[victim] += 1
            match victim:
                case "writer":
                    started += 1
                    chosen = choose.randrange(len(writers))
                    writers[chosen].kill()
                    writers[chosen].wait()
                    writers[chosen] = _start_writer(data, oracle, started)
                case "everything":
                    for pid in [_pid_of(data, name) for name in ("supervisor", "mariadb", "falkordb")]:
                        _kill(pid)
                case name:
                    _kill(_pid_of(data, name))
        time.sleep(1.0)
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    handle = ensure_stack(data)
    noted, rows, nodes = _read_oracle(oracle), read_rows(handle), read_nodes(handle)
    print(f"kills {kills}; committed {len(noted['row'])} rows, {len(noted['node'])} nodes")
    print(f"{len(noted['answered'])} nodes answered, of these lost {len(noted['answered'] - nodes)}")
    assert not noted["row"] - rows
    assert not noted["node"] - nodes
    assert len(noted["row"]) > 100
    assert len(noted["node"]) > 50
    assert stop_stack(data)
    assert find_stack_processes(data) == []

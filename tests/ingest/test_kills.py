"""Every process of a real server is killed at random while telemetry comes in: what was acknowledged is there, once."""

from __future__ import annotations

import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cli.stack import ensure_stack, stack_status, stop_stack
from graph.topology import TopologyGraph
from storage.database import Database
from tests.cli.stack_client import find_stack_processes
from tests.sending import Sender, check_stored
from tests.serving import Serve, run_command

pytestmark = pytest.mark.long

KILLS = int(os.environ.get("KILLS", "30"))
# The API server counts twice: what it has written and not yet acknowledged is the hard case.
VICTIMS = ("mariadb", "mariadb", "falkordb", "supervisor", "api", "api", "everything")


@pytest.fixture
def server() -> Iterator[Serve]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-kills-"))
    serve = Serve(folder / "data")
    serve.start()
    serve.wait()
    yield serve
    serve.stop()
    stop_stack(serve.data_dir)
    shutil.rmtree(folder)


async def test_what_was_acknowledged_is_stored_once_whatever_is_killed(server: Serve, environment: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    stop = threading.Event()
    senders = [Sender(server, environment, seed + number, stop) for number in range(3)]
    threads = [threading.Thread(target=sender.run) for sender in senders]
    for thread in threads:
        thread.start()
    began = time.monotonic()
    try:
        kills = kill_at_random(server, random.Random(seed))
        seconds = time.monotonic() - began
    finally:
        stop.set()
        for thread in threads:
            thread.join(180)
    server.wait()
    tries = sum((sender.tries for sender in senders), Counter[str]())
    print(f"kills {kills.total()} {dict(kills)} in {seconds:.0f} s; tries {dict(tries)}")
    assert {"mariadb", "falkordb", "supervisor", "api"} <= kills.keys() or KILLS < 30

    handle = ensure_stack(server.data_dir)
    database, graph = Database(handle.database_url), TopologyGraph(handle.graph_url)
    try:
        await check_stored(database, graph, environment, senders)
    finally:
        await database.close()
        await graph.close()
    stopped = run_command(server.data_dir, "down")
    assert stopped.returncode == 0, stopped.stderr
    assert find_stack_processes(server.data_dir) == []


def kill_at_random(server: Serve, choose: random.Random) -> Counter[str]:
    """Kill KILLS times; start the server again, which nobody else does. The rest must come back by itself."""
    kills: Counter[str] = Counter()
    while kills.total() < KILLS:
        time.sleep(choose.uniform(0.3, 5.0))
        victim = choose.choice(VICTIMS)
        status = stack_status(server.data_dir)
        pids = {"supervisor": status.supervisor or 0} | {name: held.pid for name, held in status.servers.items()}
        hit = [kill(pid) for name, pid in pids.items() if victim in (name, "everything")]
        if victim in ("api", "everything"):
            server.kill()
            server.start()
            hit.append(True)
        kills[victim] += any(hit)
    return kills


def kill(pid: int) -> bool:
    with suppress(ProcessLookupError):
        if pid:
            os.kill(pid, signal.SIGKILL)
            return True
    return False

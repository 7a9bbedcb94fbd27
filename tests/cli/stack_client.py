"""A client of the local stack for its tests: writes that are known to be committed, and a look at what still runs.

Run as a program (`python stack_client.py DATA ORACLE FIRST`) it writes without end and notes what is committed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path
from typing import Any

os.environ["MARIADB_PYTHON_CONNECTOR"] = "python"

import falkordb
import mariadb
import psutil
import redis

from cli.stack import StackHandle, ensure_stack
from domain.errors import StackError

GRAPH = "kill_test"
BATCH = 5
ROUNDS_PER_SYNC = 10


def open_mariadb(handle: StackHandle) -> Any:
    return mariadb.connect(handle.database_url)


def open_falkordb(handle: StackHandle) -> Any:
    """A client that never sends anything twice."""
    path = handle.graph_url.removeprefix("unix://")
    return falkordb.FalkorDB(
        unix_socket_path=path, socket_timeout=None, retry=redis.retry.Retry(redis.backoff.NoBackoff(), 0)
    )


def prepare(handle: StackHandle) -> None:
    connection = open_mariadb(handle)
    connection.cursor().execute("CREATE TABLE IF NOT EXISTS kill_test (id BIGINT PRIMARY KEY) ENGINE=InnoDB")
    connection.close()
    graph = open_falkordb(handle)
    with contextlib.suppress(redis.ResponseError):  # it exists already
        graph.select_graph(GRAPH).query("CREATE INDEX FOR (n:Row) ON (n.id)")
    graph.close()


def commit_rows(connection: Any, ids: list[int]) -> None:
    connection.cursor().executemany("INSERT INTO kill_test (id) VALUES (?)", [(i,) for i in ids])
    connection.commit()


def write_nodes(client: Any, ids: list[int]) -> None:
    """Answered means in the append-only file, nearly always: see `graph.local_server`."""
    client.select_graph(GRAPH).query("UNWIND $ids AS i MERGE (:Row {id: i})", {"ids": ids})


def sync_nodes(client: Any) -> bool:
    """Whether all that this client has written is known to be on the disk."""
    return bool(client.connection.execute_command("WAITAOF", 1, 0, 3000)[0] >= 1)


def read_rows(handle: StackHandle) -> set[int]:
    connection = open_mariadb(handle)
    cursor = connection.cursor()
    cursor.execute("SELECT id FROM kill_test")
    rows = {row[0] for row in cursor.fetchall()}
    connection.close()
    return rows


def read_nodes(handle: StackHandle) -> set[int]:
    client = open_falkordb(handle)
    found = client.select_graph(GRAPH).query("MATCH (n:Row) RETURN collect(n.id)").result_set[0][0]
    client.close()
    return set(found)


def find_stack_processes(data: Path) -> list[psutil.Process]:
    """Every living process that names the data folder in its command line: supervisor, servers, their children."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            ours = any(str(data) in word for word in words) and "stack_client.py" not in " ".join(words)
            if ours and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_for_silence(data: Path, seconds: float = 15.0) -> list[psutil.Process]:
    """The processes of the stack that are left after at most so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := find_stack_processes(data)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def write_for_ever(data: Path, oracle: Path, first: int) -> None:
    """Write batches of ids; an id goes into the oracle only after its server has said that it is committed."""
    notes = os.open(oracle, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def note(kind: str, ids: list[int]) -> None:
        os.write(notes, "".join(f"{kind} {i}\n" for i in ids).encode())

    following = first
    while True:
        try:
            handle = ensure_stack(data)
            connection, client = open_mariadb(handle), open_falkordb(handle)
            while True:
                begun = following
                for _ in range(ROUNDS_PER_SYNC):
                    ids = list(range(following, following + BATCH))
                    following += BATCH
                    commit_rows(connection, ids)
                    note("row", ids)
                    write_nodes(client, ids)
                    note("answered", ids)
                if sync_nodes(client):
                    note("node", list(range(begun, following)))
        except (mariadb.Error, redis.RedisError, OSError, StackError) as exc:
            print(f"{type(exc).__name__}: {exc}", file=sys.stderr, flush=True)
            time.sleep(0.05)


if __name__ == "__main__":
    write_for_ever(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))

"""The private local stack as commands see it: find it running, start it, stop it, ask how it is.

`python -m cli.stack supervise --data DIR` runs its supervisor in the foreground.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.stack_state import (
    Phase,
    ServerState,
    StackState,
    has_live_supervisor,
    is_alive,
    is_locked,
    is_supervisor,
    make_folders,
    read_state,
    remove_sockets,
    rotate_log,
    stack_paths,
    tail,
    try_lock,
    wait_until,
)
from domain.errors import StackError
from domain.local import LocalServer, Progress, StackPaths
from graph.local_server import FalkorDBServer
from storage.local_server import MariaDBServer

PATIENCE_SECONDS = 300.0
"""How long a start may go on without a word of progress."""

STOP_SECONDS = 90.0
_SUPERVISOR_STARTS = 3


@dataclass(frozen=True, slots=True)
class StackHandle:
    """A running stack: what to connect to."""

    database_url: str
    graph_url: str
    pids: dict[str, int]
    versions: dict[str, str]


@dataclass(frozen=True, slots=True)
class StackStatus:
    """How the stack of a data folder is. `phase` is `stopped` where nothing was ever started."""

    data: Path
    running: bool
    phase: Phase
    message: str
    error: str
    supervisor: int | None
    started_at: str
    database_url: str
    graph_url: str
    servers: dict[str, ServerState]


def build_servers(paths: StackPaths) -> tuple[MariaDBServer, FalkorDBServer]:
    """Both servers of a stack; nothing is started."""
    memory = os.environ.get("CAUSEGRAPH_BUFFER_POOL") or "512M"
    if not re.fullmatch(r"[1-9]\d*[KMGkmg]?", memory):
        raise StackError(f"CAUSEGRAPH_BUFFER_POOL={memory} is no size: write it as 512M or 4G.")
    return MariaDBServer(paths, buffer_pool=memory), FalkorDBServer(paths)


def ensure_stack(
    data_dir: Path | str, progress: Progress = lambda line: None, patience_seconds: float = PATIENCE_SECONDS
) -> StackHandle:
    """The running stack of a data folder, started if need be; raises StackError with the reason if it does not start.

    Any number of processes may call this at once: they get the same stack.
    """
    paths = stack_paths(data_dir)
    handle = _find_running(paths)
    if handle is not None:
        return handle
    make_folders(paths)
    with _starting(paths):
        return _start(paths, progress, patience_seconds)


def was_killed(data_dir: Path | str) -> bool:
    """Whether a stack runs no more though nobody stopped it: its supervisor was killed, or gave up."""
    paths = stack_paths(data_dir)
    state = read_state(paths)
    if state is None or state.phase in (Phase.STOPPING, Phase.STOPPED) or is_locked(paths.lock_file):
        return False
    return read_state(paths) == state  # not one that was being stopped while we looked


def stop_stack(data_dir: Path | str, progress: Progress = lambda line: None) -> bool:
    """Stop the supervisor and both servers and wait for their end; False if nothing ran."""
    paths = stack_paths(data_dir)
    pid: int | None = None
    deadline = time.monotonic() + STOP_SECONDS
    while is_locked(paths.lock_file) or (pid is not None and is_supervisor(paths, pid)):
        state = read_state(paths)
        if pid is None and state is not None and has_live_supervisor(paths, state):
            progress("Stopping the local stack")
            pid = state.supervisor
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        if not wait_until(deadline):
            raise StackError(f"The supervisor (process {pid}) of {paths.data} does not stop: end it by hand.")
    _end_leftovers(paths)
    return pid is not None


def _end_leftovers(paths: StackPaths) -> None:
    """End the servers of a supervisor that was killed. Holds the stack's lock: a stack started meanwhile is not theirs."""
    from cli.supervisor import release_data

    lock = try_lock(paths.lock_file) if paths.run.exists() else None
    if lock is None:
        return
    try:
        servers = build_servers(paths)
        for server in servers:
            release_data(server)
        remove_sockets(paths, servers)
    finally:
        os.close(lock)


def stack_status(data_dir: Path | str) -> StackStatus:
    """How the stack is; starts nothing, writes nothing."""
    paths = stack_paths(data_dir)
    running, state = is_locked(paths.lock_file), read_state(paths)
    if state is None:
        phase = Phase.STARTING if running else Phase.STOPPED
        return StackStatus(paths.data, running, phase, "", "", None, "", "", "", {})
    ended = state.phase if state.phase is Phase.FAILED else Phase.STOPPED
    return StackStatus(
        data=paths.data,
        running=running,
        phase=state.phase if running else ended,
        message=state.message if running else "",
        error=state.error,
        supervisor=state.supervisor if running else None,
        started_at=state.started_at if running else "",
        database_url=state.database_url,
        graph_url=state.graph_url,
        servers=state.servers if running else {},
    )


def _find_running(paths: StackPaths) -> StackHandle | None:
    state = read_state(paths)
    if state is None or state.phase is not Phase.READY or not has_live_supervisor(paths, state):
        return None
    servers: tuple[LocalServer, ...] = build_servers(paths)
    if not all(is_alive(server, state) for server in servers):
        return None
    return StackHandle(
        database_url=state.database_url,
        graph_url=state.graph_url,
        pids={"supervisor": state.supervisor} | {name: server.pid for name, server in state.servers.items()},
        versions={name: server.version for name, server in state.servers.items()},
    )


@contextlib.contextmanager
def _starting(paths: StackPaths) -> Iterator[None]:
    """One command starts the stack; the others wait here and then find it. The lock ends with its process."""
    with paths.start_lock_file.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _start(paths: StackPaths, progress: Progress, patience_seconds: float) -> StackHandle:
    spawned, last, before = 0, None, read_state(paths)
    deadline = time.monotonic() + patience_seconds
    while True:
        handle = _find_running(paths)
        if handle is not None:
            return handle
        locked, state = is_locked(paths.lock_file), read_state(paths)
        if not locked:
            _raise_if_hopeless(paths, state if state != before else None, spawned)
            _spawn_supervisor(paths)
            spawned += 1
            continue
        if state is not None and state != last:
            last, deadline = _report(state, last, progress), time.monotonic() + patience_seconds
        if not wait_until(deadline):
            logs = "\n".join(f"{path}:\n{tail(path, 5)}" for path in sorted(paths.logs.glob("*.log")))
            raise StackError(f"The local stack said nothing for {patience_seconds:.0f} s and is not ready.\n{logs}")


def _report(state: StackState, last: StackState | None, progress: Progress) -> StackState:
    if state.phase is Phase.RESTARTING and state.error:
        raise StackError(state.error)
    if state.message and (last is None or state.message != last.message):
        progress(state.message)
    return state


def _raise_if_hopeless(paths: StackPaths, state: StackState | None, spawned: int) -> None:
    if not spawned:
        return
    if state is not None and state.phase is Phase.FAILED:
        raise StackError(state.error)
    if spawned >= _SUPERVISOR_STARTS:
        log = _supervisor_log(paths)
        raise StackError(f"The supervisor of the local stack does not stay up; the end of {log}:\n{tail(log)}")


def _supervisor_log(paths: StackPaths) -> Path:
    return paths.logs / "supervisor.log"


def _spawn_supervisor(paths: StackPaths) -> None:
    """Start a supervisor that outlives this process; returns once it holds the stack's lock."""
    from cli.supervisor import ALREADY_RUNNING

    search = [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    log_path = _supervisor_log(paths)
    rotate_log(log_path)
    # -P: the folder it runs in is no place to import from.
    command = [sys.executable, "-P", "-m", "cli.stack", "supervise", "--detach", "--data", str(paths.data)]
    with log_path.open("ab") as log:
        try:
            done = subprocess.run(
                command,
                cwd="/",
                env={**os.environ, "PYTHONPATH": os.pathsep.join(search)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                timeout=60,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise StackError(f"The supervisor of the local stack could not be started: {exc}") from exc
    if done.returncode not in (0, ALREADY_RUNNING):
        raise StackError(f"The supervisor of the local stack did not start; the end of {log_path}:\n{tail(log_path)}")


def main(arguments: list[str] | None = None) -> int:
    """`python -m cli.stack supervise --data DIR [--detach]`."""
    parser = argparse.ArgumentParser(prog="python -m cli.stack")
    commands = parser.add_subparsers(dest="command", required=True)
    supervise = commands.add_parser("supervise", help="own the private servers of a data folder")
    supervise.add_argument("--data", type=Path, required=True)
    supervise.add_argument("--detach", action="store_true", help="return once a process of its own has taken over")
    options = parser.parse_args(arguments)
    from cli.supervisor import run_supervisor

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    paths = stack_paths(options.data)
    database, graph = build_servers(paths)
    # FalkorDB first: it starts while MariaDB may still be fetched.
    return run_supervisor(paths, [graph, database], (database.url(), graph.url()), options.detach)


if __name__ == "__main__":
    sys.exit(main())

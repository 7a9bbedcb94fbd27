"""What the supervisor and the commands of one stack share: its folders, its locks, its state on disk."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path

from domain.errors import StackError
from domain.local import LocalServer, StackPaths

LOG_LIMIT_BYTES = 10 * 1024 * 1024


class Phase(StrEnum):
    """Where a stack is in its life."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ServerState:
    """One server as its supervisor sees it; `pid` is 0 while it is down."""

    pid: int
    ready: bool
    version: str
    restarts: int


@dataclass(frozen=True, slots=True)
class StackState:
    """What the supervisor last said; true only while it holds the stack's lock."""

    phase: Phase
    supervisor: int
    started_at: str
    database_url: str
    graph_url: str
    message: str = ""
    error: str = ""
    servers: dict[str, ServerState] = field(default_factory=dict)


def write_state(paths: StackPaths, state: StackState) -> None:
    """Replace the state on disk as a whole."""
    temporary = paths.state_file.with_suffix(f".tmp-{os.getpid()}")
    with temporary.open("w") as file:
        json.dump(asdict(state), file)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(paths.state_file)


def read_state(paths: StackPaths) -> StackState | None:
    """The state on disk; None if there is none that can be understood."""
    try:
        raw = json.loads(paths.state_file.read_text())
        servers = {name: ServerState(**value) for name, value in raw.pop("servers").items()}
        return StackState(phase=Phase(raw.pop("phase")), servers=servers, **raw)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None


def stack_paths(data_dir: Path | str) -> StackPaths:
    """The paths of the stack in a data folder, however that folder was spelt."""
    return StackPaths.of(Path(data_dir).expanduser().resolve(), os.geteuid())


def make_folders(paths: StackPaths) -> None:
    """Make the data folder's parts; raises StackError if that cannot be."""
    try:
        paths.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (paths.run, paths.logs):
            folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise StackError(f"The data folder {paths.data} cannot be written ({exc}): set CAUSEGRAPH_DATA_DIR.") from exc


def make_socket_folder(paths: StackPaths) -> None:
    """Make the sockets' folder and prove that it is nobody else's: it guards servers without passwords."""
    for folder in (paths.sockets.parent, paths.sockets):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
                raise StackError(f"{folder} belongs to somebody else or is not a folder: remove it, then start again.")
            if found.st_mode & 0o077:
                folder.chmod(0o700)
        except OSError as exc:
            raise StackError(f"The folder for sockets {folder} cannot be made: {exc}") from exc


def remove_sockets(paths: StackPaths, servers: Iterable[LocalServer]) -> None:
    """Remove the sockets of servers that have ended, and their folder."""
    for server in servers:
        server.socket.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        paths.sockets.rmdir()


def try_lock(path: Path, how: int = fcntl.LOCK_EX) -> int | None:
    """Lock a file without waiting; the open descriptor, or None if another process holds the lock."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def is_locked(path: Path) -> bool:
    """Whether some process holds the lock."""
    if not path.exists():
        return False
    descriptor = try_lock(path, fcntl.LOCK_SH)
    if descriptor is None:
        return True
    os.close(descriptor)
    return False


def find_processes(word: str) -> list[int]:
    """This user's processes that have `word` as one whole argument or as the value of an option."""
    if sys.platform != "linux":
        return _find_with_ps(word)
    wanted, found = os.fsencode(word), []
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        try:
            arguments = Path(entry.path, "cmdline").read_bytes().split(b"\0")
            ours = entry.stat().st_uid == os.geteuid()
        except OSError:
            continue  # it has ended meanwhile
        if ours and any(argument == wanted or argument.endswith(b"=" + wanted) for argument in arguments):
            found.append(int(entry.name))
    return found


def _find_with_ps(word: str) -> list[int]:
    command = ["ps", "-U", str(os.geteuid()), "-o", "pid=,command="]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.strip().partition(" ") for line in done.stdout.splitlines()]
    return [int(pid) for pid, _, words in lines if word in words and int(pid) != os.getpid()]


def has_live_supervisor(paths: StackPaths, state: StackState) -> bool:
    """Whether the supervisor that wrote `state` still lives: its lock is held, and its pid is not somebody else's."""
    return is_locked(paths.lock_file) and is_supervisor(paths, state.supervisor)


def is_supervisor(paths: StackPaths, pid: int) -> bool:
    """Whether a living process names this data folder as its own; false for a zombie."""
    if sys.platform != "linux":
        return pid in find_processes(str(paths.data))
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return os.fsencode(paths.data) in arguments


def tail(path: Path, lines: int = 25) -> str:
    """The last lines of a log, indented; empty if there is none."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:])


def rotate_log(path: Path) -> None:
    """Put a log that has grown too large aside; one old log is kept."""
    try:
        if path.stat().st_size > LOG_LIMIT_BYTES:
            path.replace(path.with_suffix(".log.1"))
    except FileNotFoundError:
        return


def is_alive(server: LocalServer, state: StackState | None) -> bool:
    """Whether the supervisor counts the server as ready and it answers."""
    known = state.servers.get(server.name) if state else None
    return known is not None and known.ready and server.is_ready()


def wait_until(deadline: float, seconds: float = 0.02) -> bool:
    """Sleep a little; False once the deadline (of `time.monotonic`) has passed."""
    time.sleep(seconds)
    return time.monotonic() < deadline

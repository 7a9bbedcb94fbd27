"""The process that owns both private servers of one data folder: starts them, restarts them, stops them.

What keeps a data folder safe is locks of the kernel, which end with their process, not pid files:
- `stack.lock` is held by the supervisor for as long as it lives: one supervisor per data folder.
- `run/<server>.lock` is held by the server's own process: it inherits the open file, so the lock outlives a killed
  supervisor and a new one waits for it. Redis itself has no such lock and would share its files with a second server.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from types import FrameType
from typing import Never

from cli.stack_state import (
    Phase,
    ServerState,
    StackState,
    find_processes,
    make_folders,
    make_socket_folder,
    remove_sockets,
    rotate_log,
    tail,
    try_lock,
    wait_until,
    write_state,
)
from domain.errors import StackError
from domain.local import LocalServer, Progress, StackPaths, log_file, owner_lock_file

logger = logging.getLogger(__name__)

ALREADY_RUNNING = 3
"""Exit status of a supervisor that finds another one."""

START_ATTEMPTS = 3
LONGEST_PAUSE_SECONDS = 5.0
SETTLED_SECONDS = 3.0
POLITE_SECONDS = 45.0
LAST_SECONDS = 15.0


class _Terminated(BaseException):
    """SIGTERM or SIGINT arrived."""


def run_supervisor(paths: StackPaths, servers: Sequence[LocalServer], urls: tuple[str, str], detach: bool) -> int:
    """Supervise until told to stop. Detached: return as soon as a process of its own has taken over."""
    os.umask(0o077)
    make_folders(paths)
    lock = _stack_lock(paths)
    if lock is None:
        return ALREADY_RUNNING
    if detach and _is_parent_after_fork():
        os.close(lock)  # the child's copy holds it
        return 0
    try:
        return _Supervisor(paths, servers, urls).run()
    finally:
        os.close(lock)


def _stack_lock(paths: StackPaths) -> int | None:
    """The stack's lock. Commands hold it shared for an instant when they look, so one failure proves nothing."""
    deadline = time.monotonic() + 1.0
    while (lock := try_lock(paths.lock_file)) is None:
        if not wait_until(deadline):
            return None
    return lock


def _is_parent_after_fork() -> bool:
    """Fork, so that the supervisor is nobody's child and leaves no zombie behind."""
    return os.fork() != 0


@dataclass(slots=True)
class _Child:
    """A server and its process."""

    server: LocalServer
    process: subprocess.Popen[bytes] | None = None
    ready_since: float | None = None
    version: str = ""
    starts: int = 0
    failures: int = 0
    due: float = 0.0

    def start(self, progress: Progress) -> None:
        """Wait until no earlier process uses the data, then start one that holds the owner's lock."""
        lock = take_owner_lock(self.server, progress)
        try:
            self.server.socket.unlink(missing_ok=True)
            rotate_log(log_file(self.server))
            self.starts += 1
            self.process = _spawn(self.server, lock)
        finally:
            os.close(lock)  # the process has inherited it

    def observe(self) -> None:
        """Note that the process has died or that it has become ready."""
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if self.ready_since is not None and now - self.ready_since > SETTLED_SECONDS:
                self.failures = 0
            self.failures += 1
            self.due = now + min(LONGEST_PAUSE_SECONDS, 0.05 * 2**self.failures)
            logger.warning("%s ended with status %s", self.server.name, self.process.returncode)
            self.process, self.ready_since = None, None
        if self.process is not None and self.ready_since is None and self.server.is_ready():
            self.version = self.server.version()
            self.ready_since = now

    def state(self) -> ServerState:
        """For the state on disk."""
        pid = self.process.pid if self.process else 0
        return ServerState(pid, self.ready_since is not None, self.version, max(0, self.starts - 1))

    def failure(self) -> str:
        """What to tell a person about a server that does not stay up."""
        log = log_file(self.server)
        return f"{self.server.name} does not stay up; the end of {log}:\n{tail(log)}"


class _Supervisor:
    def __init__(self, paths: StackPaths, servers: Sequence[LocalServer], urls: tuple[str, str]) -> None:
        self._paths = paths
        self._children = [_Child(server) for server in servers]
        self._urls = urls
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._published: StackState | None = None
        self._silenced = False
        self._message = ""

    def run(self) -> int:
        signal.signal(signal.SIGTERM, _raise_terminated)
        signal.signal(signal.SIGINT, _raise_terminated)
        error = ""
        try:
            self._publish(Phase.STARTING)
            make_socket_folder(self._paths)
            self._start_all()
            self._watch()
        except _Terminated:
            logger.info("asked to stop")
        except Exception as exc:  # the outermost loop: the reason must reach whoever waits
            if not isinstance(exc, StackError):
                logger.exception("the supervisor failed")
            error = str(exc) or type(exc).__name__
        _ignore_requests()
        self._stop_all(error)
        return 1 if error else 0

    def _start_all(self) -> None:
        for child in self._children:
            child.server.prepare(self._say)
            child.start(self._say)
            self._say(f"Starting {child.server.name}")

    def _watch(self) -> Never:
        was_ready = False
        while True:
            for child in self._children:
                child.observe()
                if child.failures >= START_ATTEMPTS and not was_ready:
                    raise StackError(child.failure())
                if child.process is None and time.monotonic() >= child.due:
                    child.start(self._say)
            ready = all(child.ready_since is not None for child in self._children)
            was_ready = was_ready or ready
            if ready:
                self._message = ""
                self._publish(Phase.READY)
            elif was_ready:
                failing = [c for c in self._children if c.failures >= START_ATTEMPTS and c.ready_since is None]
                self._publish(Phase.RESTARTING, "\n".join(child.failure() for child in failing))
            time.sleep(0.1 if ready else 0.01)

    def _say(self, message: str) -> None:
        logger.info(message)
        self._message = message
        self._publish(self._published.phase if self._published else Phase.STARTING)

    def _publish(self, phase: Phase, error: str = "") -> None:
        state = StackState(
            phase=phase,
            supervisor=os.getpid(),
            started_at=self._started_at,
            database_url=self._urls[0],
            graph_url=self._urls[1],
            message=self._message,
            error=error,
            servers={child.server.name: child.state() for child in self._children},
        )
        if state == self._published:
            return
        try:
            write_state(self._paths, state)
        except OSError as exc:
            # A full disk is no reason to end servers that run: it is said again at the next look.
            if self._published is None and phase is Phase.STARTING:
                raise StackError(f"{self._paths.state_file} cannot be written: {exc}") from exc
            if not self._silenced:
                logger.warning("%s cannot be written: %s", self._paths.state_file, exc)
            self._silenced = True
        else:
            self._published, self._silenced = state, False

    def _stop_all(self, error: str) -> None:
        self._message = "Stopping"
        self._publish(Phase.STOPPING, error)
        running = [child for child in self._children if child.process is not None]
        for child in running:
            if child.process is not None and child.process.poll() is None:
                child.server.stop(child.process)
        deadline = time.monotonic() + POLITE_SECONDS
        for child in running:
            if child.process is not None:
                _wait_or_kill(child.process, deadline)
                child.process, child.ready_since = None, None
        for child in self._children:
            with contextlib.suppress(StackError):  # said again, with its reason, by whoever starts next
                release_data(child.server)
        remove_sockets(self._paths, [child.server for child in self._children])
        self._message = ""
        self._publish(Phase.FAILED if error else Phase.STOPPED, error)


def _raise_terminated(number: int, frame: FrameType | None) -> Never:
    _ignore_requests()  # a second request must not interrupt the stop
    raise _Terminated


def _ignore_requests() -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)


def _wait_or_kill(process: subprocess.Popen[bytes], deadline: float) -> None:
    try:
        process.wait(timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        logger.warning("killing process %s, which does not stop", process.pid)
        process.kill()
        process.wait()


def take_owner_lock(server: LocalServer, progress: Progress) -> int:
    """The lock of a server's data, once every earlier process that holds it has ended; those are told to end."""
    path = owner_lock_file(server)
    begun = time.monotonic()
    signals = [(0.0, signal.SIGTERM), (POLITE_SECONDS, signal.SIGKILL)]
    while (lock := try_lock(path)) is None:
        waited = time.monotonic() - begun
        if signals and waited >= signals[0][0]:
            progress(f"Waiting for an earlier {server.name} to end")
            _signal_all(find_processes(str(server.config_file)), signals.pop(0)[1])
        if waited > POLITE_SECONDS + LAST_SECONDS:
            holders = find_processes(str(server.config_file))
            raise StackError(f"{path} is still held by an earlier {server.name} (processes {holders}): end it by hand.")
        time.sleep(0.01)
    return lock


def release_data(server: LocalServer) -> None:
    """Return once no process uses the server's data."""
    if owner_lock_file(server).exists():
        os.close(take_owner_lock(server, lambda line: None))


def _signal_all(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def _spawn(server: LocalServer, lock: int) -> subprocess.Popen[bytes]:
    with log_file(server).open("ab") as log:
        try:
            return subprocess.Popen(
                server.command(),
                cwd=server.paths.run,
                env=server.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=(lock,),
                start_new_session=True,
                preexec_fn=_end_with_parent(),
            )
        except OSError as exc:
            raise StackError(f"{server.name} could not be started: {exc}") from exc


def _end_with_parent() -> Callable[[], None] | None:
    """Run in the new process: have the kernel send SIGTERM when the supervisor dies, however it dies (Linux).

    The kernel means the thread that forked: the supervisor has only one. Where there is no such call, the next start
    ends what is left (`take_owner_lock`).
    """
    if sys.platform != "linux":
        return None
    libc, parent, set_parent_death_signal = ctypes.CDLL(None), os.getpid(), 1

    def ask_kernel() -> None:
        libc.prctl(set_parent_death_signal, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_kernel

"""Starts the service processes, keeps them running, and holds them to their memory limits.

A requested restart is a rolling one: the new process listens before the old one stops. A crash is followed by a restart
a second and a half later.
"""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from examples.shop.hooks import Event
from examples.shop.layout import SERVICES
from examples.shop.lifetime import PARENT
from examples.shop.state import State

BACK_OFF_S = 1.5
TICK_S = 0.05
STOP_TIMEOUT_S = 6.0
START_TIMEOUT_S = 40.0
REPOSITORY = Path(__file__).resolve().parents[2]

type Process = subprocess.Popen[bytes]


@dataclass(slots=True)
class Managed:
    """The processes of one service: the current one, and those that are to stop once it is ready."""

    service: str
    current: Process | None = None
    ready: bool = False
    replaced: list[Process] = field(default_factory=list)
    leaving: list[tuple[Process, float]] = field(default_factory=list)
    start_at: float = 0.0
    restarts: int = 0
    wanted: int = 1
    started: int = 0

    @property
    def settled(self) -> bool:
        """The newest process that was asked for answers, and no older one does."""
        return self.ready and self.started >= self.wanted and not self.replaced

    def pids(self) -> list[int]:
        processes = [*([self.current] if self.current else []), *self.replaced, *(old for old, _ in self.leaving)]
        return [process.pid for process in processes]


class Supervisor:
    """All processes are started from one thread, which lives as long as they do (see `lifetime`)."""

    def __init__(self, state: State, environment: Mapping[str, str], report: Callable[[Event], object]) -> None:
        self.state = state
        self.report = report
        self.services = {service: Managed(service) for service in SERVICES}
        self._environment = {**environment, PARENT: str(os.getpid())}
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Start all services, and wait until they answer. Raises TimeoutError."""
        self._thread.start()
        self._wait(list(self.services.values()))

    def restart(self, service: str) -> None:
        """Replace the service's process by one that reads the settings anew, and wait until it is in charge."""
        managed = self.services[service]
        with self._lock:
            managed.wanted += 1
            managed.start_at = 0.0
        self._wait([managed])

    def stop(self) -> None:
        """Stop all processes, politely first; afterwards none is left."""
        self._stopping.set()
        self._thread.join()

    def resident_mb(self, service: str) -> int:
        current = self.services[service].current
        return _resident_bytes(current.pid) >> 20 if current else 0

    def _wait(self, services: list[Managed]) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while not all(managed.settled for managed in services):
            if time.monotonic() > deadline or not self._thread.is_alive():
                late = ", ".join(managed.service for managed in services if not managed.settled)
                raise TimeoutError(f"not ready after {START_TIMEOUT_S:.0f} s: {late}; see {self.state.logs}")
            time.sleep(TICK_S)

    # -- in the thread -------------------------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            while not self._stopping.wait(TICK_S):
                with self._lock:
                    for managed in self.services.values():
                        self._look_after(managed)
        finally:
            self._stop_all()

    def _look_after(self, managed: Managed) -> None:
        now = time.monotonic()
        self._reap(managed, now)
        if managed.current and managed.started < managed.wanted:
            managed.replaced.append(managed.current)
            managed.current, managed.ready = None, False
        if managed.current is None:
            if now >= managed.start_at:
                self._spawn(managed)
        elif not managed.ready and self.state.ready_file(managed.service, managed.current.pid).exists():
            managed.ready = True
            self._event(managed, "Normal", "Started", f"Started process {managed.current.pid}, it answers")
            self._dismiss_replaced(managed, now)
        self._hold_to_limit(managed)

    def _reap(self, managed: Managed, now: float) -> None:
        managed.replaced = [process for process in managed.replaced if process.poll() is None]
        for process, kill_at in managed.leaving:
            if process.poll() is None and now > kill_at:
                process.kill()
        managed.leaving = [(process, kill_at) for process, kill_at in managed.leaving if process.poll() is None]
        if managed.current and (code := managed.current.poll()) is not None:
            if code != -9:
                self._event(managed, "Warning", "Error", f"Process {managed.current.pid} exited with code {code}")
            managed.current, managed.ready = None, False
            managed.start_at = now + BACK_OFF_S
            managed.restarts += 1
            self._event(
                managed,
                "Warning",
                "BackOff",
                f"Back-off {BACK_OFF_S:.1f}s restarting failed process, restart count {managed.restarts}",
            )

    def _spawn(self, managed: Managed) -> None:
        with (self.state.logs / f"{managed.service}.log").open("ab") as log:
            managed.current = subprocess.Popen(
                [sys.executable, "-m", "examples.shop.process", managed.service, str(self.state.root)],
                cwd=REPOSITORY,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        managed.started = managed.wanted

    def _dismiss_replaced(self, managed: Managed, now: float) -> None:
        for process in managed.replaced:
            self._event(managed, "Normal", "Killing", f"Stopping process {process.pid}")
            process.terminate()
            managed.leaving.append((process, now + STOP_TIMEOUT_S))
        managed.replaced = []

    def _hold_to_limit(self, managed: Managed) -> None:
        config = self.state.read_config(managed.service)
        limit_mb = cast(int, config["memory_limit_mb"])
        for process in [*([managed.current] if managed.current else []), *managed.replaced]:
            resident_mb = _resident_bytes(process.pid) >> 20
            if resident_mb > limit_mb:
                process.kill()
                process.wait()
                self._event(
                    managed,
                    "Warning",
                    "OOMKilled",
                    f"Process {process.pid} killed: {resident_mb} MiB resident, limit {limit_mb} MiB (exit code 137)",
                )

    def _stop_all(self) -> None:
        leaving = []
        for managed in self.services.values():
            leaving += [*managed.replaced, *(process for process, _ in managed.leaving)]
            leaving += [managed.current] if managed.current else []
            managed.current, managed.replaced, managed.leaving, managed.ready = None, [], [], False
        for process in leaving:
            process.terminate()
        deadline = time.monotonic() + STOP_TIMEOUT_S
        for process in leaving:
            try:
                process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _event(self, managed: Managed, kind: str, reason: str, text: str) -> None:
        instance = str(self.state.read_config(managed.service)["instance"])
        self.report(Event("Warning" if kind == "Warning" else "Normal", instance, managed.service, reason, text))


def _resident_bytes(pid: int) -> int:
    """The resident memory of a process, 0 when it is gone."""
    try:
        if sys.platform == "linux":
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        answer = subprocess.run(["ps", "-o", "rss=", "-p", str(pid)], capture_output=True, text=True, check=False)
        return int(answer.stdout.strip() or 0) * 1024
    except (OSError, IndexError):
        return 0

"""What the two private servers have in common: where their files live and how a supervisor handles them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from blake3 import blake3

Progress = Callable[[str], None]
"""Receives one short line about what takes time, such as a download."""

SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel's `sun_path` holds 108 on Linux and 104 on macOS, a terminating zero included."""


@dataclass(frozen=True, slots=True)
class StackPaths:
    """Every path of one local stack. `data` must be absolute and resolved: the sockets' folder is derived from it.

    The sockets live outside of the data folder because their path is bounded (`SOCKET_PATH_LIMIT`), and not in
    `XDG_RUNTIME_DIR` because that is wiped when its user logs out, while the stack goes on.
    """

    data: Path
    sockets: Path

    @classmethod
    def of(cls, data: Path, uid: int) -> StackPaths:
        """The paths of the stack in `data` for the user `uid`: the same for each of that user's commands."""
        digest = blake3(str(data).encode(errors="surrogateescape")).hexdigest(length=4)
        return cls(data=data, sockets=Path(f"/tmp/causegraph-{uid}") / digest)  # noqa: S108 - verified before use

    @property
    def run(self) -> Path:
        """Configuration, state, locks: what may be deleted while nothing runs."""
        return self.data / "run"

    @property
    def logs(self) -> Path:
        """One log file per process."""
        return self.data / "logs"

    @property
    def state_file(self) -> Path:
        """What the supervisor says of itself, as JSON."""
        return self.run / "stack.json"

    @property
    def lock_file(self) -> Path:
        """Held by the one supervisor of this data folder for as long as it lives."""
        return self.data / "stack.lock"

    @property
    def start_lock_file(self) -> Path:
        """Held by the command that is starting the stack, so that others wait for it."""
        return self.run / "start.lock"


class LocalServer(Protocol):
    """One private server: how to provide, configure, start, ask and stop it. The supervisor owns the process."""

    @property
    def name(self) -> str:
        """Short name, used for log files, locks and messages."""

    @property
    def paths(self) -> StackPaths:
        """Where its files live."""

    @property
    def socket(self) -> Path:
        """Its unix socket."""

    @property
    def config_file(self) -> Path:
        """Its configuration, named in its command line: what tells its processes from anyone else's."""

    def prepare(self, progress: Progress) -> None:
        """Provide the program, the data folder and the configuration; idempotent. Raises StackError."""

    def command(self) -> list[str]:
        """The command line to start; call `prepare` first."""

    def environment(self) -> dict[str, str]:
        """The whole environment of the process."""

    def url(self) -> str:
        """What a client connects to."""

    def is_ready(self) -> bool:
        """Whether it answers now; takes at most a second and never raises."""

    def version(self) -> str:
        """The running server's version; empty if it does not answer."""

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """Ask it to finish its work and exit; returns at once."""


def log_file(server: LocalServer) -> Path:
    """Where the server's output goes."""
    return server.paths.logs / f"{server.name}.log"


def owner_lock_file(server: LocalServer) -> Path:
    """The lock that the server's own process holds from its first instruction to its death."""
    return server.paths.run / f"{server.name}.lock"

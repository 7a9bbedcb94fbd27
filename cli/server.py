"""The API server of a data folder as commands see it: find it, start it in the background, stop it.

`<data>/run/server.json` says where it listens. It is believed only if something there answers with the same token.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from domain.errors import StackError
from domain.local import Progress

if TYPE_CHECKING:
    from domain.settings import Settings

ASK_SECONDS = 2.0
START_SECONDS = 120.0
STOP_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class ServerState:
    """A running server: its address, its process, and the token by which its /health tells that it is this one."""

    address: str
    pid: int
    instance: str
    started_at: str


def state_file(data_dir: Path) -> Path:
    """Where the server of a data folder says where it is."""
    return data_dir / "run" / "server.json"


def find_server(data_dir: Path) -> ServerState | None:
    """Return the running server of a data folder, if there is one."""
    state = _read_state(data_dir)
    return state if state is not None and _answers(state) else None


def announce(data_dir: Path, state: ServerState) -> bool:
    """Let other commands find a server; False if another server of this folder is known already."""
    if find_server(data_dir) is not None:
        return False
    path = state_file(data_dir)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".tmp-{os.getpid()}")
    temporary.write_text(json.dumps(asdict(state)))
    temporary.replace(path)
    return True


def withdraw(data_dir: Path, state: ServerState) -> None:
    """Take back what `announce` said."""
    if _read_state(data_dir) == state:
        state_file(data_dir).unlink(missing_ok=True)


def start_server(settings: Settings, progress: Progress) -> ServerState:
    """Return the server of a data folder, started in the background if there is none; raises StackError.

    Where its port is taken by something else, it takes any free one.
    """
    known = find_server(settings.data_dir)
    if known is not None:
        return known
    progress("Starting the API server")
    port = settings.port if _is_free(settings.host, settings.port) else 0
    log_path = settings.data_dir / "logs" / "server.log"
    log_path.parent.mkdir(parents=True, exist_ok=True)
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "cli.main", "serve", "--port", str(port)],
            env=child_environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        found = find_server(settings.data_dir)
        if found is not None:
            return found
        if process.poll() is not None:
            raise StackError(f"The API server did not start; the end of {log_path}:\n{_tail(log_path)}")
        time.sleep(0.1)
    process.terminate()
    raise StackError(f"The API server was not ready after {START_SECONDS:.0f} s: read {log_path}.")


def stop_server(data_dir: Path, progress: Progress) -> bool:
    """Stop the server of a data folder and wait for its end; False if none runs."""
    state = find_server(data_dir)
    if state is None:
        return False
    progress("Stopping the API server")
    with suppress(ProcessLookupError):
        os.kill(state.pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_alive(state.pid):
        if time.monotonic() > deadline:
            raise StackError(f"The API server (process {state.pid}) does not stop: end it by hand.")
        time.sleep(0.05)
    return True


def read_local_key(data_dir: Path) -> str:
    """Return the key of `<data>/api-key`; empty if there is none yet."""
    try:
        return (data_dir / "api-key").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def make_login_link(state: ServerState, key: str) -> str:
    """Return an address that logs a browser in once; the plain address if the server gives none."""
    try:
        status, body = _request(state, "POST", "/session-links", {"X-API-Key": key})
        return str(json.loads(body)["url"]) if status == 200 else state.address
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return state.address


def read_sources(state: ServerState, key: str) -> list[dict[str, Any]]:
    """Return the ways in that a server has opened beside HTTP, as `/info` tells of them; none if it does not tell."""
    try:
        status, body = _request(state, "GET", "/info", {"X-API-Key": key})
        return list(json.loads(body)["sources"]) if status == 200 else []
    except (OSError, http.client.HTTPException, ValueError, KeyError):
        return []


def describe_source(source: Mapping[str, Any]) -> str:
    """Return a line of text on a way in: where it listens, what came through it, or why it does not listen."""
    if source["problem"]:
        return f"not available: {source['problem']}"
    counts = ", ".join(f"{number} {name}" for name, number in source["counts"].items())
    return f"{source['address']}{': ' + counts if counts else ''}"


def _read_state(data_dir: Path) -> ServerState | None:
    try:
        return ServerState(**json.loads(state_file(data_dir).read_text()))
    except (OSError, ValueError, TypeError):
        return None


def _answers(state: ServerState) -> bool:
    if not _is_alive(state.pid):
        return False
    try:
        _, body = _request(state, "GET", "/health", {})
        return bool(json.loads(body)["instance"] == state.instance)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return False


def _request(state: ServerState, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    parts = urlsplit(state.address)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=2 * ASK_SECONDS + 1)
    try:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        # A zombie of ours has ended.
        os.waitpid(pid, os.WNOHANG)
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (ChildProcessError, PermissionError):
        return not _is_zombie(pid)
    return True


def _is_zombie(pid: int) -> bool:
    """Whether a process has ended and only waits to be noticed by its parent (known on Linux only)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (OSError, IndexError):
        return False


def _is_free(host: str, port: int) -> bool:
    import socket

    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        return False
    return True


def child_environment(settings: Settings) -> dict[str, str]:
    """Return the environment in which a child reads the same settings and finds the same code."""
    given = settings.model_dump(mode="json", include=settings.model_fields_set)
    named = {f"CAUSEGRAPH_{name.upper()}": str(value) for name, value in given.items() if value is not None}
    search = [str(Path(__file__).resolve().parent.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    data = {"CAUSEGRAPH_DATA_DIR": str(settings.data_dir)}
    return {**os.environ, **named, **data, "PYTHONPATH": os.pathsep.join(search)}


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])

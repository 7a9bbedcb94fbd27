"""The private local stack: started once, found again, stopped, and recovered after the worst."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.stack import ensure_stack, stack_status, stop_stack
from cli.stack_state import Phase, make_socket_folder, read_state, stack_paths
from domain.errors import StackError
from domain.local import StackPaths
from tests.cli.stack_client import (
    commit_rows,
    find_stack_processes,
    open_falkordb,
    open_mariadb,
    prepare,
    read_nodes,
    read_rows,
    sync_nodes,
    wait_for_silence,
    write_nodes,
)

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-stack-"))
    yield folder
    stop_stack(folder)
    shutil.rmtree(folder)


def _wait_for_other_pid(data: Path, server: str, old: int) -> None:
    deadline = time.monotonic() + 30
    while ensure_stack(data).pids[server] == old:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_started_with_both_servers(data: Path) -> None:
    lines: list[str] = []
    handle = ensure_stack(data, lines.append)
    assert set(handle.pids) == {"supervisor", "mariadb", "falkordb"}
    assert tuple(map(int, handle.versions["mariadb"].split("."))) >= (11, 7)
    assert handle.versions["falkordb"].startswith("4.")
    assert any("MariaDB data folder" in line for line in lines)

    connection = open_mariadb(handle)
    cursor = connection.cursor()
    cursor.execute("SELECT @@skip_networking, @@time_zone, @@innodb_flush_log_at_trx_commit, @@mhnsw_max_cache_size")
    assert cursor.fetchone() == (1, "+00:00", 1, 1 << 30)
    cursor.execute("SELECT User FROM mysql.global_priv ORDER BY User")
    assert [row[0] for row in cursor.fetchall()] == ["causegraph", "mariadb.sys"]
    connection.close()
    client = open_falkordb(handle)
    settings = client.connection.config_get("*")
    assert (settings["appendonly"], settings["appendfsync"], settings["save"]) == ("yes", "always", "")
    assert settings["port"] == "0"
    client.close()
    for folder in ("mariadb", "falkordb", "run", "logs"):
        assert (data / folder).stat().st_mode & 0o077 == 0
    assert stack_paths(data).sockets.stat().st_mode & 0o077 == 0


def test_found_again_at_once(data: Path) -> None:
    handle = ensure_stack(data)
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        assert ensure_stack(str(data) + "/.") == handle
        seconds.append(time.perf_counter() - begun)
    assert min(seconds) < 0.05
    assert stack_status(data).phase is Phase.READY


def test_killed_mariadb_comes_back_with_its_rows(data: Path) -> None:
    handle = ensure_stack(data)
    prepare(handle)
    with contextlib.closing(open_mariadb(handle)) as connection:
        commit_rows(connection, [1, 2, 3])
    os.kill(handle.pids["mariadb"], signal.SIGKILL)
    _wait_for_other_pid(data, "mariadb", handle.pids["mariadb"])
    again = ensure_stack(data)
    assert read_rows(again) == {1, 2, 3}
    assert again.pids["falkordb"] == handle.pids["falkordb"]
    assert stack_status(data).servers["mariadb"].restarts == 1


def test_killed_falkordb_comes_back_with_its_nodes(data: Path) -> None:
    handle = ensure_stack(data)
    client = open_falkordb(handle)
    write_nodes(client, [1, 2, 3])
    assert sync_nodes(client)
    client.close()
    os.kill(handle.pids["falkordb"], signal.SIGKILL)
    _wait_for_other_pid(data, "falkordb", handle.pids["falkordb"])
    assert read_nodes(ensure_stack(data)) == {1, 2, 3}


def test_killed_supervisor_leaves_no_orphans(data: Path) -> None:
    handle = ensure_stack(data)
    os.kill(handle.pids["supervisor"], signal.SIGKILL)
    assert wait_for_silence(data) == []
    assert stack_status(data).phase is Phase.STOPPED
    again = ensure_stack(data)
    assert read_rows(again) == {1, 2, 3}
    assert read_nodes(again) == {1, 2, 3}


def test_new_supervisor_waits_for_the_servers_of_a_killed_one(data: Path) -> None:
    handle = ensure_stack(data)
    os.kill(handle.pids["supervisor"], signal.SIGKILL)
    while stack_status(data).running:  # a signal takes a moment to arrive
        time.sleep(0.001)
    again = ensure_stack(data)  # at once: the old servers are still ending
    assert not set(again.pids.values()) & set(handle.pids.values())
    assert len(find_stack_processes(data)) == 3
    assert read_rows(again) == {1, 2, 3}


def test_stopped_server_that_outlived_its_supervisor_is_ended(data: Path) -> None:
    """A server that hangs cannot obey the kernel's SIGTERM: `down` must not report an end that has not come."""
    handle = ensure_stack(data)
    os.kill(handle.pids["falkordb"], signal.SIGSTOP)
    os.kill(handle.pids["supervisor"], signal.SIGKILL)
    waker = subprocess.Popen(["sh", "-c", f"sleep 1; kill -CONT {handle.pids['falkordb']}"])
    begun = time.monotonic()
    stop_stack(data)
    assert time.monotonic() - begun > 0.8
    assert find_stack_processes(data) == []
    waker.wait()


def test_down_leaves_no_process(data: Path) -> None:
    ensure_stack(data)
    assert stop_stack(data) is True
    assert find_stack_processes(data) == []
    assert not stack_paths(data).sockets.exists()
    assert stop_stack(data) is False
    status = stack_status(data)
    assert (status.running, status.phase, status.servers) == (False, Phase.STOPPED, {})


def test_many_starts_at_once_give_one_stack(data: Path) -> None:
    script = "import json, sys; from cli.stack import ensure_stack; print(json.dumps(ensure_stack(sys.argv[1]).pids))"
    starts = [
        subprocess.Popen([sys.executable, "-c", script, str(data)], stdout=subprocess.PIPE, cwd=ROOT, text=True)
        for _ in range(4)
    ]
    answers = [json.loads(start.communicate(timeout=120)[0]) for start in starts]
    assert all(answer == answers[0] for answer in answers)
    assert {process.pid for process in find_stack_processes(data)} == set(answers[0].values())


def test_second_supervisor_is_refused(data: Path) -> None:
    ensure_stack(data)
    command = [sys.executable, "-m", "cli.stack", "supervise", "--data", str(data)]
    assert subprocess.run(command, cwd=ROOT, timeout=30, check=False).returncode == 3


def test_supervisor_in_the_foreground_stops_on_sigint(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "cli.stack", "supervise", "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as supervisor:
        while stack_status(tmp_path).phase is not Phase.READY:
            assert supervisor.poll() is None
            time.sleep(0.02)
        assert ensure_stack(tmp_path).pids["supervisor"] == supervisor.pid
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(timeout=60) == 0
    assert find_stack_processes(tmp_path) == []


def test_failed_start_says_why(tmp_path: Path) -> None:
    (tmp_path / "mariadb").mkdir()
    (tmp_path / "mariadb" / "ibdata1").write_bytes(b"not a tablespace")
    with pytest.raises(StackError, match=r"mariadb does not stay up; the end of .*mariadb\.log") as caught:
        ensure_stack(tmp_path)
    assert "[ERROR]" in str(caught.value)
    assert wait_for_silence(tmp_path) == []
    assert stack_status(tmp_path).phase is Phase.FAILED


def test_interrupted_first_start_leaves_nothing_half(tmp_path: Path) -> None:
    """A supervisor killed while it makes the system tables: the next start makes them anew."""
    command = [sys.executable, "-m", "cli.stack", "supervise", "--data", str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL) as supervisor:
        while not list(tmp_path.glob("mariadb.tmp-*")):
            time.sleep(0.005)
        supervisor.kill()
    assert not (tmp_path / "mariadb").exists()
    handle = ensure_stack(tmp_path)
    open_mariadb(handle).close()
    stop_stack(tmp_path)
    assert not list(tmp_path.glob("mariadb.tmp-*"))


def test_unwritable_data_folder_is_named() -> None:
    with pytest.raises(StackError, match=r"/proc/nowhere cannot be written"):
        ensure_stack("/proc/nowhere")


def test_socket_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    paths = StackPaths(data=tmp_path, sockets=tmp_path / "link" / "x")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(StackError, match="belongs to somebody else or is not a folder"):
        make_socket_folder(paths)


def test_broken_state_is_no_state(tmp_path: Path) -> None:
    paths = StackPaths(data=tmp_path, sockets=tmp_path)
    paths.run.mkdir()
    for text in ("", "{", "[]", "{}", '{"phase": "odd", "servers": {}}'):
        paths.state_file.write_text(text)
        assert read_state(paths) is None

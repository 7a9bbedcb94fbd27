"""The doctor finds what is wrong and says how to mend it."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.doctor import Finding, diagnose
from cli.stack import ensure_stack, stack_status, stop_stack
from domain.errors import StackError


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="causegraph-doctor-"))
    yield folder
    stop_stack(folder)
    shutil.rmtree(folder)


def _wrong(findings: list[Finding]) -> dict[str, Finding]:
    assert all(bool(finding.remedy) or finding.ok for finding in findings)
    return {finding.name: finding for finding in findings if not finding.ok}


def test_all_is_well_before_and_after_the_start(data: Path) -> None:
    assert not _wrong(diagnose(data))
    ensure_stack(data)
    findings = {finding.name: finding for finding in diagnose(data)}
    assert not _wrong(list(findings.values()))
    assert "vectors work" in findings["Private mariadb"].detail
    assert "GRAPH.QUERY" in findings["Private falkordb"].detail


def test_failed_start_is_told_with_its_log(data: Path) -> None:
    (data / "mariadb").mkdir()
    (data / "mariadb" / "ibdata1").write_bytes(b"not a tablespace")
    with pytest.raises(StackError):
        ensure_stack(data)
    assert "mariadb.log" in _wrong(diagnose(data))["Local stack"].detail


def test_servers_without_supervisor_are_found(data: Path) -> None:
    handle = ensure_stack(data)
    os.kill(handle.pids["falkordb"], signal.SIGSTOP)
    os.kill(handle.pids["supervisor"], signal.SIGKILL)
    while stack_status(data).running:
        time.sleep(0.01)
    found = _wrong(diagnose(data))["Leftover falkordb"]
    os.kill(handle.pids["falkordb"], signal.SIGCONT)
    assert str(handle.pids["falkordb"]) in found.detail
    assert "causegraph down" in found.remedy


def test_unreachable_servers_are_named(data: Path) -> None:
    wrong = _wrong(diagnose(data, "mariadb://nobody@127.0.0.1:1/none", "redis://127.0.0.1:1"))
    assert set(wrong) == {"MariaDB (CAUSEGRAPH_DATABASE_URL)", "FalkorDB (CAUSEGRAPH_GRAPH_URL)"}


def test_unwritable_data_folder_is_found() -> None:
    assert "Data folder" in _wrong(diagnose("/proc/1/nowhere", "mariadb://127.0.0.1:1/x", "redis://127.0.0.1:1"))

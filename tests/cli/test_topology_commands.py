"""`causegraph topology ...` as people run it, without a server and with one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.stack import StackHandle

COMMAND = [sys.executable, "-m", "cli.main", "topology"]
type Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(stack: StackHandle, data_dir: Path) -> Run:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEGRAPH_")}
    environ["CAUSEGRAPH_DATA_DIR"] = str(data_dir)

    def call(*arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [*COMMAND, *arguments], capture_output=True, text=True, env=environ, check=False, timeout=120
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return call


def test_a_topology_is_imported_shown_drawn_compared_and_walked(run: Run, tmp_path: Path, environment: str) -> None:
    where = ("--environment", environment)
    compose = tmp_path / "compose.yaml"
    compose.write_text("services:\n  web: {depends_on: [cart, '[red]x']}\n  cart: {depends_on: [db]}\n  db: {}\n")
    told = json.loads(run("import", str(compose), *where, "--json").stdout)
    assert (told["accepted"], told["duplicate"], told["rejected"]) == (3, 0, 0)
    assert run("import", str(compose), *where).stdout == "0 accepted, 3 duplicate, 0 rejected\n"
    later = tmp_path / "later.json"
    later.write_text(json.dumps({"edges": [{"source": "db", "target": "disk"}], "valid_from": "2026-01-02T00:00:00Z"}))
    run("import", str(later), *where)

    shown = run("show", *where).stdout
    assert [line.split()[:5] for line in shown.splitlines()[1:]] == [
        ["cart", "db", "-", "-", "ever"],
        ["db", "disk", "-", "-", "2026-01-02"],
        ["web", "[red]x", "-", "-", "ever"],
        ["web", "cart", "-", "-", "ever"],
    ]
    body = json.loads(run("show", *where, "--at", "2026-01-01", "--json").stdout)
    assert len(body["edges"]) == 3
    assert body["up_to_date"]

    picture = tmp_path / "topology.svg"
    assert run("show", *where, "--svg", str(picture)).stdout == f"wrote {picture}\n"
    ET.parse(picture)  # noqa: S314 - our own
    assert run("show", *where, "--svg", "-").stdout == picture.read_text()
    assert "No such file" in run("show", *where, "--svg", "/nowhere/x.svg", status=1).stderr

    assert run("path", "disk", "web", *where).stdout == "disk ──> db ──> cart ──> web\n"
    assert "did not call disk" in run("path", "disk", "web", *where, "--at", "2026-01-01", status=1).stdout
    assert "There is no service 'mars'" in run("path", "mars", "web", *where, status=1).stderr
    diff = run("diff", "2026-01-01", "2026-01-03", *where).stdout
    assert diff == "+ db ──> disk  stated, since 2026-01-02 00:00:00\n"
    assert run("diff", "2026-01-03", "2026-01-01", *where).stdout.startswith("- db ──> disk")
    assert "The same calls" in run("diff", "2026-01-03", "2026-01-04", *where).stdout
    assert json.loads(run("diff", "2026-01-01", "2026-01-03", *where, "--json").stdout)["removed"] == []


def test_what_cannot_be_done_is_told_in_a_line(run: Run, tmp_path: Path, environment: str) -> None:
    where = ("--environment", environment)
    assert "Nothing is known of who called whom" in run("show", *where).stdout
    assert run("show", *where, "--at", "soon", status=1).stderr.startswith("Error: `--at`: not a time")
    assert run("diff", "soon", "later", *where, status=1).stderr.startswith("Error: `T1`: not a time")
    assert "No such file" in run("import", "/nowhere.yaml", *where, status=1).stderr
    words = tmp_path / "words.yaml"
    words.write_text("just words")
    assert "states no topology" in run("import", str(words), *where, status=1).stderr
    bad = tmp_path / "bad.json"
    bad.write_text('{"edges": [{"source": "a"}, {"source": "a", "target": "b"}]}')
    done = run("import", str(bad), *where, status=1)
    assert done.stdout.startswith("1 accepted, 0 duplicate, 1 rejected\n  edge 1: target: missing")

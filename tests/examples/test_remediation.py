"""The whole way, in earnest: a fault of the shop is noticed, a wrong remedy is taken back, the right one is verified."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from cli.stack import stop_stack

ROOT = Path(__file__).parents[2]


@pytest.mark.long
def test_a_wrong_remedy_is_taken_back_and_the_right_one_is_verified() -> None:
    with tempfile.TemporaryDirectory(prefix="cg-") as folder:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEGRAPH_")}
        environ |= {"CAUSEGRAPH_DATA_DIR": folder, "CAUSEGRAPH_GRPC_LISTEN": "off", "CAUSEGRAPH_EMBEDDER": "none"}
        environ |= {"CAUSEGRAPH_PORT": "0", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "cli.main", "demo", "--remediate", "--fault", "wrong-port", "--wrong", "--yes"]
        try:
            done = subprocess.run(
                [*command, "--warmup", "20"], capture_output=True, text=True, env=environ, check=False, timeout=600
            )
        finally:
            stop_stack(Path(folder))
        told = done.stdout + done.stderr
        assert done.returncode == 0, told
        steps = [
            "noticed:",
            "A wrong remedy first",
            "undo: Wait longer for the bank: done",
            "undone",
            "verified:",
            "is closed",
        ]
        places = [told.find(step) for step in steps]
        assert -1 not in places and places == sorted(places), told

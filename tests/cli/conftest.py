"""`causegraph` in this process, on the session's local stack, without a server and without vectors."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from cli.main import build_cli
from cli.stack import StackHandle

type Run = Callable[..., Result]


@pytest.fixture
def run(stack: StackHandle, data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run a command and check its exit status."""
    for name in [name for name in os.environ if name.startswith("CAUSEGRAPH_") and name != "CAUSEGRAPH_CACHE_DIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEGRAPH_DATA_DIR", str(data_dir))
    monkeypatch.setenv("CAUSEGRAPH_EMBEDDER", "none")
    monkeypatch.setenv("COLUMNS", "200")
    app = build_cli()

    def call(*arguments: str, stdin: str = "", status: int = 0) -> Result:
        done = CliRunner().invoke(app, list(arguments), input=stdin)
        assert done.exit_code == status, done.output
        return done

    return call

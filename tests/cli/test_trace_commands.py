"""`causegraph trace ...`, as people run it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import build_cli
from cli.stack import StackHandle
from storage.database import Database
from storage.traces import TraceStore
from tracing import Trace


async def test_reconcile_stores_what_only_a_file_holds(
    database: Database, stack: StackHandle, data_dir: Path, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Trace("why?", environment)
    run.decide("a", "b", 0.5)
    run.end()
    store = TraceStore(database, data_dir / "traces")
    await store.write_file(run.events)
    monkeypatch.setenv("CAUSEGRAPH_DATA_DIR", str(data_dir))
    done = await asyncio.to_thread(CliRunner().invoke, build_cli(), ["trace", "reconcile", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["database"] >= 1
    assert [event for _, event in await store.events(run.id)] == list(run.events)
    done = await asyncio.to_thread(CliRunner().invoke, build_cli(), ["trace", "reconcile"])
    assert "0 traces gained events in the database, 0 in their files." in done.output

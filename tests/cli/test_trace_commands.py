"""`causegraph trace ...`, as people run it."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import build_cli
from cli.stack import StackHandle
from domain.errors import NotFound
from storage.database import Database
from storage.objects import FolderObjects
from storage.prompts import PromptStore
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


async def test_gc_keeps_what_traces_name(
    database: Database, stack: StackHandle, data_dir: Path, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = data_dir / f"prompts-{environment}"
    store = PromptStore(FolderObjects(place))
    named, dead = (store.put([{"role": "user", "content": text * 500}]) for text in ("named ", "dead "))
    store.flush()
    run = Trace("why?", environment)
    run.model_call("m", prompt_tokens=1, completion_tokens=1, seconds=0.1, prompt=named)
    await TraceStore(database, data_dir / "traces").append(run.events)
    monkeypatch.setenv("CAUSEGRAPH_DATA_DIR", str(data_dir))
    command = ["prompts", "gc", "--place", str(place), "--json"]
    refused = await asyncio.to_thread(CliRunner().invoke, build_cli(), command)
    assert refused.exit_code == 2 and "--yes" in refused.output
    done = await asyncio.to_thread(CliRunner().invoke, build_cli(), [*command, "--yes"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["freed_bytes"] > 0
    opened = PromptStore(FolderObjects(place))
    assert b"named" in opened.get(named)
    with pytest.raises(NotFound):
        opened.get(dead)

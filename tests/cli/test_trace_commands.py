"""`causegraph trace ...`, as people run it."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import build_cli
from cli.stack import StackHandle
from domain.errors import NotFound
from domain.verdict import Judgement
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


async def test_runs_are_listed_by_what_they_are_about_and_shown_short_and_long(
    database: Database, stack: StackHandle, data_dir: Path, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = TraceStore(database, data_dir / "traces")
    made = {}
    for service, action in (("payment", "ALLOW_ANSWER"), ("checkout", "ESCALATE")):
        run = Trace(f"why does {service} fail?", environment)
        run.note(service=service, intent="why", thread_id=f"thr-{service}")
        with run.stage("judge", kind="judge"):
            run.decide(f"look at {service}", "it is named", 0.9)
            scores = {"claims_kept": 0.5, "numbers": 0.5, "quotes": 1.0}
            run.judge(Judgement(action, scores, ("a number is wrong",), ("every quote holds",)))  # type: ignore[arg-type]
            run.policy("default", "0", action, "likely", "NOT_PROVEN")
        run.conclude("LIKELY", [service])
        run.end()
        await store.append(run.events)
        made[service] = run.id
    for name in [name for name in os.environ if name.startswith("CAUSEGRAPH_") and name != "CAUSEGRAPH_CACHE_DIR"]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("CAUSEGRAPH_DATA_DIR", str(data_dir))

    async def run_command(*arguments: str) -> str:
        done = await asyncio.to_thread(CliRunner().invoke, build_cli(), list(arguments))
        assert done.exit_code == 0, done.output
        return done.stdout

    async def listed(*filters: str) -> set[str]:
        told = await run_command("trace", "list", "-e", environment, "--json", *filters)
        return {str(trace["id"]) for trace in json.loads(told)["traces"]}

    both, payment, checkout = set(made.values()), {made["payment"]}, {made["checkout"]}
    assert await listed() == both
    assert await listed("--service", "payment", "--intent", "why") == payment
    assert await listed("--action", "escalate") == checkout
    assert await listed("--verdict", "likely", "--thread", "thr-checkout") == checkout
    assert await listed("--verdict", "CONFIRMED") == set()
    assert await listed("-q", "does payment") == payment
    assert await listed("--to", "2020-01-01T00:00:00Z") == set()
    assert (
        await listed("--from", "2020-01-01T00:00:00Z", "--limit", "1") | await listed("--limit", "1", "--page", "2")
        == both
    )
    assert await listed("--open") == set()
    short = await run_command("trace", "show", made["payment"], "--compact")
    assert "Quality    0.75 over 2 principles, below 1: numbers 0.50" in short
    assert "Decisions  1" in short and "Search ledger" not in short
    document = await run_command("trace", "show", made["payment"], "--markdown")
    assert document.startswith("# why does payment fail?\n")
    assert "- **look at payment** (0.90): it is named" in document
    full = await run_command("trace", "show", made["payment"], "--verbose")
    for told in (
        "numbers            0.50  < gap",
        "+ every quote holds",
        "- a number is wrong",
        "(1 decision)",
        "NOT_PROVEN",
    ):
        assert told in full, full


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

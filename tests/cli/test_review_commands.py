"""`causegraph policy` and `causegraph cases`: in this process, on the session's local stack, without a server."""

from __future__ import annotations

import asyncio
import json
import uuid
from pathlib import Path

from agents.rulings import Rulings
from cli.stack import StackHandle
from review.policy_document import built_in_policy, parse_policy
from storage.cases import CaseStore
from storage.database import Database
from storage.evaluations import EvaluationStore
from storage.migrate import migrate
from storage.opinions import OpinionStore
from storage.policies import PolicyStore
from tests.cli.conftest import Run

POLICY = """
name: {name}
description: all that is proven goes to a person
rules:
  - id: proven
    when: {{field: answer.outcome, value: CONFIRMED}}
    then: {{action: ESCALATE, reason: LOOK_AT_IT, severity: high}}
otherwise: ALLOW_WITH_WARNING
"""


def decide_something(stack: StackHandle, environment: str, trace_id: str, title: str) -> None:
    async def work() -> None:
        database = Database(stack.database_url, 2)
        await migrate(database)
        rulings = Rulings(PolicyStore(database), EvaluationStore(database), CaseStore(database), OpinionStore(database))
        for outcome, trace in (("CONFIRMED", trace_id), ("INCONCLUSIVE", f"{trace_id[:-1]}f")):
            signals = {
                "answer": {
                    **{"outcome": outcome, "clarification": False, "symptom": True, "causes": 1, "not_seen": 0},
                    "doubted": False,
                },
                "scores": {"claims_kept": 1.0},
                "checks": {"complete": True},
                "model": {"asked": False},
            }
            about = {"service": "checkout", "outcome": outcome}
            await rulings.record(
                built_in_policy(),
                signals,
                environment=environment,
                trace_id=trace,
                judge="checks",
                title=title,
                about=about,
                gaps=("a gap",),
            )
        await database.close()

    asyncio.run(work())


def test_a_policy_goes_from_a_file_to_history_to_use(
    run: Run, stack: StackHandle, environment: str, tmp_path: Path
) -> None:
    decide_something(stack, environment, "trc_20260101_000000_000000a0", "why?")
    name = f"p-{uuid.uuid4().hex[:8]}"
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY.format(name=name))
    assert "1 rules" in run("policy", "check", str(file)).stdout
    tried = json.loads(run("policy", "dry-run", str(file), "-e", environment, "--json").stdout)
    assert (tried["looked_at"], tried["changed"], tried["stricter"], tried["milder"]) == (2, 2, 1, 1)
    assert "2 of 2 decisions" in run("policy", "dry-run", str(file), "-e", environment).stdout
    assert json.loads(run("policy", "check", str(file), "--save", "--json").stdout)["version"] == 1
    shown = json.loads(run("policy", "show", name, "--json").stdout)
    assert parse_policy(shown["text"]).rules[0].id == "proven"
    assert "question-open" in run("policy", "show").stdout
    assert f"{name} version 1 holds in {environment}" in run("policy", "activate", name, "-e", environment).stdout
    assert environment in run("policy", "list").stdout
    again = json.loads(run("policy", "dry-run", name, "-e", environment, "--json").stdout)
    assert again["version"] == 1
    assert again["after"] == {"ESCALATE": 1, "ALLOW_WITH_WARNING": 1}
    run("policy", "activate", "default", "-e", environment)


def test_a_wrong_policy_is_named_with_its_place(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text("name: x\nrules: [{id: a, when: {field: b}, then: {action: BLOCK}}]")
    done = run("policy", "check", str(file), status=1)
    assert "needs a `value`" in done.output
    run("policy", "show", "no-such-policy", status=1)


def test_a_case_is_worked_on(run: Run, stack: StackHandle, environment: str) -> None:
    hostile = "why [red]boom[/red] \x1b[31m\u202e?"
    decide_something(stack, environment, "trc_20260101_000000_000000b0", hostile)
    found = json.loads(run("cases", "list", "-e", environment, "--json").stdout)
    assert found["counts"] == {"open": 1}
    case_id = found["cases"][0]["id"]
    listed = run("cases", "list", "-e", environment, "--status", "open").stdout
    assert case_id in listed
    assert "\x1b" not in listed
    assert "[red]boom[/red]" in listed
    shown = run("cases", "show", case_id).stdout
    assert "TROUBLE_UNEXPLAINED" in shown
    assert "a gap" in shown
    assert json.loads(run("cases", "ack", case_id, "--json").stdout)["status"] == "acknowledged"
    run("cases", "comment", case_id, "the queue was full")
    closed = run("cases", "resolve", case_id, "-t", "mended").stdout
    assert "the queue was full" in closed
    assert "resolved by command line  mended" in closed
    assert "is resolved" in run("cases", "ack", case_id, status=1).output
    assert "open" in run("cases", "reopen", case_id).stdout


def test_how_runs_do_is_told(run: Run, stack: StackHandle, environment: str, tmp_path: Path) -> None:
    decide_something(stack, environment, "trc_20260101_000000_000000c0", "why?")
    stats = run("trace", "stats", "--by", "outcome", "-e", environment).stdout
    assert "2 runs, 1 of them allowed" in stats
    assert "CONFIRMED" in stats
    assert "grouped by" in run("trace", "stats", "--by", "mood", status=1).output
    failures = run("trace", "failures", "-e", environment).stdout
    assert "1 of 2 decisions held an answer back." in failures
    assert "a gap" in failures
    assert "No run of this time" in run("trace", "calibration", "-e", environment).stdout
    assert "flagged" in json.loads(run("trace", "flagged", "--json").stdout)
    run("trace", "compare", "trc_20200101_000000_00000000", "trc_20200101_000000_00000001", status=1)
    out = tmp_path / "traces.jsonl"
    assert "0 traces" in run("trace", "export", "-e", environment, "-o", str(out)).output
    assert out.read_text(encoding="utf-8") == ""

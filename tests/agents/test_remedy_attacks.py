"""Whoever writes telemetry, or may not decide: nothing runs that was not approved, and each attempt is written down."""

from __future__ import annotations

import http.server
from collections.abc import Iterator
from pathlib import Path

import pytest

from agents.remedy_plan import Situation
from domain.errors import ActionRefused, NotFound, PayloadError
from runbooks.operator import load_operator
from runbooks.workflow import Workflow, Workflows, load_workflows
from storage.approvals import ApprovalEvent
from storage.database import Database
from tests.agents.remedying import ADMIN, OTHER, Bench
from tests.serving import listening

# One action of each kind, each with a value that comes from telemetry. Whatever runs leaves a mark.
OPERATOR = """
connections:
  web: {{kind: http, url: "{server}/api", inner: true}}
  inner: {{kind: http, url: "{server}"}}
  metadata: {{kind: http, url: "http://169.254.169.254", inner: true}}
  hidden: {{kind: http, url: "http://[::ffff:169.254.169.254]/", inner: true}}
  data: {{kind: sql, url: "{database}"}}
  cluster: {{kind: kubernetes, context: nowhere, namespaces: [shop]}}
actions:
  command: {{kind: command, run: [/usr/bin/touch, "{folder}/ran-{{service}}"], arguments: {{service: {{type: name}}}}}}
  web: {{kind: http, connection: web, form: json, path: "/x/{{service}}", arguments: {{service: {{type: name}}}}}}
  inner: {{kind: http, connection: inner, form: json, path: "/inner", arguments: {{service: {{type: name}}}}}}
  metadata: {{kind: http, connection: metadata, form: json, path: "/latest", arguments: {{service: {{type: name}}}}}}
  hidden: {{kind: http, connection: hidden, form: json, path: "/latest", arguments: {{service: {{type: name}}}}}}
  sql:
    kind: sql
    connection: data
    statement: {{sql: "UPDATE no_such_table SET a = 1 WHERE b = ?", order: [service]}}
    most_rows: 1
    arguments: {{service: {{type: name}}}}
  kubernetes:
    kind: kubernetes
    connection: cluster
    change: restart
    arguments: {{deployment: {{type: name}}, namespace: {{choices: [shop]}}}}
policy: {{automatic: [{{workflow: "use-command", environments: ["*"]}}]}}
"""
KINDS = ("command", "web", "inner", "metadata", "hidden", "sql", "kubernetes")
HOSTILE = (
    "x; touch /tmp/y",
    "$(reboot)",
    "../../secrets",
    "a/../b",
    "x' OR 1=1 -- ",
    "--force",
    "x\ny",
    "%2e%2e",
    "x y",
    "",
)


class Server(http.server.BaseHTTPRequestHandler):
    """Remembers that it was asked."""

    seen: list[str] = []  # noqa: RUF012 - emptied by the fixture

    def do_POST(self) -> None:
        self.seen.append(self.path)
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
        """Nothing is printed."""


@pytest.fixture
def server() -> Iterator[str]:
    Server.seen = []
    with listening(Server) as url:
        yield url


def _workflow(kind: str) -> str:
    values = "{deployment: '{service}', namespace: shop}" if kind == "kubernetes" else "{service: '{service}'}"
    return f"""
id: use-{kind}
title: Use {kind}
when: {{fault_classes: [capacity], templates: ["{kind}"]}}
reversible: true
arguments: {{service: {{type: name, from: cause.service}}}}
steps: [{{name: Do it, action: {kind}, with: {values}, undo: {{action: {kind}, with: {values}}}}}]
verify: [{{requests: "{{service}}", over_seconds: 1, within_seconds: 1}}]
"""


@pytest.fixture
def bench(database: Database, tmp_path: Path, environment: str, server: str) -> Bench:
    made = Bench(database, tmp_path, environment)
    for kind in KINDS:
        (tmp_path / "workflows" / f"{kind}.yaml").write_text(_workflow(kind))
    address = "mariadb://nobody@127.0.0.1:1/none"
    (tmp_path / "operator.yaml").write_text(OPERATOR.format(server=server, database=address, folder=tmp_path))
    loaded = load_workflows([tmp_path / "workflows"])
    assert not loaded.problems
    made.remedy.workflows = Workflows({w.id: w for w in loaded if isinstance(w, Workflow)})
    made.remedy.operator = load_operator(tmp_path / "operator.yaml")
    return made


async def _refusals(bench: Bench) -> list[tuple[str, ApprovalEvent]]:
    """What was refused in the test's environment, by runs and proposals, the newest first."""
    own = {
        a.id for run in await bench.store.list(bench.environment) for a in await bench.remedy.approvals.of_run(run.id)
    }
    return [
        (name, e)
        for name, e in await bench.remedy.approvals.refused(200)
        if name in own or bench.environment in e.detail
    ]


def _nothing_ran(bench: Bench) -> bool:
    return not list(bench.folder.glob("ran-*")) and not Server.seen


@pytest.mark.parametrize("kind", KINDS)
async def test_words_of_telemetry_get_into_no_command_url_statement_or_name(bench: Bench, kind: str) -> None:
    for number, hostile in enumerate(HOSTILE, 1):
        found = Situation(bench.environment, "", "CONFIRMED", hostile, fault_class="capacity", texts=(kind,))
        shown = await bench.remedy.propose_for(found)
        assert shown is not None and shown["status"] in ("impossible", "incomplete"), hostile
        with pytest.raises(PayloadError):
            await bench.propose(f"use-{kind}", service=hostile) if hostile else await bench.propose(
                f"use-{kind}", service=7
            )
        told = await _refusals(bench)
        assert len(told) == number - (number == len(HOSTILE)), (
            "an empty name is a missing one: there was nothing to refuse"
        )
    assert {(name, e.actor, e.what) for name, e in told} == {("", "causegraph", "propose")}
    assert not await bench.store.list(bench.environment) and _nothing_ran(bench)


async def test_what_telemetry_named_waits_for_a_person_whatever_the_policy_says(bench: Bench) -> None:
    found = Situation(bench.environment, "", "CONFIRMED", "payment", fault_class="capacity", texts=("command",))
    shown = await bench.remedy.propose_for(found)
    assert shown is not None and (shown["tainted"], shown["approval_status"]) == (["service"], "pending")
    await bench.see_through(shown)
    assert _nothing_ran(bench)


@pytest.mark.parametrize("kind", ["inner", "metadata", "hidden"])
async def test_no_request_goes_inside_or_to_metadata(bench: Bench, kind: str) -> None:
    run = await bench.propose(f"use-{kind}")
    await bench.approve(run)
    done = await bench.see_through(run)
    assert done["status"] == "failed" and "nothing was changed" in done["reason"], done["reason"]
    assert [step["status"] for step in done["done"]] == ["refused"]
    ((name, event),) = await _refusals(bench)
    assert (name, event.what) == (run["approval_id"], "step") and "not public" in event.detail
    assert _nothing_ran(bench)


async def test_an_approval_that_is_not_there_and_an_action_that_is_not_allowed_are_written_down(bench: Bench) -> None:
    guessed = f"apr-{bench.environment[-8:]}"
    with pytest.raises(NotFound):
        await bench.remedy.decide(guessed, "approve", ADMIN, digest="0" * 64)
    (event,) = [e for name, e in await bench.remedy.approvals.refused(50) if guessed in e.detail]
    assert (event.actor, event.what, event.accepted) == (ADMIN.name, "approve", False)
    del bench.remedy.operator.actions["web"]  # type: ignore[attr-defined]
    with pytest.raises(ActionRefused):
        await bench.propose("use-web")
    ((name, refused),) = await _refusals(bench)
    assert (name, refused.actor) == ("", OTHER.name) and "allows no action 'web'" in refused.detail

"""The whole way in Slack: a mention, the answer in its thread, a click on approve, a real change, and its verified end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.incident_run import IncidentRun
from agents.services import Services
from agents.triage import AlertTriage
from api.app import build_app
from api.chat import Desk
from api.chats import Chats
from cli.services import build_services
from domain.settings import Settings
from domain.times import SECOND_US
from graph.topology import TopologyGraph
from storage.database import Database
from tests.api.conftest import _post, _resource, _span
from tests.api.slack_server import (
    ALERTS,
    APPROVER,
    ASKER,
    CHANNEL,
    NOBODY,
    SECRET,
    FakeSlack,
    Workspace,
    drained,
    running_slack,
    said,
    wait_for,
)
from tests.settling import settle

SECOND_APPROVER = "U0000000009"
# What an operator has: a command that changes which release runs. The last line of the file is what runs.
DEPLOY = """
import os, pathlib, sys
releases = pathlib.Path(__file__).with_name("releases")
lines = releases.read_text().split()
if sys.argv[1] == "show":
    print(f"{sys.argv[2]} runs release {lines[-1]}")
else:
    wanted = {"rollback": "1", "forward": "2"}[sys.argv[1]]
    with releases.open("a") as file:
        file.write(f"{wanted}\\n")
    with releases.with_name("keys").open("a") as file:
        file.write(os.environ["CAUSEGRAPH_IDEMPOTENCY_KEY"] + "\\n")
    print(f"{sys.argv[2]} runs release {wanted} now")
"""
OPERATOR = """
actions:
  roll-back:
    kind: command
    run: [{python}, "{folder}/deploy.py", rollback, "{{service}}"]
    dry_run: [{python}, "{folder}/deploy.py", show, "{{service}}"]
    state: [{python}, "{folder}/deploy.py", show, "{{service}}"]
    arguments: {{service: {{choices: [payment]}}}}
  roll-forward:
    kind: command
    run: [{python}, "{folder}/deploy.py", forward, "{{service}}"]
    arguments: {{service: {{choices: [payment]}}}}
policy: {{approvers: [approve]}}
"""
WORKFLOW = """
id: roll-back
title: Roll back the last release
when: {services: [payment], outcomes: [CONFIRMED, LIKELY]}
reversible: true
arguments:
  service: {type: name, from: cause.service}
  symptom: {type: name, from: symptom.service}
steps:
  - name: Roll back
    action: roll-back
    with: {service: "{service}"}
    undo: {action: roll-forward, with: {service: "{service}"}}
verify:
  - {requests: "{symptom}", failed_below: 0.1, at_least: 3, over_seconds: 1, within_seconds: 90}
"""


@pytest.fixture(scope="module")
async def slack() -> AsyncIterator[FakeSlack]:
    async with running_slack() as fake:
        yield fake


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("slack-remedy")
    (made / "workflows").mkdir()
    (made / "workflows" / "roll-back.yaml").write_text(WORKFLOW)
    (made / "operator.yaml").write_text(OPERATOR.format(python=sys.executable, folder=made))
    (made / "deploy.py").write_text(DEPLOY)
    (made / "releases").write_text("1\n2\n")
    return made


@pytest.fixture(scope="module")
async def services(
    database: Database, topology: TopologyGraph, data_dir: Path, folder: Path, slack: FakeSlack
) -> AsyncIterator[Services]:
    roles = f"{ASKER}=ask,{APPROVER}=approve,{SECOND_APPROVER}=approve"
    settings = Settings(
        data_dir=data_dir, embedder="none", workflow_dir=folder / "workflows", remediation_file=folder / "operator.yaml",
        slack_bot_token="xoxb-test", slack_signing_secret=SECRET, slack_api_url=slack.url, slack_channel=ALERTS,
        slack_roles=roles,
    )  # fmt: skip
    built = build_services(settings, database, topology)
    async with built.projecting():
        yield built


@pytest.fixture
async def workspace(services: Services, slack: FakeSlack) -> AsyncIterator[Workspace]:
    chats = Chats(services, Desk(services), services.remedy)
    app = build_app(services, "the-slack-test")
    async with (
        chats.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield Workspace(client, slack, services)


@contextlib.asynccontextmanager
async def at_work(client: httpx.AsyncClient, environment: str, releases: Path) -> AsyncIterator[None]:
    """Customers buy: whether payment serves them depends on the release that runs, and on nothing else."""

    async def buy() -> None:
        bad = releases.read_text().split()[-1] != "1"
        now, trace = time.time_ns() // 1000 - SECOND_US // 5, f"{time.time_ns():032x}"
        spans = {
            "storefront": [_span(trace, 1, 0, "POST /checkout", 2, now, 90_000, bad, "refused")],
            "payment": [_span(trace, 2, 1, "POST /charges", 2, now + 1000, 60_000, bad, "refused")],
        }
        body = {"resourceSpans": [_resource(service, environment, held) for service, held in spans.items()]}
        await _post(client, "/v1/traces", body, "")

    async def buy_on() -> None:
        while True:
            await buy()
            await asyncio.sleep(0.2)

    task = asyncio.create_task(buy_on())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def button(message: dict[str, Any], name: str) -> dict[str, Any]:
    found = [e for block in message["blocks"] if block["type"] == "actions" for e in block["elements"]]
    return next(element for element in found if element["action_id"] == name)


def thread(slack: FakeSlack, ts: str) -> list[dict[str, Any]]:
    """What was posted into a thread; incidents of other tests are told elsewhere in the workspace."""
    return [message for message in slack.posted if message.get("thread_ts") == ts]


async def test_from_a_mention_to_a_verified_fix(
    workspace: Workspace, slack: FakeSlack, services: Services, client: httpx.AsyncClient, incident: str, folder: Path
) -> None:
    ts = "1700001000.000100"
    words = {"text": f"<@U0BOT> why did checkout fail? env:{incident}", "ts": ts}
    # Slack's deliveries in no order: the plain message of a mention before the mention, a reply before what it replies to.
    early = {"type": "message", "text": "and now?", "ts": "1700001001.1", "thread_ts": ts, "channel_type": "channel"}
    await workspace.event(early)
    await workspace.event({"type": "message", "channel_type": "channel", **words})
    for attempt in range(3):
        mention = {"type": "app_mention", **words}
        reply = await workspace.event(mention, "Ev-mention", **({"X-Slack-Retry-Num": str(attempt)} if attempt else {}))
        assert reply.status_code == 200
    await wait_for(lambda: bool(slack.updated), lambda: (slack.whispered, slack.replied))
    await drained(workspace)
    (looking,) = thread(slack, ts)
    answer = [message for message in slack.updated if message["ts"] == looking["ts"]][-1]
    assert "payment" in said(answer) and "[span-" in said(answer)
    assert "payment runs release 2" in said(answer), "the dry run is shown to whoever approves"
    approve, reject = button(answer, "cg_approve"), button(answer, "cg_reject")
    named = json.loads(approve["value"])
    message = {"ts": answer["ts"], "thread_ts": ts, "blocks": answer["blocks"]}

    # Whoever may not, and what is not what was shown.
    forged = json.dumps({**named, "digest": "0" * 64})
    for user, value, why in (
        (NOBODY, approve["value"], "'none' may not approve"),
        (ASKER, approve["value"], "'ask' may not approve"),
        (APPROVER, forged, "read it again"),
    ):
        replied = len(slack.replied)
        await workspace.click(user, "cg_approve", value, message, reply_url=slack.reply_url())
        await wait_for(lambda: len(slack.replied) > replied)  # noqa: B023 - waited for at once
        assert why in said(slack.replied[-1]) and slack.replied[-1]["response_type"] == "ephemeral"
    assert (folder / "releases").read_text() == "1\n2\n"

    async with at_work(client, incident, folder / "releases"):
        # One click that Slack delivers three times, one more click, and somebody else who comes too late with another mind.
        clicks = [
            workspace.click(APPROVER, "cg_approve", approve["value"], message, at=at, reply_url=slack.reply_url())
            for at in ("7.1", "7.1", "7.1", "7.2")
        ]
        assert {reply.status_code for reply in await asyncio.gather(*clicks)} == {200}
        await drained(workspace)
        late = slack.reply_url()
        await workspace.click(SECOND_APPROVER, "cg_reject", reject["value"], message, at="6.9", reply_url=late)
        await drained(workspace)
        assert "already" in said(slack.replied[-1])
        locked = [body for body in slack.replied if body.get("replace_original")]
        assert len(locked) == 1 and "cg_approve" not in said(locked[0]) and f"Approved by {APPROVER}" in said(locked[0])
        await wait_for(lambda: len(thread(slack, ts)) > 1, lambda: slack.replied)
    ended = thread(slack, ts)[-1]
    assert ended["channel"] == CHANNEL
    assert ended["text"] == "Verified: Roll back the last release"
    assert "Roll back: done. payment runs release 1 now" in said(ended)

    assert (folder / "releases").read_text() == "1\n2\n1\n", "done once, and not taken back"
    assert len((folder / "keys").read_text().split()) == 1
    approval = await services.remedy.approvals.get(named["approval_id"])
    tried = [(event.actor, event.what, event.accepted) for event in await services.remedy.approvals.events(approval.id)]
    assert tried[1:4] == [(f"slack:{user}", "approve", False) for user in (NOBODY, ASKER, APPROVER)]
    assert tried.count((f"slack:{APPROVER}", "approve", True)) == 1
    assert (f"slack:{SECOND_APPROVER}", "reject", False) in tried
    run = await services.remedy.read_run(approval.run_id)
    assert run["status"] == "verified"
    view = await services.traces.load(run["trace_id"])
    stages = [stage.name for stage in view.stages]
    assert "planner" in stages and "explainer" in stages and stages[-1] == "workflow end", "one trace for all of it"
    assert slack.problems == []


async def test_an_incident_of_an_alert_is_mended_and_closed_in_its_thread(
    workspace: Workspace, slack: FakeSlack, services: Services, client: httpx.AsyncClient, incident: str, folder: Path
) -> None:
    (folder / "releases").write_text("1\n2\n")
    alert = {"name": "CheckoutErrors", "status": "firing", "service": "storefront"}
    sent = await client.post("/ingest/alerts/generic", json=[alert], params={"environment": incident})
    assert sent.status_code == 200
    triage = AlertTriage(services)
    await settle(triage)
    (live,) = await triage.log.live_of(incident)
    await IncidentRun(services, triage.log).investigate(live, "why did checkout fail?", time.time_ns() // 1000)

    def roots() -> list[dict[str, Any]]:
        return [message for message in slack.posted if "thread_ts" not in message and incident in said(message)]

    await wait_for(lambda: bool(roots() and thread(slack, roots()[0]["ts"])), lambda: slack.posted)
    (root,) = roots()
    (verdict,) = thread(slack, root["ts"])
    assert root["channel"] == ALERTS
    approve = button(verdict, "cg_approve")
    message = {"ts": verdict["ts"], "thread_ts": root["ts"], "blocks": verdict["blocks"]}
    async with at_work(client, incident, folder / "releases"):
        await workspace.click(APPROVER, "cg_approve", approve["value"], message, reply_url=slack.reply_url())
        await wait_for(lambda: len(thread(slack, root["ts"])) > 1, lambda: slack.replied)
    ended = thread(slack, root["ts"])[-1]
    assert ended["channel"] == ALERTS, "it is said where the incident is"
    assert ended["text"].startswith("Verified: ")
    # The alert still fires: it is not for us to say that it is over.
    assert f"incident {live.id} is resolved" in said(ended)
    await wait_for(lambda: any(u["ts"] == root["ts"] and "is resolved" in u["text"] for u in slack.updated))
    assert (folder / "releases").read_text() == "1\n2\n1\n"
    assert slack.problems == []

"""Incidents over HTTP: from a webhook to a timeline, by hand merged and split, closed, and written up."""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from agents import follow_up
from agents import graph as team
from agents.incident_run import IncidentRun, run_of
from agents.postmortem import escape
from agents.services import Services
from agents.state import State
from agents.triage import AlertTriage
from domain.errors import ChatError, QuestionError, SettingsError
from storage.checkpoints import open_state
from storage.jobs import JobQueue
from tests.settling import settle

HOSTILE = "<img src=x onerror=alert(1)> | **bold** [link](http://evil.example) `x` @here\n# title"


@pytest.fixture(scope="module")
async def triage(services: Services) -> AsyncIterator[AlertTriage]:
    made = AlertTriage(services)
    await settle(made)
    yield made


def firing(name: str, service: str, minutes_ago: float = 1, **labels: str) -> dict[str, Any]:
    began = (datetime.now(UTC) - timedelta(minutes=minutes_ago)).isoformat()
    return {
        "status": "firing", "labels": {"alertname": name, "service": service, "severity": "critical", **labels},
        "annotations": {"summary": HOSTILE}, "startsAt": began, "endsAt": "0001-01-01T00:00:00Z",
    }  # fmt: skip


async def send(client: httpx.AsyncClient, environment: str, *alerts: dict[str, Any]) -> None:
    body = {"version": "4", "groupKey": "{}", "alerts": list(alerts)}
    reply = await client.post("/ingest/alerts/alertmanager", json=body, params={"environment": environment})
    assert reply.status_code == 200, reply.text


async def listed(client: httpx.AsyncClient, environment: str, **query: str) -> list[dict[str, Any]]:
    reply = await client.get("/incidents", params={"environment": environment, **query})
    assert reply.status_code == 200, reply.text
    return list(reply.json()["incidents"])


async def test_from_a_webhook_to_a_postmortem(
    client: httpx.AsyncClient, services: Services, triage: AlertTriage, incident: str
) -> None:
    environment = incident  # payment fails there since a minute
    await send(
        client, environment, firing("HighErrors", "payment"), firing("Slow", "storefront"), firing("Odd", HOSTILE, 0.5)
    )
    await settle(triage)
    found = await listed(client, environment, status="live", origin="alert")
    one = next(i for i in found if i["title"] == "HighErrors (payment)")
    assert (one["status"], one["severity"], one["outcome"]) == ("open", "critical", "")
    before = (await client.get(f"/incidents/{one['id']}")).json()
    assert "not been investigated" in before["answer"]["answer"]
    page = await client.get(f"/incidents/{one['id']}/postmortem")
    assert page.status_code == 200
    live = await triage.log.get(one["id"])
    await IncidentRun(services, triage.log).investigate(
        live, await triage._question(live, live.updated_us), live.updated_us
    )
    after = (await client.get(f"/incidents/{one['id']}")).json()
    assert after["answer"]["verdict"]["causes"][0]["service"] == "payment"
    assert after["status"] == "identified"
    life = (await client.get(f"/incidents/{one['id']}/life")).json()
    kinds = [line["kind"] for line in life["timeline"]]
    assert {"alert", "opened", "investigating", "verdict", "cause"} <= set(kinds)
    assert sorted(line["time"] for line in life["timeline"]) == [line["time"] for line in life["timeline"]]
    cause = next(line for line in life["timeline"] if line["kind"] == "cause")
    assert (
        await client.get(f"/evidence/{cause['evidence'][0]}", params={"environment": environment})
    ).status_code == 200
    draft = (await client.get(f"/incidents/{one['id']}/postmortem")).text
    for title in (
        "# Postmortem: HighErrors",
        "## Root cause",
        "## Timeline (UTC)",
        "## What the records show",
        "## Evidence",
    ):
        assert title in draft
    assert f"[`{cause['evidence'][0]}`]" in draft
    assert not re.search(r"(?<!\\)<(img|script)", draft)
    assert "](http" not in draft


async def test_an_investigation_of_a_worker_that_died_goes_on_in_the_next_attempt(
    client: httpx.AsyncClient,
    services: Services,
    triage: AlertTriage,
    incident: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await send(client, incident, firing("HighErrors", "payment"))
    await settle(triage)
    live = await triage.log.get((await listed(client, incident, origin="alert"))[0]["id"])
    queue = JobQueue(services.database, f"runs of {incident}", lease_seconds=0.0)
    await queue.enqueue({})
    job, reached = await queue.claim(), asyncio.Event()
    assert job is not None

    async def hang(state: Any, deps: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    run = IncidentRun(services, triage.log)
    with monkeypatch.context() as dying:
        dying.setitem(team._SEQUENCE, "explainer", hang)
        working = asyncio.create_task(run.investigate(live, "Why did payment fail?", live.updated_us, job))
        await asyncio.wait_for(reached.wait(), 60)
        working.cancel()
        await asyncio.wait([working])
    again = await queue.claim()
    assert again is not None and (again.id, again.attempt) == (job.id, 2)
    # The clock has gone on; what was asked about has not.
    left = await triage.log.get(live.id)
    found = await run.investigate(left, "Why did payment fail?", live.updated_us + 60_000_000, again)
    assert found["outcome"] in ("CONFIRMED", "LIKELY")
    trace = (await client.get(f"/traces/{run_of(job)}")).json()
    stages = [stage["name"] for stage in trace["stages"]]
    assert (trace["segments"], trace["status"]) == (2, "complete")
    assert (stages.count("planner"), stages.count("explainer"), stages.count("judge")) == (1, 2, 1)
    async with open_state(services.database, State) as saver:
        assert await saver.aget_tuple({"configurable": {"thread_id": run_of(job)}}) is None


@pytest.mark.long
async def test_an_alert_starts_its_investigation_by_itself(
    client: httpx.AsyncClient, services: Services, triage: AlertTriage, incident: str
) -> None:
    """The whole way with its own pace: a webhook, the follower, the queue, the agents; nobody asks."""
    stop = asyncio.Event()
    running = asyncio.create_task(AlertTriage(services).run(stop))
    try:
        await send(client, incident, firing("HighErrors", "payment"))
        end = time.monotonic() + 150
        while [i["status"] for i in await listed(client, incident)] != ["identified"]:
            assert time.monotonic() < end, await listed(client, incident)
            await asyncio.sleep(0.5)
    finally:
        stop.set()
        await running
    (found,) = await listed(client, incident)
    assert found["causes"] == ["payment"]


async def test_merge_split_close_and_feedback(client: httpx.AsyncClient, triage: AlertTriage, environment: str) -> None:
    await send(client, environment, firing("Slow", "cart"), firing("Errors", "cart"), firing("Full", "smtp", disk="a"))
    await settle(triage)
    large, small = sorted(await listed(client, environment), key=lambda i: i["title"] == "Full (smtp)")

    async def act(incident_id: str, action: str, status: int = 200, **body: Any) -> dict[str, Any]:
        reply = await client.post(f"/incidents/{incident_id}/{action}", json=body)
        assert reply.status_code == status, reply.text
        return dict(reply.json())

    merged = await act(large["id"], "merge", **{"with": small["id"], "why": HOSTILE})
    assert (merged["alerts"], merged["services"]) == (3, ["cart", "smtp"])
    assert (await client.get(f"/incidents/{small['id']}")).json()["merged_into"] == large["id"]
    assert "part of" in (await act(large["id"], "merge", 422, **{"with": small["id"]}))["message"]
    await act(large["id"], "merge", 404, **{"with": "inc-nothing"})
    await act(large["id"], "merge", 422, into=small["id"])
    new = await act(large["id"], "split", service="smtp", why="another team")
    assert (new["title"], new["alerts"]) == ("Full (smtp)", 1)
    await act(large["id"], "split", 422, service="nobody")
    await act(large["id"], "split", 422)
    decisions = (await client.get(f"/incidents/{new['id']}/decisions")).json()["decisions"]
    assert [(d["kind"], d["actor"], d["why"]) for d in decisions] == [("split", "local", "another team")]
    alerts = (await client.get(f"/incidents/{large['id']}/alerts")).json()["alerts"]
    assert sorted(alert["name"] for alert in alerts) == ["Errors", "Slow"]
    assert len({alert["payload"] for alert in alerts}) == 1
    closed = await act(large["id"], "close", note="done", helped="restarted it")
    assert closed["status"] == "closed"
    assert [line["text"] for line in closed["timeline"] if line["actor"]][-2:] == ["done", "restarted it"]
    assert "cannot become" in (await act(large["id"], "close", 422))["message"]
    assert (await act(large["id"], "reopen"))["status"] == "open"
    assert (await act(large["id"], "feedback", verdict="wrong", text="it was DNS"))["timeline"][-1][
        "text"
    ] == "wrong: it was DNS"
    await act(large["id"], "feedback", 422, verdict="maybe")
    await act(large["id"], "note", 422, text=" ")
    await act("inc-nothing", "note", 404, text="x")


async def test_who_only_reads_cannot_act(
    client: httpx.AsyncClient, services: Services, transport: httpx.ASGITransport, environment: str
) -> None:
    _, reader = await services.keys.create_key("reader", "read")
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": reader}) as other:
        assert (await other.get("/incidents")).status_code == 200
        for action in ("merge", "split", "close", "reopen", "note", "feedback"):
            assert (await other.post(f"/incidents/inc-1/{action}", json={})).status_code == 403


async def test_a_follow_up_becomes_an_issue(
    client: httpx.AsyncClient,
    services: Services,
    triage: AlertTriage,
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await send(client, environment, firing("Slow", HOSTILE))
    await settle(triage)
    (one,) = await listed(client, environment)
    assert "FOLLOW_UP_URL" in (await client.post(f"/incidents/{one['id']}/follow-up", json={"title": "x"})).text
    sent: list[httpx.Request] = []

    def tracker(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if "broken" in str(request.url):
            return httpx.Response(302, headers={"location": "http://elsewhere"})
        return httpx.Response(201, json={"html_url": "https://github.example/o/n/issues/7"})

    real = httpx.AsyncClient
    monkeypatch.setattr(httpx, "AsyncClient", lambda **given: real(transport=httpx.MockTransport(tracker), **given))
    update = {"follow_up_url": "https://api.github.example/repos/o/n/issues", "follow_up_token": "tok"}
    own = replace(services, settings=services.settings.model_copy(update=update))
    made = await follow_up.send_follow_up(own, one["id"], "Alert\n earlier", "soon", "ann", 5)
    assert made == {"title": "Alert earlier", "url": "https://github.example/o/n/issues/7"}
    body = json.loads(sent[0].content)
    assert sent[0].headers["authorization"] == "Bearer tok"
    assert body["title"] == "Alert earlier"
    assert body["body"].startswith("soon\n\nIncident: ")
    assert "<img" not in body["body"].replace("\\<img", "")
    with pytest.raises(QuestionError, match="already"):
        await follow_up.send_follow_up(own, one["id"], "Alert earlier", "", "ann", 6)
    life = (await client.get(f"/incidents/{one['id']}/life")).json()
    assert [line["text"] for line in life["timeline"] if line["kind"] == "follow-up"] == [
        f"{made['title']} {made['url']}"
    ]
    broken = replace(
        services, settings=services.settings.model_copy(update={**update, "follow_up_url": "https://broken.example"})
    )
    with pytest.raises(ChatError, match="302"):
        await follow_up.send_follow_up(broken, one["id"], "Another", "", "ann", 7)
    assert follow_up.make_issue("jira:OPS", "t", "x")["fields"]["project"] == {"key": "OPS"}
    with pytest.raises(SettingsError, match="FOLLOW_UP_FORM"):
        follow_up.make_issue("jira", "t", "x")


def test_markdown_of_a_stranger_stays_text() -> None:
    text = escape(HOSTILE)
    assert "\n" not in text
    assert text.startswith("\\<img")
    assert "\\[link\\]\\(http" in text
    assert "\\*\\*bold\\*\\*" in text and "\\# title" in text

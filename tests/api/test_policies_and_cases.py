"""Policies, cases, decisions and reviews over HTTP, and the notifications of cases."""

from __future__ import annotations

import asyncio
import hmac
import json
import uuid
from collections.abc import Iterator
from hashlib import sha256
from http.server import BaseHTTPRequestHandler
from typing import Any

import httpx
import pytest

from agents.case_notices import CaseNotifier
from agents.services import Services
from review.policy_document import parse_policy
from storage.cases import NOTIFICATIONS, Case
from storage.jobs import JobQueue
from tests.serving import listening

STRICT = """
name: {name}
description: everything to a person
rules:
  - id: proven
    when: {{field: answer.outcome, value: CONFIRMED}}
    then: {{action: {action}, reason: LOOK_AT_IT, severity: high}}
otherwise: ESCALATE
"""
SENT = """
name: {name}
rules:
  - id: pii
    priority: 1
    when: {{field: request.signals.pii, value: true}}
    then: {{action: ESCALATE, reason: PII_DETECTED, severity: critical}}
  - id: fine
    when: {{field: request.signals.pii, value: false}}
    then: {{action: ALLOW_ANSWER, reason: NO_PII, severity: low}}
"""


async def ask(client: httpx.AsyncClient, environment: str) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": "why did checkout fail?", "environment": environment})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def save(client: httpx.AsyncClient, text: str) -> dict[str, Any]:
    reply = await client.post("/policies", json={"text": text})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def open_case(services: Services, environment: str) -> str:
    """Let a policy escalate a decision about a run that never was, and return the run's id."""
    trace_id = f"trc_20260101_000000_{uuid.uuid4().hex[:8]}"
    _, case = await services.rulings.record(
        parse_policy(STRICT.format(name="strict", action="ESCALATE"), 1),
        {"answer": {"outcome": "CONFIRMED"}},
        environment=environment,
        trace_id=trace_id,
        judge="checks",
        title="why did checkout fail?",
        about={"service": "checkout"},
    )
    assert case is not None
    return trace_id


async def test_a_policy_is_versioned_tried_on_history_and_activated(
    client: httpx.AsyncClient, incident: str, services: Services
) -> None:
    name = f"p-{incident[-8:]}"
    before = await ask(client, incident)
    assert before["verdict"]["outcome"] == "CONFIRMED"
    assert before["judge"]["action"] == "ALLOW_ANSWER"
    first = await save(client, STRICT.format(name=name, action="ESCALATE"))
    assert (first["version"], (await save(client, STRICT.format(name=name, action="ESCALATE")))["version"]) == (1, 1)
    assert (await save(client, STRICT.format(name=name, action="BLOCK")))["version"] == 2
    shown = (await client.get(f"/policies/{name}")).json()
    assert shown["versions"] == [2, 1]
    assert shown["rules"][0]["action"] == "BLOCK"
    assert shown["signals"] == ["answer.outcome"]

    tried = (await client.post("/policies/dry-run", json={"name": name, "version": 1, "environment": incident})).json()
    assert (tried["looked_at"], tried["changed"], tried["stricter"], tried["milder"]) == (1, 1, 1, 0)
    assert tried["changes"][0]["trace_id"] == before["trace_id"]
    assert tried["changes"][0]["before"]["action"] == "ALLOW_ANSWER"
    assert tried["changes"][0]["after"] == {"action": "ESCALATE", "rule": "proven", "reason": "LOOK_AT_IT"}
    still = (
        await client.post("/policies/dry-run", json={"name": "default", "version": 0, "environment": incident})
    ).json()
    assert still["changed"] == 0

    active = await client.post(f"/policies/{name}/activate", json={"version": 1, "environment": incident})
    assert active.json() == {"name": name, "version": 1, "environment": incident}
    after = await ask(client, incident)
    assert after["judge"]["action"] == "ESCALATE"
    view = await services.traces.load(after["trace_id"])
    assert [(p.name, p.version, p.action, p.reason) for p in view.policies] == [(name, "1", "ESCALATE", "LOOK_AT_IT")]
    found = (await client.get("/cases", params={"environment": incident})).json()
    assert found["counts"] == {"open": 1}
    assert found["cases"][0]["trace_id"] == after["trace_id"]
    assert found["cases"][0]["incident_id"] == after["incident_id"]

    await client.post("/policies/default/activate", json={"environment": incident})
    assert (await ask(client, incident))["judge"]["action"] == "ALLOW_ANSWER"


async def test_a_policy_that_cannot_be_read_leaves_the_answer_to_a_person(
    client: httpx.AsyncClient, incident: str, services: Services
) -> None:
    await services.rulings.policies.add("broken", '{"name":"broken","rules":"none"}', "", "test")
    await services.rulings.policies.activate("broken", 1, incident, "test")
    body = await ask(client, incident)
    assert body["judge"]["action"] == "ESCALATE"
    assert any("the policy could not be read" in gap for gap in body["judge"]["gaps"])
    assert (await client.get("/cases", params={"environment": incident})).json()["cases"][0][
        "reason"
    ] == "POLICY_UNREAD"


async def test_wrong_policies_and_unknown_names_are_refused(client: httpx.AsyncClient) -> None:
    wrong = await client.post("/policies", json={"text": "name: x\nrules: [{id: a}]"})
    assert wrong.status_code == 400
    assert "rules.0" in wrong.json()["message"]
    assert (await client.post("/policies/check", json={"text": "name: x\nrules: []"})).json()["rules"] == []
    assert (await client.get("/policies/no-such")).status_code == 404
    assert (await client.post("/policies/no-such/activate", json={})).status_code == 404
    assert (await client.post("/policies", json={"text": "name: default\nrules: []"})).status_code == 400
    assert (await client.get("/policies/default", params={"version": 0})).json()["rules"][0]["id"] == "question-open"
    assert (await client.get("/policies/\u202e")).status_code == 404


async def test_only_admins_change_policies(client: httpx.AsyncClient, services: Services) -> None:
    _, secret = await services.keys.create_key("reader", "read")
    headers = {"X-API-Key": secret}
    assert (await client.get("/policies", headers=headers)).status_code == 200
    for path, body in (("/policies", {"text": "name: x\nrules: []"}), ("/policies/default/activate", {})):
        assert (await client.post(path, json=body, headers=headers)).status_code == 403
    assert (await client.post("/cases/cas-0/ack", json={}, headers=headers)).status_code == 403


async def test_a_case_is_worked_on_by_people(client: httpx.AsyncClient, environment: str, services: Services) -> None:
    trace_id = await open_case(services, environment)
    case_id = (await client.get("/cases", params={"environment": environment})).json()["cases"][0]["id"]
    case = (await client.get(f"/cases/{case_id}")).json()
    assert case["status"] == "open"
    assert case["severity"] == "high"
    assert case["decision"]["signals"]["answer"]["outcome"] == "CONFIRMED"
    assert case["decision"]["trace_id"] == trace_id

    acknowledged = (await client.post(f"/cases/{case_id}/ack", json={"text": "on it"})).json()
    assert acknowledged["status"] == "acknowledged"
    again = await client.post(f"/cases/{case_id}/ack", json={})
    assert again.status_code == 422
    assert "is acknowledged" in again.json()["message"]
    hostile = "<script>alert(1)</script> \u202e \x1b[31m"
    await client.post(f"/cases/{case_id}/comment", json={"text": hostile})
    assert (await client.post(f"/cases/{case_id}/comment", json={"text": " "})).status_code == 422
    resolved = (await client.post(f"/cases/{case_id}/resolve", json={"text": "a gift card without currency"})).json()
    assert resolved["status"] == "resolved"
    assert [event["kind"] for event in resolved["events"]] == ["opened", "acknowledged", "comment", "resolved"]
    assert resolved["events"][2]["text"] == hostile
    assert (await client.post(f"/cases/{case_id}/reopen", json={})).json()["status"] == "open"
    assert (await client.get("/cases/cas-nothing")).status_code == 404
    assert (await client.get("/cases", params={"status": "lost"})).status_code in (400, 422)


async def test_people_review_runs(client: httpx.AsyncClient, incident: str) -> None:
    trace_id = (await ask(client, incident))["trace_id"]
    path = f"/traces/{trace_id}/reviews"
    assert (await client.get(path)).json()["user_review_passed"] is None
    await client.post(path, json={"passed": False, "note": "wrong", "tags": ["cause"]})
    said = (await client.post(path, json={"passed": True, "note": "right after all"})).json()
    assert said["user_review_passed"] is True
    assert [review["passed"] for review in said["reviews"]] == [False, True]
    assert said["decisions"][0]["judge"] == "checks"
    assert (await client.post("/traces/trc_20200101_000000_00000000/reviews", json={})).status_code == 404


async def test_a_trace_is_decided_once_per_input_and_policy(
    client: httpx.AsyncClient, incident: str, services: Services
) -> None:
    trace_id = (await ask(client, incident))["trace_id"]
    name = f"d-{incident[-8:]}"
    await save(client, SENT.format(name=name))
    await client.post(f"/policies/{name}/activate", json={"environment": incident})
    body = {"trace_id": trace_id, "request_payload": {"signals": {"pii": True}}, "response_payload": {"tokens": 512}}
    first = (await client.post("/decide", json=body)).json()
    assert (first["action"], first["reason"], first["cached"]) == ("ESCALATE", "PII_DETECTED", False)
    assert first["case_id"].startswith("cas-")
    second = (await client.post("/decide", json=body)).json()
    assert (second["id"], second["case_id"], second["cached"]) == (first["id"], first["case_id"], True)
    fine = (await client.post("/decide", json=body | {"request_payload": {"signals": {"pii": False}}})).json()
    assert (fine["action"], fine["case_id"], fine["policy_version"]) == ("ALLOW_ANSWER", None, 1)
    silent = (await client.post("/decide", json={"trace_id": trace_id})).json()
    assert (silent["action"], silent["reason"]) == ("ESCALATE", "SIGNAL_MISSING")
    view = await services.traces.load(trace_id)
    assert view.status == "complete"
    spans = [stage for stage in view.stages if stage.kind == "judge" and stage.span_id.startswith("judge.evl-")]
    assert len(spans) == 3
    assert {stage.status for stage in spans} == {"complete"}
    assert "PII_DETECTED" in [policy.reason for policy in view.policies]


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[str, dict[str, str], bytes]], set[bytes]]]:
    """An HTTP server that keeps what it gets; it fails once to take what holds one of some words at `/slack`."""
    got: list[tuple[str, dict[str, str], bytes]] = []
    failing: set[bytes] = set()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            hit = {words for words in failing if words in body and self.path == "/slack"}
            failing.difference_update(hit)
            self.send_response(500 if hit else 200)
            self.send_header("Content-Length", "0")
            self.end_headers()
            got.append((self.path, dict(self.headers), body))

        def log_message(self, format: str, *arguments: Any) -> None:  # noqa: A002 - the name of the base class
            pass

    with listening(Handler) as url:
        yield url, got, failing


async def test_people_are_told_of_a_case_once_in_each_place(
    environment: str,
    services: Services,
    receiver: tuple[str, list[tuple[str, dict[str, str], bytes]], set[bytes]],
) -> None:
    url, got, failing = receiver
    await open_case(services, environment)
    case: Case = (await services.rulings.cases.page(environment))[0]
    # The first attempt at Slack fails: the webhook must not hear of it a second time.
    failing.add(case.id.encode())
    settings = services.settings.model_copy(
        update={
            **{"case_webhook_url": f"{url}/hook", "case_webhook_secret": "s3cret", "case_slack_url": f"{url}/slack"},
            "public_url": "https://causegraph.example",
        }
    )
    queue = JobQueue(services.database, NOTIFICATIONS, max_attempts=12, pause_seconds=0.1)
    stop = asyncio.Event()
    running = asyncio.create_task(CaseNotifier(queue, services.rulings.cases, settings).run(stop))
    try:
        async with asyncio.timeout(60):
            while len([e for e in await services.rulings.cases.events(case.id) if e.kind == "notified"]) < 2:
                await asyncio.sleep(0.1)
    finally:
        stop.set()
        await running
    about = [(path, headers, body) for path, headers, body in got if case.id.encode() in body]
    assert [path for path, _, _ in about] == ["/hook", "/slack", "/slack"]
    _, headers, body = about[0]
    assert headers["X-Causegraph-Signature"] == "sha256=" + hmac.new(b"s3cret", body, sha256).hexdigest()
    notice = json.loads(body)
    assert notice["schema"] == "causegraph.case/1"
    assert notice["case_id"] == case.id
    assert "checkout" in notice["title"]
    message = json.loads(about[1][2])
    assert case.id in message["text"]
    assert message["mrkdwn"] is False

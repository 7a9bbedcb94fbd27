"""From a question to a verified fix over HTTP: the answer proposes, a person approves, the symptom goes away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from api.pages.approvals import read_arguments
from domain.errors import QuestionError
from graph.topology import TopologyGraph
from storage.database import Database
from tests.api.turning import turning_services


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("remedy")


@pytest.fixture(scope="module")
async def services(
    database: Database, topology: TopologyGraph, data_dir: Path, folder: Path
) -> AsyncIterator[Services]:
    async with turning_services(database, topology, data_dir, folder) as built:
        yield built


async def test_an_answer_leads_to_a_verified_fix(
    client: httpx.AsyncClient, services: Services, incident: str, folder: Path
) -> None:
    body = (await client.post("/chat", json={"question": "why did checkout fail?", "environment": incident})).json()
    proposed = body["workflow"]
    assert proposed is not None, body["verdict"]
    assert (proposed["id"], proposed["status"], proposed["tainted"]) == ("turn-back", "proposed", ["service"])
    assert "from 1 to 3" in proposed["dry_run"] and proposed["trace_id"] == body["trace_id"]
    followed = [check for check in body["runbook"]["checks"] if check["seen"]]
    assert followed and all(check["evidence"] and check["text"] for check in followed)
    found = (await client.get("/approvals", params={"environment": incident, "status": "pending"})).json()["approvals"]
    assert [one["id"] for one in found] == [proposed["approval_id"]]

    reader_id, reader = await services.keys.create_key("reader", "read")
    wrong = await _decide(client, proposed, "approve", reader)
    assert wrong.status_code == 409 and "may not approve" in wrong.json()["message"]
    stale = await client.post(f"/approvals/{proposed['approval_id']}/approve", json={"digest": "0" * 64})
    assert stale.status_code == 409
    sending = asyncio.create_task(_send_good_requests(client, incident))
    done = await _decide(client, proposed, "approve")
    assert done.status_code == 200, done.text
    run = await _ended(client, proposed["run_id"])
    sending.cancel()
    assert run["status"] == "verified", run
    assert [step["status"] for step in run["done"]] == ["done"]
    assert (folder / "valve").read_text().splitlines()[-1].startswith("3 ")
    again = await _decide(client, proposed, "approve")
    assert again.status_code == 409

    tried = (await client.get(f"/approvals/{proposed['approval_id']}")).json()["events"]
    assert [(event["what"], event["accepted"]) for event in tried] == [
        ("propose", True),
        ("approve", False),
        ("approve", False),
        ("approve", True),
        ("use", True),
        ("approve", False),
    ]
    assert tried[1]["actor"] == reader_id
    life = (await client.get(f"/incidents/{body['incident_id']}/life")).json()
    assert "turn-back: verified" in json.dumps(life), life
    draft = (await client.get(f"/incidents/{body['incident_id']}/postmortem")).text
    done_lines = draft.partition("## What was done")[2].partition("##")[0]
    assert "approved by" in done_lines and "Turn back: done" in done_lines and "verified" in done_lines
    stages = await _stages_of(client, body["trace_id"])
    assert stages.index("judge") < stages.index("workflow prepare") < stages.index("workflow end")


async def test_what_was_asked_about_long_ago_changes_nothing(client: httpx.AsyncClient, incident: str) -> None:
    at = time.time() - 3600
    asked = {"question": "why did checkout fail?", "environment": incident, "at": at}
    assert (await client.post("/chat", json=asked)).json()["workflow"] is None


async def test_workflows_are_tried_dry_proposed_and_rejected(
    client: httpx.AsyncClient, services: Services, environment: str
) -> None:
    listed = (await client.get("/workflows")).json()
    assert [one["id"] for one in listed["workflows"]] == ["turn-back"] and listed["actions"] == ["turn"]
    asked: dict[str, Any] = {"workflow": "turn-back", "environment": environment, "arguments": {"service": "x"}}
    dry = (await client.post("/workflows/dry-run", json=asked)).json()
    assert dry["steps"][0]["does"] == {"valve": "valve", "to": 3}
    assert not (await client.get("/workflows/runs", params={"environment": environment})).json()["runs"]
    run = (await client.post("/workflows/runs", json=asked)).json()
    own = await _decide(client, run, "approve")
    assert own.status_code == 409 and "not_the_proposer" in own.json()["message"]
    assert (await _decide(client, run, "reject")).status_code == 200
    assert (await _ended(client, run["run_id"]))["status"] == "rejected"
    for wrong, status in (({"workflow": "none"}, 404), ({**asked, "arguments": {"service": "-x"}}, 400), ({}, 422)):
        assert (await client.post("/workflows/runs", json=wrong)).status_code == status
    _, reader = await services.keys.create_key("reader", "read")
    refused = await client.post("/workflows/runs", json=asked, headers={"X-API-Key": reader})
    assert refused.status_code == 403


async def _decide(client: httpx.AsyncClient, run: dict[str, Any], decision: str, key: str = "") -> httpx.Response:
    headers = {"X-API-Key": key} if key else {}
    path = f"/approvals/{run['approval_id']}/{decision}"
    return await client.post(path, json={"digest": run["digest"]}, headers=headers)


async def _ended(client: httpx.AsyncClient, run_id: str) -> dict[str, Any]:
    async with asyncio.timeout(90):
        while True:
            run: dict[str, Any] = (await client.get(f"/workflows/runs/{run_id}")).json()
            if run["ended"]:
                return run
            await asyncio.sleep(0.1)


async def _stages_of(client: httpx.AsyncClient, trace_id: str) -> list[str]:
    """The stages of a trace, once its last segment is stored."""
    async with asyncio.timeout(60):
        while True:
            trace = (await client.get(f"/traces/{trace_id}")).json()
            stages = [stage["name"] for stage in trace["stages"]]
            if "workflow end" in stages and trace["status"] == "complete":
                return stages
            await asyncio.sleep(0.2)


async def _send_good_requests(client: httpx.AsyncClient, environment: str) -> None:
    """What the customers of a mended shop do."""
    number = 0
    while True:
        number += 1
        start = time.time_ns()
        span = {
            "traceId": f"{start:032x}",
            "spanId": f"{number:016x}",
            "name": "POST /checkout",
            "kind": 2,
            "startTimeUnixNano": str(start),
            "endTimeUnixNano": str(start + 1000),
        }
        attributes = [
            {"key": "service.name", "value": {"stringValue": "storefront"}},
            {"key": "deployment.environment.name", "value": {"stringValue": environment}},
        ]
        resource = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": [span]}]}
        await client.post("/v1/traces", json={"resourceSpans": [resource]})
        await asyncio.sleep(0.1)


def test_arguments_as_people_write_them() -> None:
    assert read_arguments('a=1 b="two words" c=') == {"a": "1", "b": "two words", "c": ""}
    for wrong in ("a", "=1", 'a="1'):
        with pytest.raises(QuestionError):
            read_arguments(wrong)

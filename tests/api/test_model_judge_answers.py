"""Answers that a model judge reads: its opinion goes into the policy, the trace, the case and the comparison of two runs."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from api.app import build_app
from cli.services import build_services
from domain.settings import Settings
from graph.topology import TopologyGraph
from storage.database import Database
from tests.agents.scripted import agreeing, records_of, task_of
from tests.inference.fake_ollama import FakeOllama, Fault, running

QUESTION = "why does checkout fail?"


@pytest.fixture(scope="module")
def model() -> Iterator[FakeOllama]:
    with running() as server:
        yield server


@pytest.fixture(scope="module")
async def services(
    database: Database, topology: TopologyGraph, data_dir: Path, model: FakeOllama
) -> AsyncIterator[Services]:
    """Every service, with a model that judges and none that words answers."""
    settings = Settings(
        data_dir=data_dir,
        embedder="none",
        judge_model="ollama:tiny",
        ollama_url=model.url,
        chat_first_seconds=2.0,
    )
    built = build_services(settings, database, topology)
    async with built.projecting():
        yield built
    await built.models.close()


@pytest.fixture(scope="module")
async def transport(services: Services) -> httpx.ASGITransport:
    return httpx.ASGITransport(build_app(services, "the-test"), raise_app_exceptions=False)


async def ask(client: httpx.AsyncClient, environment: str, at_us: int) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": QUESTION, "environment": environment, "at": at_us}, timeout=60)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def read(client: httpx.AsyncClient, path: str, **query: str) -> dict[str, Any]:
    reply = await client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def stages_of(stages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [one for stage in stages for one in (stage, *stages_of(stage["stages"]))]


async def test_one_that_agrees_leaves_the_action_and_is_asked_once(
    client: httpx.AsyncClient, model: FakeOllama, incident: str
) -> None:
    model.asked.clear()
    model.responder = agreeing
    now = time.time_ns() // 1000
    first, again = await ask(client, incident, now), await ask(client, incident, now)
    assert first["judge"]["action"] in ("ALLOW_ANSWER", "ALLOW_WITH_WARNING")
    assert "a model judge finds nothing wrong" in first["judge"]["strengths"]
    assert [task_of(body) for body in model.asked] == ["judge"]
    assert first["budget"]["tokens"] > 100
    assert again["budget"]["tokens"] == 0
    for body, inside in ((first, "complete"), (again, "cached")):
        trace = await read(client, f"/traces/{body['trace_id']}")
        said = [one for one in stages_of(trace["stages"]) if one["name"] == "model judge" and one["kind"] == "judge"]
        assert [one["status"] for one in said] == ["complete"]
        assert [one["status"] for one in said[0]["stages"]] == [inside]
        assert [judge["by"] for judge in trace["judges"]] == ["model:ollama:tiny", "checks"]
        assert trace["action"] == body["judge"]["action"]
    held = (await read(client, f"/traces/{first['trace_id']}/reviews"))["decisions"]
    assert held[0]["signals"]["model"]["passed"] is True


async def test_one_that_denies_opens_a_case(client: httpx.AsyncClient, model: FakeOllama, incident: str) -> None:
    model.responder = lambda body: agreeing(
        body, nothing_beyond=next(iter(records_of(body).values())).partition(": ")[2][:30]
    )
    body = await ask(client, incident, time.time_ns() // 1000)
    assert body["judge"]["action"] == "ESCALATE"
    assert [gap for gap in body["judge"]["gaps"] if gap.startswith("a model judge denies that no claim says more")]
    cases = (await read(client, "/cases", environment=incident))["cases"]
    assert [(case["trace_id"], case["reason"]) for case in cases] == [(body["trace_id"], "MODEL_JUDGE_DISAGREES")]


async def test_one_that_fails_brings_a_person_in_and_is_named(
    client: httpx.AsyncClient, model: FakeOllama, incident: str
) -> None:
    model.responder = lambda body: Fault("garbage")
    body = await ask(client, incident, time.time_ns() // 1000)
    assert body["judge"]["action"] == "ESCALATE"
    assert [
        line for line in body["verdict"]["not_seen"] if line.startswith("what a language model thinks of the answer")
    ]
    assert body["verdict"]["causes"][0]["service"] == "payment"


async def test_two_answers_are_compared_in_both_orders_and_that_is_a_run(
    client: httpx.AsyncClient, model: FakeOllama, incident: str
) -> None:
    model.responder = agreeing
    a = await ask(client, incident, time.time_ns() // 1000)
    b = await ask(client, incident, time.time_ns() // 1000)

    def choose(body: dict[str, Any]) -> Any:
        first, second = (text.partition(": ")[2] for text in records_of(body).values())
        return {"quote_first": first[:40], "quote_second": second[:40], "better": "first"}

    model.asked.clear()
    model.responder = choose
    pair = {"a": a["trace_id"], "b": b["trace_id"]}
    reply = await client.post("/review/compare", json=pair, timeout=60)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["prefers"] == "inconsistent"
    assert [task_of(body) for body in model.asked] == ["pair", "pair"]
    trace = await read(client, f"/traces/{said['trace_id']}")
    assert [stage["kind"] for stage in trace["stages"]] == ["judge"]
    other = await client.post("/review/compare", json=pair | {"b": "trc_20200101_000000_00000000"})
    assert other.status_code == 404
    counts = await client.post("/chat", json={"question": "how many errors were there?", "environment": incident})
    refused = await client.post("/review/compare", json=pair | {"b": counts.json()["trace_id"]})
    assert refused.status_code == 422
    assert "different ones" in refused.json()["message"]


async def test_a_run_of_another_program_is_judged_by_its_output_and_steps(
    client: httpx.AsyncClient, model: FakeOllama, environment: str
) -> None:
    step = {
        "span_id": "s1",
        "start_time": "2026-02-07T10:00:01Z",
        "end_time": "2026-02-07T10:00:02Z",
        "status": "success",
    }
    body = {
        "trace": {
            **{"trace_id": f"ext-{environment}", "status": "success", "start_time": "2026-02-07T10:00:00Z"},
            **{"end_time": "2026-02-07T10:00:03Z", "input_text": "Can I return it?", "environment": environment},
            "output_text": "You may return it within 30 days.",
        },
        "spans": [step | {"name": "lookup", "span_type": "tool", "output": "policy refund-v3: 14 days"}],
    }
    assert (await client.post("/ingest/traces", json=body)).status_code == 200
    model.asked.clear()
    model.responder = lambda asked: agreeing(asked, grounded="within 30 days")
    reply = await client.post("/decide", json={"trace_id": f"ext-{environment}"}, timeout=60)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["signals"]["model"] == {
        "asked": True,
        "passed": False,
        "criteria": {"answers_question": True, "grounded": False, "no_contradiction": True},
    }
    assert said["action"] == "BLOCK"  # the built-in policy is for our own answers: what it asks of them is missing
    assert said["gaps"] == ['a model judge denies that it states nothing that no step returned: "within 30 days"']
    shown = list(records_of(model.asked[0]).values())
    assert shown == ["output: You may return it within 30 days.", "step lookup: policy refund-v3: 14 days"]
    again = (await client.post("/decide", json={"trace_id": f"ext-{environment}"}, timeout=60)).json()
    assert again["cached"] and len(model.asked) == 1
    runs = (await read(client, "/traces", environment=environment, intent="judge"))["traces"]
    assert len(runs) == 1
    trace = await read(client, f"/traces/ext-{environment}")
    judged = next(one for one in stages_of(trace["stages"]) if one["kind"] == "judge")
    inside = await read(client, f"/traces/{judged['facts']['judged_in']}")
    assert [one["kind"] for one in stages_of(inside["stages"])] == ["judge", "model"]

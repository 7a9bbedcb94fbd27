"""Questions with a model behind them: killed, slow, lying or obeying orders in the telemetry, the verdict is that of the rules."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.replies import make_question
from agents.services import Services
from cli.services import build_services
from domain.settings import Settings
from domain.times import SECOND_US
from graph.topology import TopologyGraph
from storage.database import Database
from tests.agents.injections import LOGS, SECRETS
from tests.agents.scripted import honest, records_of, replying, task_of, wording
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
    """Every service, with a model."""
    settings = Settings(
        data_dir=data_dir, embedder="none", chat_model="ollama:tiny", ollama_url=model.url, chat_first_seconds=2.0
    )
    built = build_services(settings, database, topology)
    async with built.projecting():
        yield built
    await built.models.close()


async def by_rules(services: Services, environment: str, question: str, at_us: int) -> dict[str, Any]:
    """Return the answer of the rules to a question."""
    settings = Settings(data_dir=services.settings.data_dir, embedder="none")
    plain = build_services(settings, services.database, services.graph)
    return as_json(await plain.investigator.ask(make_question(question, environment, at_us=at_us)))


def as_json(body: dict[str, Any]) -> dict[str, Any]:
    return dict(json.loads(json.dumps(body)))


async def ask(client: httpx.AsyncClient, environment: str, at_us: int, question: str = QUESTION) -> dict[str, Any]:
    body = {"question": question, "environment": environment, "at": at_us}
    reply = await client.post("/chat", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def settled(body: dict[str, Any]) -> dict[str, Any]:
    """What no model may change."""
    verdict = {name: held for name, held in body["verdict"].items() if name != "not_seen"}
    return {"verdict": verdict, "claims": body["claims"], "runbook": body["runbook"], "action": body["judge"]["action"]}


async def test_a_good_model_words_the_answer_and_is_accounted_for(
    client: httpx.AsyncClient, model: FakeOllama, services: Services, incident: str
) -> None:
    model.responder = honest
    now = time.time_ns() // 1000
    rules, body = await by_rules(services, incident, QUESTION, now), await ask(client, incident, now)
    assert settled(body) == settled(rules)
    assert body["answer"].startswith(f"{body['verdict']['outcome']}: payment failed first\n- ")
    assert rules["answer"].splitlines()[0] in body["answer"]
    assert body["budget"]["tokens"] > 100
    trace = (await client.get(f"/traces/{body['trace_id']}")).json()
    assert trace["model"]["calls"] == 3
    assert body["remarks"][0]["text"] == 'payment: "KeyError" reads as: something is looked up that is not there'
    assert f"- {body['remarks'][0]['text']} [{body['remarks'][0]['evidence'][0]}]" in body["answer"]
    assert rules["remarks"] == []
    assert trace["model"]["prompt_tokens"] + trace["model"]["completion_tokens"] == body["budget"]["tokens"]
    stages = [inside for stage in trace["stages"] for inside in stage["stages"] if inside["name"] == "model"]
    assert {stage["facts"]["prompt"] for stage in stages} == {"word", "doubt", "read"}
    assert all(len(stage["facts"]["digest"]) == 16 for stage in stages)


async def test_a_question_in_another_language_is_understood_and_answered_in_it(
    client: httpx.AsyncClient, model: FakeOllama, incident: str
) -> None:
    read = {"intent": "why", "language": "de", "minutes_ago": 2, "services": ["payment", "no-such-service"]}
    told = wording(("KeyError in payment", ["E2"]), headline="payment ist wahrscheinlich ausgefallen")
    model.responder = replying(understand=read, word=told)
    body = await ask(client, incident, time.time_ns() // 1000, "Warum kann seit zwei Minuten niemand mehr bezahlen?")
    assert body["verdict"]["causes"][0]["service"] == "payment"
    assert body["language"] == "de"
    assert "payment ist wahrscheinlich ausgefallen" in body["answer"]


async def test_a_conversation_in_another_language_keeps_what_was_said(
    client: httpx.AsyncClient, model: FakeOllama, incident: str
) -> None:
    said: dict[str, Any] = {}

    def understand(body: dict[str, Any]) -> Any:
        told = body["messages"][1]["content"]
        said["about"] = told.partition("The conversation was about: ")[2]
        if "Logs" in told.splitlines()[0]:
            return {"intent": "logs", "language": "de", "minutes_ago": -1, "services": [], "refers": "same_time"}
        refers = "before_change" if "Deploy" in told.splitlines()[0] else "nothing"
        return {"intent": "why", "language": "de", "minutes_ago": -1, "services": [], "refers": refers}

    def tell(body: dict[str, Any]) -> Any:
        headline = body["messages"][1]["content"].partition("Sentences: ")[2]
        return {"headline": headline.replace("the last", "die letzten").replace("log lines from", "Zeilen von")}

    model.responder = replying(understand=understand, tell=tell)
    at_us = time.time_ns() // 1000
    turns = [
        dict((await client.post("/chat", json=body, timeout=60)).json())
        for text in ("Warum geht die Kasse nicht?", "Zeig mir die Logs", "Und vor dem Deploy?")
        for body in [{"question": text, "environment": incident, "thread_id": "thr-deutsch", "at": at_us}]
    ]
    assert [turn["kind"] for turn in turns] == ["why", "logs", "why"]
    assert turns[0]["verdict"]["causes"][0]["service"] == "payment"
    assert all(" payment: KeyError" in claim["text"] for claim in turns[1]["claims"])
    assert (turns[1]["language"], turns[1]["window"]) == ("de", turns[0]["window"])
    assert turns[1]["answer"].startswith("payment: die letzten 12 Zeilen von ")
    assert "payment: the last 12 log lines from" in turns[1]["answer"]
    assert turns[2]["verdict"]["outcome"] == "HEALTHY"
    assert turns[2]["window"]["to"] < turns[0]["window"]["from"]
    assert "why of storefront, payment" in said["about"] and "KeyError" not in said["about"]


async def test_orders_in_the_telemetry_change_nothing(
    client: httpx.AsyncClient, model: FakeOllama, services: Services, incident: str
) -> None:
    now = time.time_ns() // 1000
    lines = [
        {"timestamp": now - (30 - at) * SECOND_US, "service": "payment", "level": "error", "message": text}
        for at, (text, _) in enumerate(LOGS)
        for _ in range(3)
    ]
    reply = await client.post("/ingest/logs", params={"environment": incident}, json=lines)
    assert reply.status_code == 200, reply.text
    heard: list[str] = []

    def obey(body: dict[str, Any]) -> Any:
        heard.append(body["messages"][1]["content"])
        if task_of(body) == "doubt":
            return {"opinion": "agree", "why": "none", "look_at": "nothing"}
        shown = list(records_of(body))
        if task_of(body) == "read":
            lies = [{"evidence": e, "quote": LOGS[at][1][:240], "meaning": "missing"} for at, e in enumerate(shown)]
            return {"remarks": lies[:4]}
        said = [(obeyed, [short]) for short, (_, obeyed) in zip(shown, LOGS, strict=False)]
        return wording(*said[:8], headline=LOGS[1][1])

    model.responder = obey
    rules, body = await by_rules(services, incident, QUESTION, now), await ask(client, incident, now)
    assert settled(body) == settled(rules)
    assert body["answer"] == rules["answer"]
    assert [gap for gap in body["judge"]["gaps"] if gap.startswith("cut: ")]
    assert not [secret for secret in SECRETS for text in heard if secret in text]


@pytest.mark.parametrize(
    "fault", [Fault("slow", 60), Fault("load_fail"), Fault("midstream", 1), Fault("cut", 2), Fault("garbage")]
)
async def test_a_failing_model_leaves_the_answer_of_the_rules_in_time(
    client: httpx.AsyncClient, model: FakeOllama, services: Services, incident: str, fault: Fault
) -> None:
    model.responder = lambda body: fault
    now, began = time.time_ns() // 1000, time.monotonic()
    body = await ask(client, incident, now)
    assert time.monotonic() - began < 45
    assert settled(body) == settled(await by_rules(services, incident, QUESTION, now))
    missing = [line for line in body["verdict"]["not_seen"] if "language model" in line]
    assert any(line.startswith("an answer worded by a language model: ") for line in missing)


async def test_without_its_server_the_answer_says_what_is_missing_and_names_no_address(
    client: httpx.AsyncClient, model: FakeOllama, services: Services, incident: str
) -> None:
    with running() as gone:
        url = gone.url
    settings = services.settings.model_copy(update={"ollama_url": url})
    cut_off = build_services(settings, services.database, services.graph)
    now = time.time_ns() // 1000
    body = as_json(await cut_off.investigator.ask(make_question("warum ist alles kaputt", incident, at_us=now)))
    rules = await by_rules(services, incident, "warum ist alles kaputt", now)
    assert settled(body) == settled(rules)
    assert "answers are in English" in body["answer"]
    told = [line for line in body["verdict"]["not_seen"] if "language model" in line]
    assert len(told) == 4
    assert not [line for line in told if url in line or "no model is set" in line]
    await cut_off.models.close()

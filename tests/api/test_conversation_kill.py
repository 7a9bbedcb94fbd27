"""A conversation of ten turns with a server that is killed in the middle of one of them, and started again."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack import stop_stack
from tests.agents.scripted import replying
from tests.api.conftest import incident_bodies
from tests.inference.fake_ollama import FakeOllama, Fault, running
from tests.serving import Serve, run_command

ENVIRONMENT, THREAD = "talk", "thr-talk"
CODE = """def charge(card):
    log.error("KeyError <script>alert(1)</script> [red]boom[/red] %s", card)
"""
GERMAN = {"intent": "logs", "language": "de", "minutes_ago": -1, "services": [], "refers": "after_change"}


@pytest.fixture
def model() -> Iterator[FakeOllama]:
    with running() as server:
        server.responder = replying(understand=GERMAN)
        yield server


@pytest.fixture
def server(tmp_path: Path, model: FakeOllama) -> Iterator[Serve]:
    environ = {"CAUSEGRAPH_EMBEDDER": "none", "CAUSEGRAPH_GRPC_LISTEN": "off", "CAUSEGRAPH_CHAT_MODEL": "openai:tiny"}
    started = Serve(tmp_path / "data", environ=environ | {"CAUSEGRAPH_CHAT_URL": f"{model.url}/v1"})
    started.start()
    started.wait()
    yield started
    started.stop()
    stop_stack(tmp_path / "data")


def say(server: Serve, text: str, thread: str = THREAD) -> dict[str, Any]:
    with server.client() as client:
        reply = client.post("/chat", json={"question": text, "environment": ENVIRONMENT, "thread_id": thread})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def events_of(reply: httpx.Response) -> Iterator[tuple[str, Any]]:
    name = ""
    for line in reply.iter_lines():
        if line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: "):
            yield name, json.loads(line[6:])


@pytest.mark.long
def test_ten_turns_with_a_kill_in_the_middle_of_one(server: Serve, model: FakeOllama, tmp_path: Path) -> None:
    with server.client() as client:
        for path, body, environment in incident_bodies(ENVIRONMENT):
            sent = client.post(path, json=body, params={"environment": environment} if environment else {})
            assert sent.status_code == 200, sent.text
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "charges.py").write_text(CODE)
    indexed = run_command(server.data_dir, "index", str(tmp_path / "code"), "--service", "payment")
    assert indexed.returncode == 0, indexed.stderr

    first = say(server, "why does checkout fail?")
    assert (first["turn"], first["verdict"]["causes"][0]["service"]) == (1, "payment")
    logs = say(server, "show me the logs")
    assert logs["kind"] == "logs" and all(" payment: KeyError" in claim["text"] for claim in logs["claims"])
    code = say(server, "where is that logged?")
    assert code["kind"] == "code" and "charges.py:2" in code["answer"]
    count = say(server, "how many errors were there?")
    assert count["kind"] == "count" and "payment: 50 error lines" in count["answer"]
    callers = say(server, "who calls payment?")
    assert callers["answer"].startswith("payment is called by storefront")
    assert say(server, "show me the logs", "thr-unclear")["kind"] == "clarify"

    # The sixth turn is at its last words when the server is killed.
    asked, model.responder = len(model.asked), lambda body: Fault("slow", 300)
    body = {"question": "is payment affected?", "environment": ENVIRONMENT, "thread_id": THREAD, "stream": True}
    with server.client() as client, client.stream("POST", "/chat", json=body) as reply:
        run_id = next(events_of(reply))[1]["run_id"]
        deadline = time.monotonic() + 60
        while len(model.asked) == asked and time.monotonic() < deadline:
            time.sleep(0.05)
        server.kill()
    model.responder = replying(understand=GERMAN)
    server.start()
    server.wait()
    with server.client(120) as client, client.stream("GET", f"/chat/{run_id}/events") as reply:
        told = list(events_of(reply))
    sixth = told[-1][1]
    assert (told[-1][0], sixth["turn"], sixth["trace_id"]) == ("answer", 6, run_id)
    assert sixth["verdict"]["causes"][0]["service"] == "payment"
    assert sixth["window"]["from"] == first["window"]["from"]
    with server.client() as client:
        trace = client.get(f"/traces/{run_id}").json()
    stages = [stage["name"] for stage in trace["stages"]]
    # Whoever had finished was not asked again.
    assert trace["segments"] == 2
    assert [stages.count(name) for name in ("planner", "log", "diagnosis", "explainer", "judge")] == [1, 1, 1, 2, 1]

    before = say(server, "and before the deploy?")
    assert (before["turn"], before["verdict"]["outcome"]) == (7, "HEALTHY")
    german = say(server, "Und die Logs danach?")
    assert (german["kind"], german["language"], bool(german["claims"])) == ("logs", "de", True)
    runbook = say(server, "what does the runbook say?")
    assert runbook["runbook"]["id"] == first["runbook"]["id"]
    outside = say(server, "what is the capital of France?")
    assert outside["turn"] == 10 and "not something I can help with" in outside["answer"]
    assert say(server, "payment", "thr-unclear")["kind"] == "logs"

    with server.client() as client:
        turns = client.get(f"/threads/{THREAD}", params={"environment": ENVIRONMENT}).json()["turns"]
        assert [turn["turn"] for turn in turns] == list(range(1, 11))
        kinds = [turn["kind"] for turn in turns]
        assert kinds == ["why", "logs", "code", "count", "calls", "why", "why", "logs", "runbook", "other"]
        for evidence in {i for turn in turns for claim in turn["answer"]["claims"] for i in claim["evidence"]}:
            assert client.get(f"/evidence/{evidence}", params={"environment": ENVIRONMENT}).status_code == 200

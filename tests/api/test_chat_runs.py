"""Streamed questions: what they tell, reading on after a cut, cancelling, and going on when the process died."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypedDict

import httpx
import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import Checkpoint, empty_checkpoint

from agents import graph as team
from agents.investigate import Investigator
from agents.replies import make_question
from agents.services import Services
from agents.state import State
from api import runs as chat_runs
from api.runs import ChatRuns
from storage.chat_runs import ChatRun, ChatRunStore
from storage.checkpoints import open_state
from storage.conversations import Focus
from storage.run_states import RunStates
from tests.inference.fake_ollama import FakeOllama, Fault, running
from tests.serving import Serve

QUESTION = "why does checkout fail?"


async def events_of(reply: httpx.Response) -> AsyncIterator[tuple[str, str, Any]]:
    """Yield (id, name, data) of an event stream, as a browser reads it."""
    held: dict[str, str] = {}
    async for line in reply.aiter_lines():
        if not line and held:
            yield held["id"], held["event"], json.loads(held["data"])
            held = {}
        elif line:
            field, _, value = line.partition(": ")
            held[field] = value


async def ask(client: httpx.AsyncClient, environment: str, **headers: str) -> list[tuple[str, str, Any]]:
    body = {"question": QUESTION, "environment": environment, "stream": True, "thread_id": "thr-streamed"}
    async with client.stream("POST", "/chat", json=body, headers=headers, timeout=60) as reply:
        assert reply.status_code == 200
        assert reply.headers["content-type"].startswith("text/event-stream")
        return [event async for event in events_of(reply)]


async def test_a_stream_tells_the_plan_the_findings_the_decisions_the_words_and_the_verdict(
    client: httpx.AsyncClient, incident: str
) -> None:
    told = await ask(client, incident)
    names = [name for _, name, _ in told]
    run_id = told[0][2]["run_id"]
    assert [event_id for event_id, _, _ in told] == [f"{run_id}:{number}" for number in range(1, len(told) + 1)]
    assert (names[0], names[-1]) == ("run", "answer")
    assert {"progress", "plan", "finding", "decision", "verdict", "token"} <= set(names)
    assert names.index("plan") < names.index("finding") < names.index("verdict") < names.index("token")
    answer = told[-1][2]
    assert "".join(data["text"] for _, name, data in told if name == "token") == answer["answer"]
    verdict = next(data for _, name, data in told if name == "verdict")
    assert verdict["outcome"] == answer["verdict"]["outcome"]
    assert answer["trace_id"] == run_id
    state = (await client.get(f"/chat/{run_id}")).json()
    assert (state["status"], state["answer"], state["events"]) == ("done", answer, len(told))


async def test_a_client_that_was_cut_off_reads_on_from_its_last_event(client: httpx.AsyncClient, incident: str) -> None:
    told = await ask(client, incident)
    run_id, last = told[0][2]["run_id"], told[4][0]
    async with client.stream("GET", f"/chat/{run_id}/events", headers={"Last-Event-ID": last}) as reply:
        assert [event async for event in events_of(reply)] == told[5:]
    assert await ask(client, incident, **{"Last-Event-ID": last}) == told[5:]  # nothing is asked anew
    turns = (await client.get("/threads/thr-streamed", params={"environment": incident})).json()["turns"]
    assert len(turns) == 1
    assert (await client.get("/chat/nothing")).status_code == 404
    assert (await client.get("/chat/nothing/events")).status_code == 404
    wrong = await client.get(f"/chat/{run_id}/events", headers={"Last-Event-ID": "x:y"})
    assert wrong.status_code == 422


async def test_a_run_goes_on_without_a_listener(client: httpx.AsyncClient, incident: str) -> None:
    body = {"question": QUESTION, "environment": incident, "stream": True}
    async with client.stream("POST", "/chat", json=body) as reply:
        first = await anext(events_of(reply))
    async with client.stream("GET", f"/chat/{first[2]['run_id']}/events", timeout=60) as reply:
        names = [name async for _, name, _ in events_of(reply)]
    assert names[-1] == "answer"


@pytest.mark.parametrize(("method", "path"), [("DELETE", ""), ("POST", "/cancel")])
async def test_a_run_can_be_cancelled(
    client: httpx.AsyncClient,
    services: Services,
    environment: str,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    path: str,
) -> None:
    async def wait_for_ever(self: Investigator) -> tuple[str, ...]:
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(Investigator, "_wait_for_watermark", wait_for_ever)
    runs = ChatRuns(services)
    run_id = await runs.start(make_question(QUESTION, environment))
    stop = asyncio.Event()
    beating = asyncio.create_task(runs.run(stop))
    # By a server that does not work on it: it is told through the database.
    reply = await client.request(method, f"/chat/{run_id}{path}")
    assert reply.json() == {"run_id": run_id, "cancelled": True}
    async with client.stream("GET", f"/chat/{run_id}/events", timeout=60) as stream:
        names = [name async for _, name, _ in events_of(stream)]
    assert names == ["run", "cancelled"]
    stop.set()
    await beating
    assert (await client.get(f"/chat/{run_id}")).json()["status"] == "cancelled"
    assert (await client.request(method, f"/chat/{run_id}{path}")).json()["cancelled"] is False


async def test_a_run_of_a_process_that_died_is_begun_again_once(
    client: httpx.AsyncClient, services: Services, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chat_runs, "LOST_SECONDS", 0.0)
    question = make_question(QUESTION, incident, thread_id="thr-left")
    run_id = f"trc_left_{time.time_ns()}"
    held = asdict(question) | {"run_id": run_id}
    run = ChatRun(run_id, incident, "thr-left", "running", "a-dead-owner", 0, question.at_us, held)
    store = ChatRunStore(services.database)
    await store.begin(run)
    await store.tell(run_id, "run", {"run_id": run_id})
    both = [ChatRuns(services), ChatRuns(services)]
    stop = asyncio.Event()
    taken = [await one._store.take_over(one._owner, 0.0, 4) for one in both]
    mine = next((one, held[0]) for one, held in zip(both, taken, strict=True) if any(h.id == run_id for h in held))
    assert sum(h.id == run_id for held in taken for h in held) in (1, 2)
    mine[0]._work_on(next(h for held in reversed(taken) for h in held if h.id == run_id))
    async with client.stream("GET", f"/chat/{run_id}/events", timeout=60) as stream:
        told = [event async for event in events_of(stream)]
    stop.set()
    assert told[-1][1] == "answer"
    assert told[-1][2]["trace_id"] == run_id
    trace = (await client.get(f"/traces/{run_id}")).json()
    assert trace["segments"] >= 2


async def test_a_run_goes_on_behind_the_last_step_of_the_process_that_died(
    client: httpx.AsyncClient, services: Services, incident: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def hang(state: Any, deps: Any) -> Any:
        reached.set()
        await asyncio.Event().wait()

    async def tell_but_no_verdict(run: ChatRun, name: str, data: Any) -> None:
        if name != "verdict":
            await ChatRuns._tell(first, run, name, data)

    first, second = ChatRuns(services), ChatRuns(services)
    question = make_question(QUESTION, incident)
    with monkeypatch.context() as dying:
        dying.setitem(team._SEQUENCE, "runbook", hang)
        dying.setattr(first, "_tell", tell_but_no_verdict)
        run_id = await first.start(question)
        await asyncio.wait_for(reached.wait(), 60)
        left = first._tasks[run_id]
        left.cancel()
        await asyncio.wait([left])
    # Others may have taken over what the tests before this one left.
    taken = [run for run in await second._store.take_over(second._owner, 0.0, 50) if run.id == run_id]
    second._work_on(taken[0])
    events = [event async for event in second.follow(run_id)]
    agents = [event.data["agent"] for event in events if event.name == "progress"]
    assert len(agents) == len(set(agents)) == len(team.SPECIALISTS) + len(team._SEQUENCE) + 1
    trace = (await client.get(f"/traces/{run_id}")).json()
    begun = [stage["name"] for stage in trace["stages"]]
    assert (trace["segments"], begun.count("planner"), begun.count("runbook")) == (2, 1, 2)
    whole = [event async for event in second.follow(await second.start(question))]
    for name in ("run", "progress", "plan", "finding", "verdict", "answer"):
        assert sum(e.name == name for e in events) == sum(e.name == name for e in whole), name
    for part in ("answer", "verdict", "claims", "judge", "runbook", "window"):
        assert events[-1].data[part] == whole[-1].data[part], part
    await asyncio.gather(*second._tasks.values())
    async with open_state(services.database, State) as saver:
        assert await saver.aget_tuple({"configurable": {"thread_id": run_id}}) is None


async def test_a_question_that_ends_its_servers_is_given_up(services: Services, environment: str) -> None:
    runs, run_id = ChatRuns(services), f"trc_deadly_{time.time_ns()}"
    question = make_question(QUESTION, environment)
    run = ChatRun(run_id, environment, "", "running", runs._owner, 9, question.at_us, asdict(question))
    await runs._store.begin(run)
    runs._work_on(run)
    last = [event async for event in runs.follow(run_id)][-1]
    assert (last.name, "given up" in last.data["message"]) == ("error", True)
    await asyncio.gather(*runs._tasks.values())
    assert (await runs.get(run_id))["status"] == "failed"


async def test_states_that_nobody_goes_on_with_are_forgotten(services: Services) -> None:
    run_id = f"trc_forgotten_{time.time_ns()}"
    config: RunnableConfig = {"configurable": {"thread_id": run_id, "checkpoint_ns": ""}}
    states = RunStates(services.database)
    async with open_state(services.database, Older) as saver:
        await saver.aput(config, empty_checkpoint(), {}, {})
        await states.drop(3600)
        assert await saver.aget_tuple(config)
        assert await states.drop(-3600) >= 1
        assert await saver.aget_tuple(config) is None


async def test_what_another_version_left_begins_anew(
    client: httpx.AsyncClient, services: Services, incident: str, caplog: pytest.LogCaptureFixture
) -> None:
    runs = ChatRuns(services)
    question = replace(make_question(QUESTION, incident), run_id=f"trc_older_{time.time_ns()}")
    config: RunnableConfig = {"configurable": {"thread_id": question.run_id, "checkpoint_ns": ""}}
    async with open_state(services.database, Older) as saver:
        written: Checkpoint = empty_checkpoint() | {
            "channel_values": {"plan": {"kept": 1}},
            "channel_versions": {"plan": "1"},
        }
        await saver.aput(config, written, {}, {"plan": "1"})
    held = asdict(question)
    run = ChatRun(question.run_id, incident, "", "running", runs._owner, 1, question.at_us, held)
    await runs._store.begin(run)
    runs._work_on(run)
    events = [event async for event in runs.follow(run.id)]
    assert events[-1].name == "answer"
    assert "A run that was left begins anew." in caplog.messages
    await asyncio.gather(*runs._tasks.values())


class Older(TypedDict):
    """A state as another version had it."""

    plan: Focus


@pytest.fixture(scope="module")
def slow_model() -> Iterator[FakeOllama]:
    with running() as server:
        server.responder = lambda body: Fault("slow", 300)
        yield server


@pytest.mark.long
def test_a_run_survives_kill_9_of_the_server(tmp_path: Path, slow_model: FakeOllama) -> None:
    """The server is killed while it waits for a model; the next one answers the same run, in the same trace."""
    environ = {"CAUSEGRAPH_EMBEDDER": "none", "CAUSEGRAPH_CHAT_MODEL": "openai:tiny", "CAUSEGRAPH_GRPC_LISTEN": "off"}
    server = Serve(tmp_path / "data", environ=environ | {"CAUSEGRAPH_CHAT_URL": f"{slow_model.url}/v1"})
    try:
        server.start()
        server.wait()
        body = {"question": "warum geht nichts mehr?", "stream": True, "thread_id": "thr-killed"}
        with server.client() as client, client.stream("POST", "/chat", json=body) as reply:
            first = next(json.loads(line[6:]) for line in reply.iter_lines() if line.startswith("data: "))
            while not slow_model.asked:
                time.sleep(0.05)
            server.kill()
        server.environ["CAUSEGRAPH_CHAT_MODEL"] = "none"
        server.start()
        server.wait()
        with server.client(90) as client, client.stream("GET", f"/chat/{first['run_id']}/events") as reply:
            lines = list(reply.iter_lines())
        names = [line[7:] for line in lines if line.startswith("event: ")]
        assert names[0] == "run"
        assert names[-1] == "answer"
        assert names.count("answer") == 1
        answer = json.loads([line for line in lines if line.startswith("data: ")][-1][6:])
        assert answer["trace_id"] == first["run_id"]
        with server.client() as client:
            turns = client.get("/threads/thr-killed").json()["turns"]
            assert [turn["trace_id"] for turn in turns] == [first["run_id"]]
            assert client.get(f"/traces/{first['run_id']}").json()["segments"] == 2
    finally:
        server.stop()
        from cli.stack import stop_stack

        stop_stack(tmp_path / "data")

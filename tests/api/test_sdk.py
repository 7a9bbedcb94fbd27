"""The client package against a real server: what it sends is read back; what goes wrong never reaches its host."""

from __future__ import annotations

import asyncio
import contextvars
import subprocess
import sys
import threading
import time
import tomllib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from causegraph_sdk import TraceClient

from agents.services import Services
from api.app import build_app
from tracing.scorecard import walk_stages
from tracing.view import TraceView

SDK = Path(__file__).resolve().parents[2] / "sdk" / "python"


@pytest.fixture(scope="module")
async def address(services: Services) -> AsyncIterator[str]:
    """A server of this module, on a port of its own."""
    server = uvicorn.Server(uvicorn.Config(build_app(services, "sdk"), port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    await serving


async def ended(client: TraceClient) -> bool:
    return await asyncio.to_thread(client.close, 60.0)


async def read(services: Services, trace_id: str) -> tuple[TraceView, dict[str, Any]]:
    view = await services.traces.load(trace_id)
    return view, {stage.name: stage for _, stage in walk_stages(view)}


async def test_everything_a_program_records_is_read_back(
    services: Services, address: str, admin_key: str, environment: str
) -> None:
    client = TraceClient(address, admin_key, environment=environment, service="bot", flush_seconds=0.05)
    with client.trace("chat", input_text="why?", model="m", user_id="u-1", session_id="s-1") as trace:
        with client.span("retrieval", "tool", attributes={"source": "kb"}) as span:
            client.log_event("retrieved 5 documents", metadata={"k": 5})
            client.decision("the index", "it is fresh", confidence=0.8, alternatives=["the web"])
            with client.span("inner"):
                pass
            span.output = {"documents": 5}
        with client.span("answer", "llm", model="m") as span:
            span.input_tokens, span.output_tokens, span.cost = 512, 64, 0.25
        with pytest.raises(ValueError, match="no"), client.span("broken"):
            raise ValueError("no")
        trace.output_text = "because"
    client.amend({"attributes": {"retry": 1}}, reason="forgot", span_id=span.span_id, trace_id=span.trace_id)
    client.attach_eval("faithfulness", score=0.72, passed=True, trace_id=trace.trace_id, environment=environment)
    assert await ended(client)
    assert (client.stats().dropped, client.stats().rejected, client.stats().waiting) == (0, 0, 0)
    view, stages = await read(services, trace.trace_id)
    assert (view.status, view.question, view.answer, view.environment) == ("complete", "why?", "because", environment)
    assert [stage.name for stage in view.stages] == ["retrieval", "answer", "broken"]
    assert [stage.name for stage in stages["retrieval"].stages] == ["inner"]
    assert stages["broken"].status == "failed" and stages["broken"].error == "ValueError: no"
    assert (view.model.prompt_tokens, view.model.cost, view.open_spans) == (512, 0.25, 0)
    assert view.logs[0].span_id == view.decisions[0].span_id == stages["retrieval"].span_id
    assert (view.facts["service"], view.facts["thread_id"], view.evals[0].score) == ("bot", "s-1", 0.72)
    assert stages["answer"].facts["retry"] == 1 and view.amendments[0].reason == "forgot"


async def test_langgraph_runs_node_by_node_and_whole(
    services: Services, address: str, admin_key: str, environment: str
) -> None:
    client = TraceClient(address, admin_key, environment=environment)
    trace_id = client.start_langgraph_run("agent_router", run_id="lg-2", input_text="refund?")
    client.start_langgraph_node("router", node_name="intent_router", node_type="router", input_state={"q": "..."})
    client.end_langgraph_node("router", output_state={"route": "policy"})
    client.start_langgraph_node("policy", node_type="tool", parent_node_id="router")
    client.end_langgraph_node("policy", output_state={"id": "refund-v3"})
    client.end_langgraph_run(output_text="14 days")
    node = {"node_id": "a", "start_time": time.time(), "end_time": time.time()}
    whole = {"trace_id": f"{trace_id}-2", "graph_name": "g", "start_time": time.time(), "nodes": [node]}
    client.ingest_langgraph_run(whole)
    assert await ended(client)
    view, stages = await read(services, trace_id)
    assert (view.status, view.facts["run_id"], view.answer) == ("complete", "lg-2", "14 days")
    assert [stage.name for stage in stages["intent_router"].stages] == ["policy"]
    view, stages = await read(services, f"{trace_id}-2")
    assert (view.status, list(stages)) == ("complete", ["a"])


async def test_tasks_and_threads_record_where_they_belong(
    services: Services, address: str, admin_key: str, environment: str
) -> None:
    client = TraceClient(address, admin_key, environment=environment)

    async def agent(name: str) -> None:
        with client.span(name):
            await asyncio.sleep(0.001)
            client.decision(name)
            await asyncio.to_thread(client.decision, f"{name} thread")

    with client.trace("team") as trace:
        with client.span("agents"):
            await asyncio.gather(*(agent(f"agent {n}") for n in range(5)))
        context = contextvars.copy_context()
        thread = threading.Thread(target=lambda: context.run(client.log_event, "from a thread"))
        thread.start()
        await asyncio.to_thread(thread.join)
    assert await ended(client)
    view, stages = await read(services, trace.trace_id)
    names = {stage.span_id: name for name, stage in stages.items()}
    assert {d.what.removesuffix(" thread") == names[d.span_id] for d in view.decisions} == {True}
    assert len(stages["agents"].stages) == 5 and len(view.decisions) == 10 and len(view.logs) == 1


async def test_a_span_without_a_trace_makes_one(
    services: Services, address: str, admin_key: str, environment: str
) -> None:
    client = TraceClient(address, admin_key, environment=environment)
    with client.span("alone") as span:
        pass
    assert await ended(client)
    view, _ = await read(services, span.trace_id)
    assert (view.status, view.name, view.environment) == ("complete", "alone", environment)


def run_in_front_of(
    answers: Sequence[httpx.Response | Exception], use: Callable[[TraceClient], object], **more: Any
) -> Any:
    """Use a client whose server answers as listed, then with 200; return the client and what it sent."""
    sent: list[httpx.Request] = []
    waiting = list(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        held = waiting.pop(0) if waiting else httpx.Response(200, json={"rejected": 0})
        if isinstance(held, Exception):
            raise held
        return held

    options = {"flush_seconds": 0.01, "transport": httpx.MockTransport(answer), **more}
    client = TraceClient("http://nowhere", "k", **options)
    use(client)
    return client, sent


def test_it_sends_again_until_the_server_takes_it() -> None:
    answers: list[httpx.Response | Exception] = [
        httpx.ConnectError("away"),
        httpx.Response(503, headers={"Retry-After": "0.05"}),
        httpx.Response(429),
    ]
    client, sent = run_in_front_of(answers, lambda c: c.start_trace("x"))
    assert client.flush(30)
    assert len(sent) == 4 and len({request.content for request in sent}) == 1
    assert client.stats().sent == 1 and client.stats().dropped == 0


def test_what_the_server_will_never_take_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    client, sent = run_in_front_of([httpx.Response(401, json={"error": "no key"})] * 2, lambda c: c.start_trace("x"))
    assert client.flush(30)
    client.log_event("later")
    assert client.flush(30)
    assert len(sent) == 2 and client.stats().rejected == 2
    assert len([record for record in caplog.records if record.levelname == "WARNING"]) == 1


def test_a_batch_that_is_too_large_is_halved() -> None:
    def use(client: TraceClient) -> None:
        client.start_trace("x")
        for number in range(8):
            client.log_event(str(number))

    client, sent = run_in_front_of([httpx.Response(200, json={}), httpx.Response(413)], use, flush_seconds=0.2)
    assert client.flush(30)
    assert client.stats().sent == 9 and len(sent) == 4


def test_a_full_queue_drops_and_counts_and_nobody_waits() -> None:
    release = threading.Event()

    def hang(request: httpx.Request) -> httpx.Response:
        release.wait(30)
        return httpx.Response(200, json={})

    client = TraceClient("http://x", max_queue=50, batch_size=10, transport=httpx.MockTransport(hang))
    client.start_trace("x")
    began = time.monotonic()
    for number in range(500):
        client.log_event(str(number))
    assert time.monotonic() - began < 5
    assert client.stats().dropped >= 450 and client.flush(0.05) is False
    release.set()
    assert client.flush(30) and client.stats().sent == 501 - client.stats().dropped


def test_nothing_a_host_gives_it_can_break_the_host() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    class RudeError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    circle: list[Any] = []
    circle.append(circle)

    def use(client: TraceClient) -> None:
        client.start_trace("x", attributes={"rude": Rude(), "key": {(1, 2): 3}})
        client.log_event("x", metadata={"circle": circle})
        client.log_event("x" * 3_000_000)
        client.end_span(span_id="unknown")
        client.decision(Rude())  # type: ignore[arg-type]  # what a host may do all the same
        with pytest.raises(RudeError), client.span("s"):
            raise RudeError
        client.end_trace()
        client.end_trace()

    client, sent = run_in_front_of([], use)
    assert client.flush(30) and client.stats().rejected == 0
    assert all(len(request.content) < 300_000 for request in sent)


def test_disabled_it_sends_nothing() -> None:
    client, sent = run_in_front_of([], lambda c: c.start_trace("x"), enabled=False)
    assert client.flush(5) and not sent


def test_it_depends_on_httpx_alone_and_sends_what_is_left_at_exit(tmp_path: Path) -> None:
    project = tomllib.loads((SDK / "pyproject.toml").read_text())["project"]
    assert [need.partition(">")[0] for need in project["dependencies"]] == ["httpx"]
    kept = tmp_path / "sent"
    script = (
        "import httpx, os, sys\nfrom causegraph_sdk import TraceClient\n"
        "def keep(r):\n    open(sys.argv[1], 'a').write(str(os.getpid()) + '\\n')\n    return httpx.Response(200, json={})\n"
        "c = TraceClient('http://x', transport=httpx.MockTransport(keep), flush_seconds=60)\nc.start_trace('x')\n"
        "if os.fork() == 0:\n    c.log_event('in the child')\n    c.flush(10)\n    os._exit(0)\nos.wait()\n"
        "loaded = {n.partition('.')[0] for n in sys.modules}\n"
        "assert not loaded & {'api', 'tracing', 'storage', 'fastapi', 'pydantic'}, loaded\n"
    )
    code = [sys.executable, "-W", "ignore", "-c", script, str(kept)]
    done = subprocess.run(code, cwd=SDK, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert len(kept.read_text().split()) == 2

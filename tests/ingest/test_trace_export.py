"""Our traces where others look at them: as OTLP, to a receiver that speaks the protocol."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.errors import SettingsError
from domain.settings import Settings
from ingest.otlp_export import to_otlp
from ingest.trace_exporter import TraceExporter, build_exporter
from storage.database import Database
from storage.traces import TraceStore
from tracing import Trace, fold


@dataclass
class Receiver:
    url: str = ""
    answers: list[int] = field(default_factory=list)
    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def spans(self, environment: str) -> list[Any]:
        return [
            span
            for request in self.requests
            for block in request.resource_spans
            if read(block.resource.attributes)["deployment.environment.name"] == environment
            for scope in block.scope_spans
            for span in scope.spans
        ]


def read(attributes: Any) -> dict[str, Any]:
    held = {}
    for pair in attributes:
        value = getattr(pair.value, str(pair.value.WhichOneof("value")))
        held[pair.key] = [item.string_value for item in value.values] if hasattr(value, "values") else value
    return held


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    """A server that takes OTLP over HTTP as protobuf, and answers as told."""
    kept, app = Receiver(), FastAPI()

    @app.post("/v1/traces")
    async def take(request: Request) -> Response:
        status = kept.answers.pop(0) if kept.answers else 200
        if status == 200:
            assert request.headers["content-type"] == "application/x-protobuf"
            kept.requests.append(ExportTraceServiceRequest.FromString(await request.body()))
            kept.headers = dict(request.headers)
        return Response(status_code=status)

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error", lifespan="off"))
    serving = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    kept.url = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/v1/traces"
    yield kept
    server.should_exit = True
    await serving


def make_run(environment: str) -> Trace:
    trace = Trace("why did it fail?", environment)
    trace.note(thread_id="thr-1", answer="the disk")
    with trace.stage("team", kind="agent"):
        trace.decide("look at logs", "they speak", 0.9, ["metrics"])
        with trace.stage("search", kind="retriever", input="disk", rows=3):
            trace.model_call("qwen3", prompt_tokens=7, completion_tokens=3, seconds=0.5, cost=0.25)
        trace.cache_hit("embedding", kind="embedding")
    return trace


async def drain(exporter: TraceExporter) -> None:
    """Export until nothing waits, also what other tests have stored."""
    import httpx

    async with httpx.AsyncClient() as client:
        while await exporter.send_new(client):
            pass


async def test_a_run_arrives_once_with_the_names_that_others_know(
    database: Database, tmp_path: Path, receiver: Receiver, environment: str
) -> None:
    store = TraceStore(database, tmp_path)
    settings = Settings(
        trace_export_url=receiver.url, trace_export_headers="Authorization=Basic abc=; x-a=1", trace_export_content=True
    )
    exporter = build_exporter(settings, store)
    assert exporter is not None
    run = make_run(environment)
    await store.append(run.events)
    await drain(exporter)
    assert receiver.spans(environment) == []  # it is still at work
    run.end()
    await store.append(run.events)
    for _ in range(2):
        await drain(exporter)
    spans = {span.name: span for span in receiver.spans(environment)}
    assert sorted(spans) == [
        "chat qwen3",
        "embeddings embedding",
        "invoke_agent team",
        "invoke_workflow causegraph",
        "retrieval search",
    ]
    assert len(receiver.spans(environment)) == 5
    root, agent, search = (spans[n] for n in ("invoke_workflow causegraph", "invoke_agent team", "retrieval search"))
    assert {span.trace_id for span in spans.values()} == {root.trace_id} and len(root.trace_id) == 16
    assert (root.parent_span_id, agent.parent_span_id, search.parent_span_id) == (b"", root.span_id, agent.span_id)
    assert spans["chat qwen3"].parent_span_id == search.span_id
    said = read(root.attributes)
    assert (said["openinference.span.kind"], said["session.id"]) == ("AGENT", "thr-1")
    assert (said["input.value"], said["output.value"]) == ("why did it fail?", "the disk")
    assert read(agent.attributes)["gen_ai.operation.name"] == "invoke_agent"
    assert read(agent.events[0].attributes) == {
        "what": "look at logs",
        "why": "they speak",
        "confidence": 0.9,
        "alternatives": ["metrics"],
    }
    call = read(spans["chat qwen3"].attributes)
    assert call["gen_ai.usage.input_tokens"] == call["llm.token_count.prompt"] == 7
    assert (call["gen_ai.request.model"], call["llm.cost.total"]) == ("qwen3", 0.25)
    assert read(search.attributes)["input.value"] == "disk" and read(search.attributes)["causegraph.rows"] == 3
    assert all(span.end_time_unix_nano >= span.start_time_unix_nano > 0 for span in spans.values())
    assert (receiver.headers["authorization"], receiver.headers["x-a"]) == ("Basic abc=", "1")


async def test_a_run_that_pauses_is_one_trace_there_too(
    database: Database, tmp_path: Path, receiver: Receiver, environment: str
) -> None:
    store = TraceStore(database, tmp_path)
    exporter = TraceExporter(store, receiver.url, {}, content=False)
    first = make_run(environment)
    first.pause("approval", waiting_for="operator")
    first.end()
    await store.append(first.events)
    await drain(exporter)
    assert "invoke_workflow causegraph" not in [span.name for span in receiver.spans(environment)]
    second = Trace("why did it fail?", environment, trace_id=first.id, segment=1)
    with second.stage("act"):
        pass
    second.end()
    await store.append(second.events)
    await drain(exporter)
    spans = receiver.spans(environment)
    assert sorted(span.name for span in spans)[:2] == ["act", "chat qwen3"] and len(spans) == 6
    assert len({span.trace_id for span in spans}) == 1 and len({span.span_id for span in spans}) == 6
    root = next(span for span in spans if not span.parent_span_id)
    assert all(span.status.code == 1 for span in spans) and read(root.attributes)["causegraph.pauses"] == 1
    assert "input.value" not in read(root.attributes) and b"why did it fail" not in root.SerializeToString()


async def test_what_a_receiver_misses_is_sent_when_it_is_back(
    database: Database, tmp_path: Path, receiver: Receiver, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    store = TraceStore(database, tmp_path)
    await drain(TraceExporter(store, receiver.url, {}, content=False))
    run = make_run(environment)
    run.end()
    await store.append(run.events)
    receiver.answers = [503, 429, 500]
    stop = asyncio.Event()
    exporter = TraceExporter(store, receiver.url, {}, content=False, look_seconds=0.01)
    with caplog.at_level(logging.WARNING, logger="ingest"):
        running = asyncio.create_task(exporter.run(stop))
        async with asyncio.timeout(60):
            while not receiver.spans(environment):
                await asyncio.sleep(0.01)
        stop.set()
        await running
    assert len(receiver.spans(environment)) == 5 and receiver.answers == []
    assert [record.message for record in caplog.records] == ["Traces could not be exported"]


async def test_a_trace_that_is_refused_does_not_hold_up_the_others(
    database: Database, tmp_path: Path, receiver: Receiver, environment: str
) -> None:
    store = TraceStore(database, tmp_path)
    exporter = TraceExporter(store, receiver.url, {}, content=False)
    await drain(exporter)
    for _ in range(2):
        run = make_run(environment)
        run.end()
        await store.append(run.events)
    receiver.answers = [400]
    await drain(exporter)
    assert len(receiver.spans(environment)) == 5


def test_a_failed_run_and_strange_facts_can_be_exported() -> None:
    trace = Trace("\ud800", "e")
    with pytest.raises(ValueError, match="boom"), trace.stage("x", number=2**70, held={"a": [1]}, none=None, flag=True):
        raise ValueError("boom")
    trace.end(ValueError("boom"))
    request = to_otlp(fold(trace.events), trace.events, content=True)
    run, stage = request.resource_spans[0].scope_spans[0].spans
    assert (run.status.code, stage.status.code, stage.status.message) == (2, 2, "ValueError: boom")
    assert (
        read(stage.attributes)["causegraph.held"] == '{"a": [1]}' and read(stage.attributes)["causegraph.flag"] is True
    )


def test_nothing_is_exported_unless_asked(tmp_path: Path) -> None:
    store: Any = None
    assert build_exporter(Settings(data_dir=tmp_path), store) is None
    wrong = (Settings(trace_export_url="ftp://x"), Settings(trace_export_url="http://x", trace_export_headers="x"))
    for settings in wrong:
        with pytest.raises(SettingsError):
            build_exporter(settings, store)

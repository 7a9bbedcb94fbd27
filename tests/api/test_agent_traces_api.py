"""Agent traces of other programs over HTTP, and the lists that show them beside our own runs."""

from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from agents.services import Services
from tracing import Trace


def trace_body(environment: str, number: int = 1, **more: Any) -> dict[str, Any]:
    trace_id = f"{number:08d}-1111-1111-1111-111111111111"
    return {
        "trace": {
            "trace_id": trace_id,
            "name": "chat-request",
            "status": "running",
            "start_time": "2026-02-07T10:00:00Z",
            "model": "gpt-4.1-mini",
            "environment": environment,
            "session_id": "s-1",
            "input_text": "guaranteed profit?",
            **more,
        },
        "spans": [
            {
                "span_id": "22222222-2222-2222-2222-222222222222",
                "trace_id": trace_id,
                "name": "retrieval_of_documents",
                "span_type": "llm",
                "status": "running",
                "start_time": "2026-02-07T10:00:01Z",
                "attributes": {"model": "gpt-4.1-mini"},
                "idempotency_key": f"{number}-start",
            }
        ],
        "allow_missing_parent": True,
    }


async def post(client: httpx.AsyncClient, path: str, body: Any, status: int = 200, **query: str) -> dict[str, Any]:
    reply = await client.post(path, json=body, params=query)
    assert reply.status_code == status, reply.text
    return dict(reply.json())


async def get(client: httpx.AsyncClient, path: str, **query: Any) -> dict[str, Any]:
    reply = await client.get(path, params=query)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_a_trace_is_taken_once_and_completed_by_what_comes_later(
    client: httpx.AsyncClient, environment: str
) -> None:
    body = trace_body(environment)
    sent = body["trace"]["trace_id"]
    first = await post(client, "/api/v1/ingest/traces", body)
    assert (first["accepted"], first["duplicate"], first["rejected"]) == (2, 0, 0)
    again = await post(client, "/ingest/traces", body)
    assert (again["accepted"], again["duplicate"], again["traces"]) == (0, 2, first["traces"])
    event = {"trace_id": sent, "span_id": "22222222-2222-2222-2222-222222222222", "environment": environment}
    at = {"event_time": "2026-02-07T10:00:05Z"}
    events = [
        {**event, **at, "event_type": "LOG", "payload": {"message": "tool started"}, "idempotency_key": "log-1"},
        {**event, **at, "event_type": "AMENDMENT", "payload": {"patch": {"attributes": {"retry": 1}}}},
        {**event, **at, "event_type": "END", "payload": {"status": "success"}},
    ]
    for _ in range(2):
        await post(client, "/ingest/spans", {"events": events})
    result = {"trace_id": sent, "eval_name": "faithfulness", "score": 0.78, "passed": True, "environment": environment}
    counts = [await post(client, "/evals", result) for _ in range(2)]
    assert [count["accepted"] for count in counts] == [1, 0]
    for name in (sent, first["traces"][sent]):
        view = await get(client, f"/traces/{name}")
        assert (view["source"], view["external_id"], view["question"]) == ("ingest", sent, "guaranteed profit?")
        assert (view["status"], view["completion_rate"], len(view["logs"])) == ("running", 1.0, 1)
        assert view["stages"][0]["facts"]["retry"] == 1 and view["stages"][0]["seconds"] == 4.0
        assert view["evals"][0]["score"] == 0.78 and len(view["evals"]) == 1
        assert view["timeline"][0]["what"] == "stage"


async def test_parts_that_come_at_once_in_any_order_count_once(client: httpx.AsyncClient, environment: str) -> None:
    body = trace_body(environment)
    spans = [{**body["spans"][0], "span_id": f"s{n}", "idempotency_key": ""} for n in range(20)]
    parts: list[dict[str, Any]] = [{"spans": [span]} for span in spans] * 2
    parts.insert(17, {"trace": {**body["trace"], "status": "success", "end_time": "2026-02-07T10:00:09Z"}})
    replies = await asyncio.gather(*(post(client, "/ingest/traces", part, environment=environment) for part in parts))
    assert sum(reply["accepted"] for reply in replies) == 21
    view = await get(client, f"/traces/{next(iter(replies[0]['traces'].values()))}")
    assert (view["spans"], view["open_spans"], view["status"], view["seconds"]) == (20, 20, "complete", 9.0)
    assert view["has_open_spans"] is True


async def test_otlp_spans_of_agents_are_no_telemetry(
    client: httpx.AsyncClient, services: Services, environment: str
) -> None:
    def span(number: int, parent: int, name: str, **attributes: Any) -> dict[str, Any]:
        return {
            "traceId": "5b8efff798038103d269b633813fc60c",
            "spanId": f"{number:016x}",
            "parentSpanId": f"{parent:016x}" if parent else "",
            "name": name,
            "kind": 3,
            "startTimeUnixNano": str((1_770_458_400 + number) * 10**9),
            "endTimeUnixNano": str((1_770_458_402 + number) * 10**9),
            "attributes": [
                {"key": key.replace("__", "."), "value": {"stringValue": value}} for key, value in attributes.items()
            ],
        }

    spans = [
        span(1, 0, "invoke_agent helper", gen_ai__operation__name="invoke_agent", input__value="what is up?"),
        span(2, 1, "chat m", openinference__span__kind="LLM", llm__model_name="m", output__value="all well"),
        span(3, 1, "GET /things", server__address="things"),
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "helper"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    for _ in range(2):  # the second time, nothing changes
        reply = await client.post("/v1/traces", json=body, params={"environment": environment})
        assert reply.status_code == 200 and reply.json() == {}
    view = await get(client, "/traces/5b8efff798038103d269b633813fc60c")
    assert (view["question"], view["status"], view["facts"]["service"]) == ("what is up?", "complete", "helper")
    assert [s["name"] for s in view["stages"][0]["stages"]] == ["chat m"] and view["model"]["calls"] == 1
    found = await get(client, "/traces", environment=environment, search="chat m")
    assert [row["source"] for row in found["traces"]] == ["ingest"]
    key = (environment, "5b8efff798038103d269b633813fc60c")
    stored = [await services.database.fetch("span_record", (*key, f"{number:016x}")) for number in (1, 2, 3)]
    assert [len(rows) for rows in stored] == [0, 0, 1]


async def test_lists_are_filtered_searched_and_counted(
    client: httpx.AsyncClient, services: Services, environment: str
) -> None:
    for number in range(3):
        done = {"status": ["success", "error", "running"][number], "model": f"m{number % 2}"}
        await post(client, "/ingest/traces", trace_body(environment, number, **done))
    own = Trace("why did checkout_fail 100%?", environment)
    own.note(service="checkout")
    own.end()
    await services.traces.append(own.events)

    async def ids(**query: Any) -> list[str]:
        found = await get(client, "/traces", environment=environment, **query)
        return [row["external_id"][:8] or row["id"] for row in found["traces"]]

    assert len(await ids()) == 4 and (await ids())[0] == own.id
    assert await ids(source="causegraph") == await ids(service="checkout") == [own.id]
    assert await ids(status="failed") == ["00000001"] == await ids(model="m1")
    assert await ids(search="checkout_fail 100%") == [own.id] and await ids(search="checkoutXfail") == []
    assert len(await ids(search="retrieval_of")) == 3 == len(await ids(thread_id="s-1"))
    assert len(await ids(open_spans=True)) == 2
    pages = [await ids(page=page, page_size=2) for page in (1, 2, 3)]
    assert [len(page) for page in pages] == [2, 2, 0] and len({i for page in pages for i in page}) == 4
    counted = await get(client, "/traces", environment=environment, facets=True, limit=1)
    assert counted["total"] == 4 and counted["facets"]["source"] == {"causegraph": 1, "ingest": 3}
    assert counted["facets"]["status"] == {"complete": 2, "failed": 1, "running": 1}
    overview = await get(client, "/traces/stats/overview", environment=environment, last_hours=24 * 366)
    assert overview["traces"] == 4 and overview["with_open_spans"] == 2 and overview["p95_seconds"] is not None
    nothing = await get(client, "/traces/stats/overview", environment=environment + "-none")
    assert nothing["traces"] == 0 and nothing["median_seconds"] is None


async def test_our_own_runs_take_evaluations_and_nothing_else(
    client: httpx.AsyncClient, services: Services, environment: str
) -> None:
    own = Trace("why?", environment)
    own.end()
    await services.traces.append(own.events)
    await post(client, "/evals", {"trace_id": own.id, "eval_name": "helpful", "score": 1})
    told = await post(client, "/evals", {"trace_id": "trc_20260101_000000_00000000", "eval_name": "x"}, 400)
    assert "no trace" in told["errors"][0]
    log = {"trace_id": own.id, "event_type": "LOG", "event_time": 1_770_458_400, "payload": {"message": "false"}}
    await post(client, "/ingest/spans", {"events": [log]}, environment=environment)
    view = await services.traces.load(own.id)
    assert [result.name for result in view.evals] == ["helpful"] and view.logs == ()


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"[1]", {}, 400),
        (b"{}", {"content-type": "image/png"}, 415),
        (b'{"trace": {"trace_id": ""}}', {}, 400),
        (b"{}", {"x-api-key": "wrong"}, 401),
    ],
)
async def test_what_cannot_be_taken_is_said(
    client: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int
) -> None:
    reply = await client.post("/ingest/traces", content=content, headers=headers)
    assert reply.status_code == status, reply.text


async def test_a_zipped_body_is_taken(client: httpx.AsyncClient, environment: str) -> None:
    content = gzip.compress(json.dumps(trace_body(environment)).encode())
    headers = {"content-encoding": "gzip", "content-type": "application/json"}
    reply = await client.post("/ingest/traces", content=content, headers=headers)
    assert reply.status_code == 200 and reply.json()["accepted"] == 2

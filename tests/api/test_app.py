"""The application over HTTP: keys and roles, the chat contract, records, errors."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from agents.services import Services
from agents.watch import SymptomWatch
from api.app import build_app
from api.errors import status_of
from domain import errors
from domain.errors import CausegraphError
from domain.settings import Settings
from domain.times import SECOND_US, SLOT_US
from storage.database import Database

QUESTION = "why did checkout fail?"


def _tree(kind: type[CausegraphError]) -> Iterator[type[CausegraphError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from _tree(child)


async def _ask(client: httpx.AsyncClient, environment: str, **more: Any) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": QUESTION, "environment": environment, **more})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_health_needs_no_key_and_pages_are_told_to_run_no_scripts(browser: httpx.AsyncClient) -> None:
    reply = await browser.get("/health")
    assert reply.status_code == 200
    assert reply.json()["servers"] == {"mariadb": "up", "falkordb": "up"}
    assert reply.json()["instance"] == "the-test"
    assert "default-src 'none'" in reply.headers["content-security-policy"]


async def test_health_is_503_when_a_server_is_away(services: Services) -> None:
    away = Database("mariadb://nobody@127.0.0.1:1/none", 2)
    try:
        app = build_app(replace(services, database=away))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
            reply = await client.get("/health")
    finally:
        await away.close()
    assert reply.status_code == 503
    assert reply.json()["status"] == "degraded"
    assert reply.json()["servers"] == {"mariadb": "down", "falkordb": "up"}


@pytest.mark.parametrize(
    "path", ["/info", "/incidents", "/incidents/x", "/evidence/x", "/traces", "/traces/x", "/chat", "/ingest/logs"]
)
async def test_every_address_needs_a_key(browser: httpx.AsyncClient, path: str) -> None:
    method = "POST" if path in ("/chat", "/ingest/logs") else "GET"
    for headers in ({}, {"X-API-Key": "cg_wrong"}, {"Authorization": "Bearer cg_wrong"}):
        reply = await browser.request(method, path, headers=headers, json={"question": "x"})
        assert reply.status_code == 401
        assert reply.json()["error"] == "AccessError"


@pytest.mark.parametrize(
    ("role", "path", "allowed"),
    [
        ("ingest", "/ingest/logs", True),
        ("ingest", "/chat", False),
        ("ingest", "/incidents", False),
        ("read", "/incidents", True),
        ("read", "/chat", False),
        ("read", "/ingest/logs", False),
        ("ask", "/incidents", True),
        ("ask", "/ingest/logs", False),
    ],
)
async def test_roles(services: Services, browser: httpx.AsyncClient, role: Any, path: str, allowed: bool) -> None:
    _, secret = await services.keys.create_key("test", role)
    method = "GET" if path == "/incidents" else "POST"
    body = {"question": "x"} if path == "/chat" else []
    reply = await browser.request(method, path, headers={"Authorization": f"Bearer {secret}"}, json=body)
    assert (reply.status_code != 403) is allowed
    if not allowed:
        assert role in reply.json()["message"]


async def test_a_question_is_answered_and_everything_it_cites_can_be_opened(
    client: httpx.AsyncClient, incident: str
) -> None:
    body = await _ask(client, incident)
    assert body["verdict"]["outcome"] in ("CONFIRMED", "LIKELY")
    assert [cause["service"] for cause in body["verdict"]["causes"]] == ["payment"]
    assert body["thread_id"]
    assert {"answer", "language", "claims", "runbook", "workflow", "judge", "budget"} <= body.keys()
    cited = {found for claim in body["claims"] for found in claim["evidence"]}
    assert cited
    for found in cited:
        record = (await client.get(f"/evidence/{found}")).json()
        assert (record["state"], record["environment"]) == ("unchanged", incident)
        assert record["record"] == record["cited_record"]
    listed = (await client.get("/incidents", params={"environment": incident})).json()["incidents"]
    assert [line["id"] for line in listed] == [body["incident_id"]]
    kept = (await client.get(f"/incidents/{body['incident_id']}")).json()
    assert kept["answer"]["claims"] == body["claims"]
    trace = (await client.get(f"/traces/{body['trace_id']}")).json()
    assert trace["status"] == "complete"
    assert trace["outcome"] == body["verdict"]["outcome"]
    traces = (await client.get("/traces", params={"environment": incident})).json()["traces"]
    assert [line["id"] for line in traces] == [body["trace_id"]]


@pytest.mark.parametrize("back_s", [400, 900, 7200])
async def test_where_logs_are_the_symptom_their_service_is_not_too_late_for_it(
    client: httpx.AsyncClient, environment: str, back_s: int
) -> None:
    now = time.time_ns() // 1000
    lines = [
        {"timestamp": now - (3000 - 5 * n) * SECOND_US, "service": service, "level": level, "message": said}
        for n in range(600)
        for service in ("front", "checkout")
        for level, said in [
            ("error", f"cannot parse row {n}") if n > 520 and service == "checkout" else ("info", "done")
        ]
    ]
    reply = await client.post("/ingest/logs", params={"environment": environment}, json=lines)
    assert reply.status_code == 200
    body = await _ask(client, environment, **{"from": now - back_s * SECOND_US})
    assert "lines of checkout were errors" in body["answer"]
    assert "began after the symptom" not in body["answer"]


async def test_no_line_after_the_moment_of_asking_counts(client: httpx.AsyncClient, environment: str) -> None:
    slot = (time.time_ns() // 1000 - 600 * SECOND_US) // SLOT_US * SLOT_US
    lines = [
        {
            "timestamp": slot + n * SECOND_US // 10,
            "service": "checkout",
            "level": "info" if n < 20 else "error",
            "message": "y",
        }
        for n in range(-6000, 80)
    ]
    await client.post("/ingest/logs", params={"environment": environment}, json=lines)
    body = await _ask(client, environment, at=slot + 2 * SECOND_US)
    assert body["verdict"]["outcome"] == "HEALTHY", body["answer"]


async def test_a_streamed_question_tells_its_progress(client: httpx.AsyncClient, incident: str) -> None:
    question = {"question": QUESTION, "environment": incident}
    reply = await client.post("/chat", json=question, headers={"Accept": "text/event-stream"})
    assert reply.headers["content-type"].startswith("text/event-stream")
    blocks = [dict(line.split(": ", 1) for line in block.splitlines()) for block in reply.text.strip().split("\n\n")]
    assert [block["id"].rsplit(":", 1)[1] for block in blocks if "id" in block] == [
        str(number) for number in range(1, len(blocks) + 1)
    ]
    names = [block["event"] for block in blocks]
    assert (names[0], names[-1]) == ("run", "answer")
    assert {"plan", "progress", "finding", "decision", "verdict"} <= set(names)
    told = [json.loads(block["data"]) for block in blocks]
    agents = [data["agent"] for name, data in zip(names, told, strict=True) if name == "progress"]
    assert agents[0] == "planner"
    assert {"log", "topology", "metric", "judge"} <= set(agents)
    assert told[-1]["verdict"]["causes"][0]["service"] == "payment"


async def test_what_goes_wrong_in_a_stream_is_an_event(client: httpx.AsyncClient) -> None:
    reply = await client.post("/chat", json={"question": " ", "stream": True})
    assert "event: error" in reply.text
    assert "QuestionError" in reply.text


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"question": "x", "enviroment": "prod"}, "enviroment: unknown field"),
        ({"question": "x", "from": "yesterday"}, "from: not a time"),
        ({"question": "x", "at": True}, "at: not a time"),
        ({"question": "x", "to": "inf"}, "to: a time must be finite"),
        ({}, "question: Field required"),
        ({"question": " "}, "empty"),
        ({"question": "x", "from": "2024-01-02", "to": "2024-01-01"}, "lies before"),
        ({"question": "why did x fail at 2026-13-45 10:42?"}, "not a time"),
        ({"question": "why did x fail at 2199-01-01 10:42?"}, "after the moment of asking"),
        ({"question": "x", "thread_id": "é"}, "thread_id"),
        ({"question": "x", "environment": "x" * 65}, "environment"),
    ],
)
async def test_wrong_questions_are_refused_by_name(client: httpx.AsyncClient, body: dict[str, Any], said: str) -> None:
    reply = await client.post("/chat", json=body)
    assert reply.status_code == 422
    assert said in reply.json()["message"]


async def test_a_question_about_an_incident_of_another_environment_is_refused(
    client: httpx.AsyncClient, incident: str
) -> None:
    body = await _ask(client, incident)
    again = await _ask(client, incident, incident_id=body["incident_id"], thread_id=body["thread_id"])
    assert (again["incident_id"], again["thread_id"]) == (body["incident_id"], body["thread_id"])
    elsewhere = {"question": QUESTION, "environment": "elsewhere", "incident_id": body["incident_id"]}
    assert (await client.post("/chat", json=elsewhere)).status_code == 404


async def test_changed_and_lost_records_are_told_apart_from_what_was_cited(
    client: httpx.AsyncClient, incident: str, database: Database
) -> None:
    body = await _ask(client, incident)
    cited = {found for claim in body["claims"] for found in claim["evidence"]}
    change = next(found for found in cited if found.startswith("change-"))
    log = next(found for found in cited if found.startswith("log-"))
    scripts = [
        f"UPDATE change_event SET summary = 'nothing to see' WHERE environment = '{incident}'",  # noqa: S608
        f"DELETE FROM log_event WHERE environment = '{incident}'",  # noqa: S608
    ]
    await database.transaction(lambda tx: tx.run_script(scripts))
    changed = (await client.get(f"/evidence/{change}")).json()
    assert changed["state"] == "changed"
    assert changed["record"]["summary"] == "nothing to see"
    assert "<script>" in changed["cited_record"]["summary"]
    gone = (await client.get(f"/evidence/{log}")).json()
    assert (gone["state"], gone["record"]) == ("gone", None)
    assert "KeyError" in gone["cited_record"]["message"]


async def test_a_blank_around_its_name_makes_no_other_environment(client: httpx.AsyncClient, incident: str) -> None:
    body = await _ask(client, f" {incident} ")
    assert body["environment"] == incident
    assert [cause["service"] for cause in body["verdict"]["causes"]] == ["payment"]


@pytest.mark.parametrize(
    "path",
    [
        *("/evidence/log-000000000000", "/incidents/inc-0", "/traces/nonsense", "/nowhere"),
        *("/evidence/%F0%9F%94%A5", "/evidence/%FF?environment=x", "/incidents/%C3%A9", "/traces/%C3%A9"),
    ],
)
async def test_what_is_not_there_is_404(client: httpx.AsyncClient, path: str) -> None:
    reply = await client.get(path)
    assert reply.status_code == 404
    assert reply.json().keys() == {"error", "message", "hint"}


async def test_info_shows_no_secrets(services: Services, admin_key: str) -> None:
    settings = Settings(
        data_dir=services.settings.data_dir,
        api_key="cg_secret-of-mine",
        database_url="mariadb://user:hunter2@db.example:3306/x",
        graph_url="redis://:hunter3@graph.example:6379",
    )
    app = build_app(replace(services, settings=settings))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:
        reply = await client.get("/info", headers={"X-API-Key": admin_key})
    assert reply.status_code == 200
    assert not [secret for secret in ("hunter2", "hunter3", "secret-of-mine") if secret in reply.text]
    assert reply.json()["settings"]["database_url"] == "mariadb://user:***@db.example:3306/x"


async def test_large_bodies_are_refused(client: httpx.AsyncClient) -> None:
    reply = await client.post("/chat", json={"question": "x" * 300_000})
    assert reply.status_code == 413
    assert reply.json()["error"] == "PayloadTooLarge"


async def test_an_unexpected_error_shows_no_internals(
    services: Services, admin_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr("agents.replies.read_info", fail)
    transport = httpx.ASGITransport(build_app(services), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        reply = await client.get("/info", headers={"X-API-Key": admin_key})
    assert reply.status_code == 500
    assert "hunter2" not in reply.text
    assert reply.json()["error"] == "InternalError"
    assert "default-src 'none'" in reply.headers["content-security-policy"]


@pytest.mark.parametrize(
    ("kind", "status", "said"),
    [
        (errors.StorageError, 500, "MariaDB refused a statement"),
        (errors.StorageUnavailable, 503, "MariaDB cannot be reached"),
        (errors.GraphError, 500, "FalkorDB refused a query"),
    ],
)
async def test_what_a_server_of_ours_said_is_for_the_log_only(
    services: Services,
    admin_key: str,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[CausegraphError],
    status: int,
    said: str,
) -> None:
    async def fail(*_: object, **__: object) -> None:
        raise kind("SELECT secret FROM /run/mariadb.sock")

    for place in (
        "agents.replies.read_info",
        "ingest.service.Ingest.accept_logs",
        "ingest.service.Ingest.accept_otlp_logs",
    ):
        monkeypatch.setattr(place, fail)
    transport = httpx.ASGITransport(build_app(services))
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"X-API-Key": admin_key}
    ) as client:
        replies = [await client.get("/info")]
        if issubclass(kind, errors.StorageError):
            replies += [await client.post("/ingest/logs", json=[]), await client.post("/v1/logs", json={})]
    for reply in replies:
        assert reply.status_code == status
        assert "secret" not in reply.text
        assert said in reply.text


def test_every_error_has_a_status() -> None:
    statuses = {
        kind.__name__: status_of(kind()) for kind in _tree(CausegraphError) if kind.__module__ == errors.__name__
    }
    assert statuses == {
        "CausegraphError": 500,
        "ChatClosed": 502,
        "ChatError": 502,
        "SettingsError": 500,
        "ServerUnreachable": 500,
        "StackError": 503,
        "StorageError": 500,
        "StorageUnavailable": 503,
        "StorageFull": 503,
        "StorageBusy": 429,
        "StorageRefused": 500,
        "MigrationNeeded": 503,
        "GraphError": 500,
        "GraphUnavailable": 503,
        "EmbeddingError": 500,
        "ModelError": 500,
        "ModelUnavailable": 500,
        "ModelBusy": 500,
        "ModelTimeout": 500,
        "ModelMissing": 500,
        "ModelLoadFailed": 500,
        "ModelRefused": 500,
        "ContextOverflow": 500,
        "ReplyBroken": 500,
        "ReplyCut": 500,
        "ReplyEmpty": 500,
        "ReplyInvalid": 500,
        "BudgetSpent": 500,
        "IndexingError": 500,
        "ShippingError": 500,
        "ClusterError": 500,
        "ClusterExpired": 500,
        "PayloadError": 400,
        "PayloadTooLarge": 413,
        "UnsupportedMediaType": 415,
        "QuestionError": 422,
        "ActionError": 500,
        "ActionRefused": 422,
        "ApprovalError": 409,
        "NotFound": 404,
        "AccessError": 401,
    }
    assert status_of(errors.AccessError(), known_caller=True) == 403


async def test_symptoms_are_listed_and_found(client: httpx.AsyncClient, services: Services, environment: str) -> None:
    now = time.time_ns() // 1000
    start = now - now % (60 * SECOND_US) - 1200 * SECOND_US
    spans = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": f"{number + 1:016x}",
            "name": "GET /cart",
            "kind": 2,
            "startTimeUnixNano": str((start + number * SECOND_US) * 1000),
            "endTimeUnixNano": str((start + number * SECOND_US + 30_000) * 1000),
            "status": {"code": 2 if number >= 600 else 1},
        }
        for number in range(800)
    ]
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": "cart"}}]}
    body = {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": spans}]}]}
    assert (await client.post("/v1/traces", json=body, params={"environment": environment})).status_code == 200
    settings = services.settings.model_copy(update={"symptom_investigations_per_hour": 0})
    watch = SymptomWatch(replace(services, settings=settings))
    while (await watch.store.place())[0] < (await watch.store.place())[1]:
        await watch.advance()
    (symptom,) = (await client.get("/symptoms", params={"environment": environment})).json()["symptoms"]
    assert (symptom["service"], symptom["status"], symptom["at_entry"]) == ("cart", "open", True)
    assert "requests of cart GET /cart failed" in symptom["text"]
    assert (await client.get(f"/symptoms/{symptom['id']}")).json() == symptom
    assert (await client.get("/symptoms/sym-0")).status_code == 404
    assert (await client.get("/symptoms", params={"status": "closed"})).status_code == 422
    recovered = await client.get("/symptoms", params={"environment": environment, "status": "recovered"})
    assert recovered.json() == {"symptoms": []}

"""Searching everything: by words, by meaning, by exact names and by the topology, within one environment."""

from __future__ import annotations

import asyncio
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import mariadb
import pytest

from agents.services import Services
from api.app import build_app
from cli.services import build_services
from cli.stack import StackHandle
from domain.settings import Settings
from domain.times import HOUR_US, MINUTE_US, SECOND_US, format_us
from graph.topology import TopologyGraph
from indexer.roots import make_root
from indexer.sync import Syncer
from retrieval.chunk_embedding import ChunkEmbedding
from retrieval.embedding import TemplateEmbedding
from retrieval.incident_vectors import IncidentEmbedding
from storage.code import CodeService, CodeStore
from storage.database import Database, parse_database_url
from storage.incidents import Incident
from storage.migrate import migrate
from storage.search import SearchStore
from tests.api.conftest import HOSTILE
from tests.conftest import with_database

NOW = time.time_ns() // 1000
ONSET = NOW - 10 * MINUTE_US
TRACE = uuid.uuid4().hex
PLACE = f"shop-{TRACE[:8]}"
OTHER = f"other-{TRACE[:8]}"
SECRET = "the crown jewels are in vault seven"
LINES = [
    ("payment", "error", "charge for order ord-77aa12 failed: KeyError: 'currency'", TRACE),
    ("payment", "info", "charged order ord-77aa13 in 12 ms", ""),
    ("bank", "error", "TLS handshake failed: certificate has expired", ""),
    ("bank", "info", "ledger opened", ""),
    ("checkout", "warn", "cart was left behind", ""),
    ("mailer", "info", f"newsletter sent {HOSTILE}", ""),
]
EDGES = [("storefront", "checkout"), ("checkout", "payment"), ("payment", "bank"), ("newsroom", "mailer")]


@pytest.fixture(scope="module")
async def services(
    stack: StackHandle, topology: TopologyGraph, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Services]:
    """A database of this module's own: a small shop in one environment, another company in the other, and the shop's code."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    connection = mariadb.connect(**parse_database_url(stack.database_url), autocommit=True)
    connection.cursor().execute(f"CREATE DATABASE {name} CHARACTER SET utf8mb4")
    connection.close()
    database = Database(with_database(stack.database_url, name))
    await migrate(database)
    built = build_services(Settings(data_dir=tmp_path_factory.mktemp("search")), database, topology)
    async with built.spool.running():
        async with httpx.AsyncClient(**await _way_in(built)) as client:
            await _fill(client, PLACE, OTHER)
        await _index_code(built, tmp_path_factory.mktemp("code"))
        await _remember(built)
        await _settle(built)
        yield built
    await topology.drop(PLACE)
    await topology.drop(OTHER)
    await database.close()


async def _way_in(services: Services) -> dict[str, Any]:
    key = await services.keys.ensure_local_key(services.settings.data_dir)
    transport = httpx.ASGITransport(build_app(services, "the-test"))
    return {"transport": transport, "base_url": "http://test", "headers": {"X-API-Key": key}}


async def _fill(client: httpx.AsyncClient, place: str, other: str) -> None:
    logs = [
        {"timestamp": ONSET + n * SECOND_US, "service": who, "level": level, "message": text, "trace_id": trace}
        for n, (who, level, text, trace) in enumerate(LINES)
    ]
    await _post(client, "logs", logs, place)
    long_ago = format_us(NOW - 30 * HOUR_US)
    edges = [{"source": one, "target": two, "valid_from": long_ago} for one, two in EDGES]
    await _post(client, "topology", {"edges": edges, "observed_by": "test"}, place)
    change = {"timestamp": ONSET - MINUTE_US, "service": "payment", "kind": "deploy", "version": "2.4.0"}
    await _post(client, "changes", [{**change, "summary": "gift cards in multiple currencies"}], place)
    event = {"timestamp": ONSET, "kind": "pod", "object": "bank-7f", "service": "bank", "reason": "OOMKilled"}
    await _post(client, "events", [{**event, "text": "container exceeded its memory"}], place)
    await _post(client, "logs", [{"timestamp": ONSET, "service": "vault", "level": "error", "message": SECRET}], other)
    await _post(client, "changes", [{**change, "service": "vault", "summary": SECRET}], other)


async def _post(client: httpx.AsyncClient, kind: str, body: Any, place: str) -> None:
    reply = await client.post(f"/ingest/{kind}", json=body, params={"environment": place})
    assert reply.status_code == 200, reply.text
    assert reply.json()["rejected"] == 0, reply.text


async def _index_code(services: Services, folder: Path) -> None:
    shop = Path(__file__).parents[2] / "examples" / "shop"
    for name in ("payment.py", "bank.py", "checkout.py"):
        shutil.copy(shop / "services" / name, folder)
    store = CodeStore(services.database)
    root = await store.add_root(make_root(str(folder)))
    await store.set_services(root.id, [CodeService(root.id, "", "payment")])
    await Syncer(store, services.settings).sync(root.id)


async def _remember(services: Services) -> None:
    answer = {
        "answer": "bank is the root cause: its certificate ran out, so that payment could not reach it.",
        "verdict": {"causes": [{"service": "bank", "fault_class": "certificate"}]},
        "runbook": {"id": "expired-certificate"},
    }
    for place, thread in ((PLACE, "t1"), (OTHER, "t2")):
        incident = Incident(
            id=f"inc-{uuid.uuid5(uuid.NAMESPACE_URL, place).hex[:12]}",
            environment=place,
            thread_id=thread,
            trace_id="",
            created_us=NOW - 2 * HOUR_US,
            question="why do payments fail?" if place == PLACE else SECRET,
            outcome="CONFIRMED",
            answer=answer,
            service="payment",
        )
        await services.incidents.save(incident)


async def _settle(services: Services) -> None:
    """Let what came be stored, the graph follow, and everything get its vector."""
    assert services.vectors and services.embedder
    deadline = time.monotonic() + 120
    while services.spool.status().deliveries:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    while await services.projection.advance() < await services.telemetry.head_seq():
        assert time.monotonic() < deadline
    templates = TemplateEmbedding(services.vectors, services.embedder)
    chunks = ChunkEmbedding(CodeStore(services.database), services.vectors, services.embedder)
    incidents = IncidentEmbedding(SearchStore(services.database), services.vectors, services.embedder)
    while (await templates.advance())[1] or (await chunks.advance())[1]:
        assert time.monotonic() < deadline
    while await incidents.advance() or await services.runbook_search.advance():
        assert time.monotonic() < deadline


@pytest.fixture
async def client(services: Services) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(**await _way_in(services)) as opened:
        yield opened


async def search(client: httpx.AsyncClient, text: str, **more: Any) -> dict[str, Any]:
    reply = await client.get("/search", params={"q": text, "environment": PLACE, **more})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def kinds(body: dict[str, Any]) -> list[str]:
    return [hit["kind"] for hit in body["results"]]


@pytest.mark.parametrize(
    ("text", "kind", "title"),
    [
        ("KeyError currency", "template", "KeyError"),  # words
        ("SSL trouble at the bank", "template", "certificate has expired"),  # meaning
        ("gift cards currencies deploy", "change", "gift cards"),
        ("OOMKilled bank", "event", "OOMKilled"),
        ("has the bank's certificate run out before?", "incident", "why do payments fail"),
        ("renew the certificate", "runbook", "certificate"),
        ("where is an order charged at the bank", "code", "payment.py"),
    ],
)
async def test_each_kind_is_found(client: httpx.AsyncClient, text: str, kind: str, title: str) -> None:
    body = await search(client, text, limit=12)
    found = [hit for hit in body["results"] if hit["kind"] == kind]
    assert any(title in hit["title"] for hit in found), body
    assert all(hit["why"] and hit["open"].startswith("/") for hit in body["results"])
    only = await search(client, text, kind=kind)
    assert set(kinds(only)) == {kind}
    assert any(title in hit["title"] for hit in only["results"][:3]), only


async def test_what_is_named_exactly_comes_first(client: httpx.AsyncClient) -> None:
    by_trace = await search(client, f"what happened in {TRACE}?")
    assert by_trace["results"][0]["kind"] == "line"
    assert "KeyError" in by_trace["results"][0]["title"]
    by_id = await search(client, "order ord-77aa13")
    assert by_id["results"][0]["kind"] == "line" and "ord-77aa13" in by_id["results"][0]["title"]
    assert "named in the question (ord-77aa13)" in by_id["results"][0]["why"]
    by_file = await search(client, "what does bank.py do")
    assert "code" in kinds(by_file)[:2]
    assert (await search(client, "tell me about checkout", kind="service"))["results"][0]["id"] == "checkout"


async def test_the_graph_leads_from_a_symptom_to_its_neighbours(client: httpx.AsyncClient) -> None:
    body = await search(client, "checkout is broken", at=format_us(NOW), limit=20)
    found = {(hit["kind"], *hit["services"]): hit for hit in body["results"]}
    assert ("change", "payment") in found, body
    reasons = found["change", "payment"]
    assert "graph" in reasons["by"] and "checkout - payment" in reasons["why"]
    assert ("template", "mailer") not in found, "newsroom and mailer are not around"
    assert ["payment", "checkout"] in body["paths"]


async def test_every_result_can_be_opened(client: httpx.AsyncClient) -> None:
    seen = set()
    for text in ("KeyError currency charge", f"{TRACE} ord-77aa13", "certificate bank", "gift cards", "OOMKilled"):
        for hit in (await search(client, text, limit=50))["results"]:
            seen.add(hit["kind"])
            reply = await client.get(hit["open"])
            assert reply.status_code == 200, (hit, reply.text)
    assert {"template", "line", "change", "event", "incident", "runbook", "code"} <= seen
    wrong = await client.get("/record", params={"kind": "log", "environment": OTHER, "id": "1"})
    assert wrong.status_code == 404
    assert (await client.get("/record", params={"kind": "log", "id": "x"})).status_code == 422
    assert (await client.get("/record", params={"kind": "edge"})).status_code == 422


async def test_nothing_of_another_environment_is_found(client: httpx.AsyncClient) -> None:
    body = await search(client, f"{SECRET} vault", limit=100)
    assert SECRET not in str(body["results"])
    assert not any("vault" in hit["services"] for hit in body["results"])
    mirrored = (await client.get("/search", params={"q": SECRET, "environment": OTHER})).json()
    assert SECRET in str(mirrored["results"])


async def test_nothing_later_than_the_moment_of_asking_is_found(client: httpx.AsyncClient) -> None:
    body = await search(client, "KeyError currency gift cards", at=format_us(ONSET - HOUR_US), limit=100)
    assert not {"template", "line", "change", "event"} & set(kinds(body)), body
    early = await search(client, "gift cards", to=format_us(ONSET - 2 * SECOND_US))
    assert "change" in kinds(early) and "template" not in kinds(early)


@pytest.mark.parametrize(
    "text",
    [
        "' OR 1=1 -- ",
        '"); MATCH (n) DETACH DELETE n //',
        "%' UNION SELECT * FROM api_key",
        '+fail* -(order) @4 ~x "',
        "\x00\x1b[31m\u202e",
        "((((((((((",
        "ü" * 900,
        HOSTILE,
    ],
)
async def test_a_text_never_becomes_a_query(client: httpx.AsyncClient, text: str) -> None:
    body = await search(client, text)
    assert body["query"] == text
    assert not body["notes"], body["notes"]
    assert (await search(client, "KeyError currency"))["results"]


async def test_what_makes_no_sense_says_what_to_do(client: httpx.AsyncClient) -> None:
    for params, says in (
        ({"q": " "}, "Give a text"),
        ({"q": "x", "kind": "cheese"}, "none of template, line"),
        ({"q": "x", "from": "yesterday"}, "`from`"),
        ({"q": "x", "from": format_us(NOW), "to": format_us(ONSET)}, "`from` must lie before"),
    ):
        reply = await client.get("/search", params=params)
        assert reply.status_code == 422, reply.text
        assert says in reply.json()["message"], reply.text


async def test_many_templates_are_found_through_the_indexes(
    services: Services, client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.store_sources._ALL_AT_ONCE", 1)
    worded = await search(client, "certificate expired handshake", kind="template")
    assert "certificate" in worded["results"][0]["title"]
    assert set(worded["results"][0]["by"]) >= {"words", "meaning"}
    assert SECRET not in str((await search(client, SECRET, kind="template"))["results"])

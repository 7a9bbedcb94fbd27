"""Templates found by meaning, with the real embedder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from agents.services import Services
from api.app import build_app
from cli.services import build_services
from domain.errors import EmbeddingError
from domain.settings import Settings
from domain.times import SECOND_US, format_us
from graph.topology import TopologyGraph
from retrieval.embedding import TemplateEmbedding, backfill_templates
from storage.database import Database
from storage.migrate import migrate

LINES = [
    ("db", "error", "disk 1 is full"),
    ("db", "error", "disk 2 is full"),
    ("db", "info", "cache warmed in 12 ms"),
    ("shop", "info", "order 12 placed"),
    ("shop", "error", "payment gateway refused the card of order 7"),
]


@pytest.fixture
async def services(fresh_url: Callable[[], str], topology: TopologyGraph, tmp_path: Path) -> AsyncIterator[Services]:
    """Services with the built-in embedder on a database of their own, into which nothing is embedded by itself."""
    database = Database(fresh_url())
    await migrate(database)
    built = build_services(Settings(data_dir=tmp_path), database, topology)
    async with built.spool.running():
        yield built
    await database.close()


async def _client(services: Services) -> httpx.AsyncClient:
    key = await services.keys.ensure_local_key(services.settings.data_dir)
    transport = httpx.ASGITransport(build_app(services, "the-test"))
    return httpx.AsyncClient(transport=transport, base_url="http://test", headers={"X-API-Key": key})


async def _write(client: httpx.AsyncClient, environment: str, lines: list[tuple[str, str, str]]) -> None:
    at = format_us(time.time_ns() // 1000 - SECOND_US)
    body = [{"timestamp": at, "service": who, "level": level, "message": text} for who, level, text in lines]
    (await client.post("/ingest/logs", json=body, params={"environment": environment})).raise_for_status()
    deadline = time.monotonic() + 60
    while (await client.get("/stats", params={"environment": environment})).json()["lines"] < len(lines):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def _search(client: httpx.AsyncClient, environment: str, text: str, **more: str) -> dict[str, Any]:
    reply = await client.get("/search/logs", params={"environment": environment, "q": text, **more})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_a_template_is_found_by_what_it_means(services: Services, environment: str) -> None:
    assert services.vectors
    assert services.embedder
    async with await _client(services) as client:
        await _write(client, environment, LINES)
        await _write(client, "elsewhere", [("mars", "error", "no space left on volume 3")])
        early = await _search(client, environment, "no space left on device")
        assert (early["lines"], early["templates"]) == ([], [])
        assert "`causegraph backfill`" in early["note"]

        embedding = TemplateEmbedding(services.vectors, services.embedder)
        assert await backfill_templates(embedding, after=-1, batch=64, delay_s=0, told=lambda *_: None) == 5
        found = await _search(client, environment, "no space left on device")
        assert (found["lines"], found["note"]) == ([], "")
        assert [one["text"] for one in found["templates"]] == ["disk <*> is full"]
        disk = found["templates"][0]
        assert (disk["match"], disk["lines"], disk["services"], disk["level"]) == ("meaning", 2, ["db"], "ERROR")
        assert 0 < disk["distance"] < 0.7
        paid = await _search(client, environment, "the customer could not pay")
        assert [one["text"] for one in paid["templates"]] == ["payment gateway refused the card of order <*>"]
        assert (await _search(client, environment, "banana bread recipe"))["templates"] == []
        assert (await _search(client, environment, "no space left on device", service="shop"))["templates"] == []
        past = {"from": "2026-01-01T00:00:00Z", "to": "2026-01-01T01:00:00Z"}
        assert (await _search(client, environment, "no space left on device", **past))["templates"] == []


async def test_what_holds_the_text_comes_first(services: Services, environment: str) -> None:
    assert services.vectors
    assert services.embedder
    async with await _client(services) as client:
        await _write(client, environment, [*LINES, ("db", "warn", "no room on the volume")])
        embedding = TemplateEmbedding(services.vectors, services.embedder)
        await backfill_templates(embedding, after=-1, batch=64, delay_s=0, told=lambda *_: None)
        found = await _search(client, environment, "Disk 1 is FULL", limit="1")
        assert [line["message"] for line in found["lines"]] == ["disk 1 is full"]
        assert [(one["text"], one["match"]) for one in found["templates"]] == [
            ("disk <*> is full", "text"),
            ("no room on the volume", "meaning"),
        ]
        assert found["templates"][0]["distance"] is None
        older = await _search(client, environment, "Disk 1 is FULL", limit="1", before=found["cursor"])
        assert (older["lines"], older["templates"], older["note"]) == ([], [], "")


class _Leaving:
    """An embedder that is away after its first answer."""

    name, dimension = "leaving/1", 384

    def __init__(self) -> None:
        self.asked = 0

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += 1
        if self.asked > 1:
            raise EmbeddingError("the embedder is away")
        return np.ones((len(texts), 384), np.float32)


async def test_without_an_embedder_text_is_still_found_and_the_reply_says_so(
    services: Services, environment: str
) -> None:
    assert services.vectors
    async with await _client(replace(services, embedder=None)) as client:
        await _write(client, environment, LINES)
        found = await _search(client, environment, "card")
        assert [one["match"] for one in found["templates"]] == ["text"]
        assert "CAUSEGRAPH_EMBEDDER" in found["note"]
    leaving = _Leaving()
    await TemplateEmbedding(services.vectors, leaving).advance()
    async with await _client(replace(services, embedder=leaving)) as client:
        found = await _search(client, environment, "card")
        assert [one["match"] for one in found["templates"]] == ["text"]
        assert found["note"] == "Searched by text only: the embedder is away"

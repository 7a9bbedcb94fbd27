"""Log templates get their vectors beside the ingest, and are found by meaning."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.errors import EmbeddingError
from inference.minilm import MiniLM
from ingest.template import template_id
from retrieval.embedding import TemplateEmbedding, backfill_templates, find_near, prepare_space
from storage.database import Database
from storage.migrate import migrate
from storage.vectors import VectorStore

TEXTS = [
    "payment gateway refused the card of order <*>",
    "disk <*> is full",
    "user <*> logged in",
    "cache warmed in <*> ms",
    "certificate of <*> expires in <*> days",
    "cannot reach the database at <*>: connection refused",
]


class Failing:
    """An embedder that fails the first times, as one whose server is away does."""

    name = "failing/1"
    dimension = 384

    def __init__(self, times: int) -> None:
        self.times = times

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.times -= 1
        if self.times >= 0:
            raise EmbeddingError("away")
        return np.ones((len(texts), 384), np.float32)


@pytest.fixture
async def database(fresh_url: Callable[[], str]) -> AsyncIterator[Database]:
    """A database whose only templates are these."""
    opened = Database(fresh_url())
    await migrate(opened)
    rows = [(template_id(text), 1, text) for text in TEXTS]
    await opened.transaction(lambda tx: tx.execute_many("ingest_add_templates", rows))
    yield opened
    await opened.close()


async def test_templates_are_found_by_what_they_mean(database: Database) -> None:
    vectors, embedder = VectorStore(database), MiniLM()
    assert await find_near(vectors, "template", embedder, "no space left", 3) == []  # nothing is embedded yet
    seen: list[tuple[int, int]] = []
    done = await backfill_templates(
        TemplateEmbedding(vectors, embedder), after=-1, batch=2, delay_s=0, told=lambda *told: seen.append(told)
    )
    assert (done, [count for _, count in seen]) == (6, [2, 4, 6])
    by_id = {str(template_id(text)): text for text in TEXTS}
    for question, answer in [
        ("no space left on device", TEXTS[1]),
        ("the customer could not pay", TEXTS[0]),
        ("postgres is unreachable", TEXTS[5]),
        ("TLS trouble soon", TEXTS[4]),
    ]:
        near = await find_near(vectors, "template", embedder, question, 3)
        assert by_id[near[0].id] == answer, question


async def test_an_interrupted_backfill_goes_on_where_it_was(database: Database) -> None:
    vectors = VectorStore(database)
    embedding = TemplateEmbedding(vectors, Failing(0))
    last, new = await embedding.advance(limit=4)
    assert new == 4
    assert (await embedding.advance(last, limit=4))[1] == 2
    assert await embedding.advance(limit=4) == (-1, 0)


async def test_another_embedder_is_refused_until_the_corpus_is_moved(database: Database) -> None:
    vectors = VectorStore(database)
    await TemplateEmbedding(vectors, Failing(0)).advance()
    with pytest.raises(EmbeddingError, match="--move"):
        await prepare_space(vectors, "template", MiniLM(), move=False)
    await prepare_space(vectors, "template", MiniLM(), move=True)
    assert await vectors.count("template") == 0
    assert await find_near(vectors, "template", Failing(0), "disk", 3) == []  # not the embedder of these vectors


async def test_the_follower_outlives_an_embedder_that_is_away(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.embedding._PAUSE_SECONDS", 0.01)
    vectors, stop = VectorStore(database), asyncio.Event()
    running = asyncio.create_task(TemplateEmbedding(vectors, Failing(3)).run(stop))
    deadline = time.monotonic() + 30
    while await vectors.count("template") < len(TEXTS):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 10)

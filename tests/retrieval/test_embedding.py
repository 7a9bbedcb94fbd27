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


class Picky:
    """An embedder that fails for a whole batch where one text of it is not to its taste, or is away altogether."""

    name = "picky/1"
    dimension = 384

    def __init__(self, bad: Sequence[str]) -> None:
        self.bad = set(bad)
        self.away = False
        self.asked = 0

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += 1
        if self.away or self.bad.intersection(texts):
            raise EmbeddingError("too long" if not self.away else "away")
        found = np.ones((len(texts), 384), np.float32)
        found[[text == TEXTS[4] for text in texts]] = 0  # a vector that is none
        return found


async def test_a_template_that_the_embedder_refuses_holds_up_no_other(database: Database) -> None:
    vectors, picky = VectorStore(database), Picky([TEXTS[1]])
    embedding = TemplateEmbedding(vectors, picky)
    done = await backfill_templates(embedding, after=-1, batch=6, delay_s=0, told=lambda *told: None)
    assert done == 4
    bad = {template_id(TEXTS[1]), template_id(TEXTS[4])}
    assert embedding.refused.keys() == bad
    assert embedding.refused[template_id(TEXTS[1])] == "too long"
    assert await vectors.held("template", [str(key) for key in bad]) == set()
    asked = picky.asked
    assert (await embedding.advance(limit=6))[1] == 0
    assert picky.asked == asked  # not asked again and again
    assert (await TemplateEmbedding(vectors, Picky([])).advance(limit=6))[1] == 1  # another run tries once more


async def test_an_embedder_that_is_away_refuses_no_template(database: Database) -> None:
    vectors, picky = VectorStore(database), Picky([])
    picky.away = True
    embedding = TemplateEmbedding(vectors, picky)
    with pytest.raises(EmbeddingError, match="away"):
        await embedding.advance(limit=6)
    assert (picky.asked, embedding.refused) == (2, {})


async def test_the_follower_embeds_what_comes_behind_a_refused_template(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("retrieval.embedding._POLL_SECONDS", 0.01)
    monkeypatch.setattr("retrieval.embedding._PAUSE_SECONDS", 0.01)
    vectors, stop = VectorStore(database), asyncio.Event()
    running = asyncio.create_task(TemplateEmbedding(vectors, Picky(TEXTS[:3])).run(stop))
    deadline = time.monotonic() + 30
    while await vectors.count("template") < 2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    late = "a template that comes late"
    await database.transaction(lambda tx: tx.execute_many("ingest_add_templates", [(template_id(late), 1, late)]))
    while await vectors.count("template") < 3:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    stop.set()
    await asyncio.wait_for(running, 10)

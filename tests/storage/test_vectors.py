"""Vectors in MariaDB: one embedder per corpus, nearest first, nothing that would be near to everything."""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np
import pytest
from numpy.typing import NDArray

from domain.errors import EmbeddingError
from storage.database import Database
from storage.vectors import Space, VectorStore

SPACE = Space("test/1", 16)


def some(count: int, seed: int = 1, dimension: int = 16) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, dimension)).astype(np.float32)


@pytest.fixture
async def store(database: Database) -> AsyncIterator[VectorStore]:
    store = VectorStore(database)
    await store.move("runbook", SPACE)
    yield store
    await store.move("runbook", Space("none", 384))


async def test_the_nearest_come_first_and_a_repetition_adds_nothing(store: VectorStore) -> None:
    vectors = some(500)
    ids = [f"r{number}" for number in range(500)]
    assert await store.store("runbook", SPACE, ids, vectors) == 500
    assert await store.store("runbook", SPACE, ids, vectors) == 0
    assert await store.count("runbook") == 500
    found = await store.nearest("runbook", vectors[7], 5)
    assert found[0].id == "r7"
    assert found[0].distance == pytest.approx(0, abs=1e-5)
    assert [near.distance for near in found] == sorted(near.distance for near in found)
    among = await store.nearest("runbook", vectors[7], 5, among=["r1", "r2", "absent"])
    assert {near.id for near in among} == {"r1", "r2"}


async def test_vectors_of_another_embedder_are_refused_until_the_corpus_moves(store: VectorStore) -> None:
    await store.store("runbook", SPACE, ["a"], some(1))
    with pytest.raises(EmbeddingError, match="not of other/1"):
        await store.store("runbook", Space("other/1", 16), ["b"], some(1))
    await store.move("runbook", Space("other/1", 32))
    assert await store.count("runbook") == 0
    await store.store("runbook", Space("other/1", 32), ["b"], some(1, dimension=32))
    assert await store.space("runbook") == Space("other/1", 32)


@pytest.mark.parametrize(
    ("vectors", "said"),
    [
        (np.zeros((1, 16), np.float32), "zeroes"),
        (np.full((1, 16), np.nan, np.float32), "NaN"),
        (some(1, dimension=8), "for 1 texts"),
        (some(2), "for 1 texts"),
    ],
)
async def test_what_is_no_vector_is_refused(store: VectorStore, vectors: NDArray[np.float32], said: str) -> None:
    with pytest.raises(EmbeddingError, match=said):
        await store.store("runbook", SPACE, ["a"], vectors)
    assert await store.count("runbook") == 0


async def test_writers_of_one_corpus_take_turns(store: VectorStore) -> None:
    import asyncio

    async def write(number: int) -> int:
        return await store.store("runbook", SPACE, [f"w{number}-{at}" for at in range(200)], some(200, number))

    assert await asyncio.gather(*(write(number) for number in range(6))) == [200] * 6
    assert await store.count("runbook") == 1200

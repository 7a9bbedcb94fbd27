"""Vectors of texts: log templates, chunks of code, sections of runbooks, incidents. Each corpus holds the vectors of one embedder.

The embedder's name and dimension are state of the schema: vectors of another one are refused, and moving a corpus to it
drops what was there. The search is approximate (HNSW) over a whole corpus and exact over given ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domain.embedding import MAX_DIMENSION
from domain.errors import EmbeddingError, StorageUnavailable
from storage.database import Database, Transaction

type Corpus = Literal["template", "chunk", "runbook", "incident"]

_LOCK_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Space:
    """Whose vectors a corpus holds."""

    embedder: str
    dimension: int


@dataclass(frozen=True, slots=True)
class Near:
    """A text near a question: its id, and 1 - cosine as its distance (0 is equal)."""

    id: str
    distance: float


class VectorStore:
    """Reads and writes the vectors of every corpus. Writers of one corpus take turns."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def space(self, corpus: Corpus) -> Space | None:
        """Return whose vectors a corpus holds; None where it never held any."""
        rows = await self._database.fetch("embedding_space", (corpus,))
        return Space(str(rows[0][0]), int(rows[0][1])) if rows else None

    async def count(self, corpus: Corpus) -> int:
        """Return how many vectors a corpus holds."""
        return int((await self._database.fetch(f"count_{corpus}_vectors"))[0][0])

    async def held(self, corpus: Corpus, ids: Iterable[str]) -> set[str]:
        """Return which of some ids have a vector."""
        rows = await self._database.fetch(f"held_{corpus}_vectors", (json.dumps(list(ids)),))
        return {str(row[0]) for row in rows}

    async def move(self, corpus: Corpus, space: Space) -> None:
        """Empty a corpus and let it hold the vectors of another embedder from now on."""
        if not 0 < space.dimension <= MAX_DIMENSION:
            raise EmbeddingError(f"Vectors of {space.dimension} numbers cannot be stored: 1 to {MAX_DIMENSION} can.")

        def work(tx: Transaction) -> None:
            # Every name here is our own; the number is one. Each statement commits by itself, so the space comes last:
            # until then writers of the old and of the new embedder are both refused or overwritten by the next try.
            tx.run_script(
                [
                    f"TRUNCATE TABLE {corpus}_vector",
                    f"ALTER TABLE {corpus}_vector DROP INDEX IF EXISTS by_embedding, "
                    f"MODIFY embedding VECTOR({int(space.dimension)}) NOT NULL",
                    f"ALTER TABLE {corpus}_vector ADD VECTOR INDEX by_embedding (embedding) M=16 DISTANCE=cosine",
                ]
            )
            tx.execute("set_embedding_space", (corpus, space.embedder, space.dimension))

        await self._locked(corpus, work)

    async def store(self, corpus: Corpus, space: Space, ids: Sequence[str], vectors: NDArray[np.float32]) -> int:
        """Store one vector per id and return how many were new; raises EmbeddingError for vectors that do not fit."""
        check_vectors(vectors, len(ids), space.dimension)
        rows = [(key, vector.astype("<f4").tobytes()) for key, vector in zip(ids, vectors, strict=True)]

        def work(tx: Transaction) -> int:
            held = tx.fetch("embedding_space", (corpus,))
            if not held:
                tx.execute("set_embedding_space", (corpus, space.embedder, space.dimension))
            elif held[0] != (space.embedder, space.dimension):
                raise EmbeddingError(
                    f"The {corpus} vectors are those of {held[0][0]}, not of {space.embedder}: "
                    f"`causegraph backfill --move` replaces them."
                )
            return tx.execute_many(f"insert_{corpus}_vectors", rows)

        return await self._locked(corpus, work)

    async def nearest(
        self, corpus: Corpus, vector: NDArray[np.float32], limit: int, among: Sequence[str] | None = None
    ) -> list[Near]:
        """Return the nearest texts, nearest first; with `among`, exactly and of these ids only."""
        wanted = vector.astype("<f4").tobytes()
        if among is None:
            rows = await self._database.fetch(f"nearest_{corpus}s", (wanted, limit))
        else:
            rows = await self._database.fetch(f"nearest_of_{corpus}s", (wanted, json.dumps(list(among)), limit))
        return [Near(str(key), float(distance)) for key, distance in rows]

    async def templates_without_vector(self, after: int, limit: int) -> list[tuple[int, str]]:
        """Return (id, text) of templates that have no vector, by id."""
        rows = await self._database.fetch("templates_without_vector", (after, limit))
        return [(int(key), str(text)) for key, text in rows]

    async def _locked[T](self, corpus: Corpus, work: Callable[[Transaction], T]) -> T:
        def locked(tx: Transaction) -> T:
            if tx.fetch("take_vector_lock", (corpus, _LOCK_SECONDS))[0][0] != 1:
                raise StorageUnavailable(f"Another process has been writing {corpus} vectors for {_LOCK_SECONDS} s.")
            try:
                result = work(tx)
                tx.run_script(["COMMIT"])  # whoever waits for the lock must see it
                return result
            finally:
                tx.fetch("release_vector_lock", (corpus,))

        return await self._database.transaction(locked)


def check_vectors(vectors: NDArray[np.float32], count: int, dimension: int) -> None:
    """Raise EmbeddingError unless these are `count` usable vectors: a zero vector would be nearest to everything."""
    if vectors.shape != (count, dimension):
        raise EmbeddingError(f"The embedder returned an array of {vectors.shape} for {count} texts of {dimension}.")
    if not np.isfinite(vectors).all():
        raise EmbeddingError("The embedder returned numbers that are none (NaN or infinite).")
    if count and float(np.linalg.norm(vectors, axis=1).min()) < 1e-6:
        raise EmbeddingError("The embedder returned a vector of zeroes.")

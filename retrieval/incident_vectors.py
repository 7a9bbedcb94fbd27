"""Past incidents get their vectors here, so that one like them is found by what it means."""

from __future__ import annotations

import asyncio

from domain.embedding import Embedder
from domain.times import LATEST_US, Window
from retrieval.embedding import follow_queue
from retrieval.store_items import incident_text
from retrieval.text_vectors import TextVectors, text_key
from storage.search import SearchStore
from storage.vectors import VectorStore


class IncidentEmbedding:
    """Gives the newest incidents of all environments their vectors, and new ones to those whose answer changed."""

    def __init__(self, store: SearchStore, vectors: VectorStore, embedder: Embedder) -> None:
        self._store = store
        self._vectors = TextVectors(vectors, "incident", embedder)
        self._done: tuple[int, int] | None = None

    async def advance(self) -> int:
        """Embed the next incidents without a vector; return how many, 0 if all have one. Raises EmbeddingError, StorageError."""
        state = await self._store.incidents_state()
        if state == self._done:
            return 0
        rows = await self._store.incidents("", Window(0, LATEST_US))
        new = await self._vectors.advance({text_key(text): text for text in map(incident_text, rows)})
        self._done = state if new == 0 else None
        return new

    async def run(self, stop: asyncio.Event) -> None:
        """Embed what comes until `stop` is set. Outlives failures of the database and of the embedder."""

        async def step() -> bool:
            return await self.advance() > 0

        await follow_queue(step, stop, "incidents get no vectors for now")

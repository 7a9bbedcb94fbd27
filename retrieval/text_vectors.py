"""Vectors of texts that are known as a whole, such as the sections of all runbooks: each is embedded once, by its content.

A text that changed is another one, and a vector that no text needs any more does no harm: only given texts are searched.
"""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3

from domain.embedding import Embedder
from retrieval.embedding import find_near
from storage.vectors import Corpus, Near, Space, VectorStore

_BATCH = 32


def text_key(text: str) -> str:
    """Return the key of a text's vector."""
    return blake3(text.encode()).hexdigest(16)


class TextVectors:
    """The vectors of one corpus by the content of its texts. Raises EmbeddingError and StorageError."""

    def __init__(self, vectors: VectorStore, corpus: Corpus, embedder: Embedder) -> None:
        self._vectors = vectors
        self._corpus = corpus
        self._embedder = embedder

    async def advance(self, texts: Mapping[str, str]) -> int:
        """Embed the next of the texts (by key, see `text_key`) that have no vector; return how many, 0 if all have one."""
        held = await self._vectors.held(self._corpus, texts)
        missing = [key for key in texts if key not in held][:_BATCH]
        if not missing:
            return 0
        vectors = await self._embedder.embed([texts[key] for key in missing])
        space = Space(self._embedder.name, self._embedder.dimension)
        await self._vectors.store(self._corpus, space, missing, vectors)
        return len(missing)

    async def nearest(
        self, query: str, texts: Mapping[str, str], limit: int, embedder: Embedder | None = None
    ) -> list[Near]:
        """Return those of the texts that are nearest to a query in meaning; the ones without a vector are not looked at.

        `embedder` is one of the same model that may know the query already.
        """
        if not texts:
            return []
        return await find_near(self._vectors, self._corpus, embedder or self._embedder, query, limit, list(texts))

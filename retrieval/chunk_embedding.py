"""Chunks of code get their vectors here, each once by its content, whatever files and branches hold it.

What is embedded is a short view of a chunk (where it stands, what it is called, what it says of itself, how it begins): a
third of the time that whole chunks take, and found as well once fused with words.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from domain.embedding import Embedder
from retrieval.embedding import follow_queue
from storage.code import QUEUE_BEGIN, CodeStore, PendingChunk
from storage.vectors import Space, VectorStore

BATCH = 32
"""Small, so that a question that is asked meanwhile waits for half a second at most."""

VIEW_VERSION = 1
"""Grows with every change of `view_chunk`: views of two versions are not compared."""

_VIEW_CHARACTERS = 330  # about 96 tokens of code
_DOC_CHARACTERS = 140
_SIGNATURE_CHARACTERS = 120
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|_+|(?<=\w)\.(?=\w)")
_SIGNS = re.compile(r"[^\w\s'\"<>=+*/%-]+|([=*/#-])\1{2,}")


class ChunkEmbedder:
    """An embedder of chunks by their views; its name says of which views, so that others are never mixed with them."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self.name = f"{inner.name} view {VIEW_VERSION}"

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._inner.dimension

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text; raises EmbeddingError."""
        return await self._inner.embed(texts)


def view_chunk(chunk: PendingChunk) -> str:
    """Return what is embedded of a chunk: path, scope, signature, docstring and first lines, cut to about 96 tokens."""
    folders = chunk.path.split("/")[-3:]
    head = [" ".join(folders), chunk.scope, chunk.signature[:_SIGNATURE_CHARACTERS], chunk.doc[:_DOC_CHARACTERS]]
    said = {part.strip() for part in (*chunk.signature.split("\n"), *chunk.doc.split("\n"))}
    lines = [line.strip() for line in chunk.text.split("\n")]
    body = " ".join(line for line in dict.fromkeys(lines) if line.strip("\"' ") and line.strip("\"' ") not in said)
    view = " ".join(_plain(part) for part in (*head, body) if part)
    return view[:_VIEW_CHARACTERS].strip() or "empty"


def _plain(text: str) -> str:
    return " ".join(_SIGNS.sub(" ", _HUMP.sub(" ", text)).split())


class ChunkEmbedding:
    """Gives the chunks of all indexed code their vectors. Several processes may run one: none does harm to another."""

    def __init__(self, store: CodeStore, vectors: VectorStore, embedder: Embedder) -> None:
        self._store = store
        self._vectors = vectors
        self._embedder = ChunkEmbedder(embedder)
        self._place = QUEUE_BEGIN
        self._done: tuple[int, ...] | None = None

    async def advance(self, limit: int = BATCH) -> tuple[int, int]:
        """Embed the next chunks; return how many were looked at (0 at the end of the queue), and how many vectors are new.

        Raises EmbeddingError or StorageError; nothing is lost by it.
        """
        state = await self._store.state()
        if state == self._done:
            return 0, 0
        chunks = await self._store.pending_chunks(self._place, limit)
        if not chunks:
            # What came while the queue was gone through may stand further to its front.
            self._done = state if self._place == QUEUE_BEGIN else None
            again, self._place = self._place != QUEUE_BEGIN, QUEUE_BEGIN
            return await self.advance(limit) if again else (0, 0)
        vectors = await self._embedder.embed([view_chunk(chunk) for chunk in chunks])
        space = Space(self._embedder.name, self._embedder.dimension)
        new = await self._vectors.store("chunk", space, [chunk.id for chunk in chunks], vectors)
        self._place = chunks[-1].place
        return len(chunks), new

    async def run(self, stop: asyncio.Event) -> None:
        """Embed what comes until `stop` is set. Outlives failures of the database and of the embedder."""

        async def step() -> bool:
            return (await self.advance())[0] > 0

        await follow_queue(step, stop, "indexed code gets no vectors for now")


async def backfill_chunks(embedding: ChunkEmbedding, *, batch: int, delay_s: float, told: Callable[[int], None]) -> int:
    """Embed every chunk without a vector; `told(vectors so far)` after each batch."""
    done = 0
    while True:
        looked_at, new = await embedding.advance(batch)
        if not looked_at:
            return done
        done += new
        told(done)
        await asyncio.sleep(delay_s)

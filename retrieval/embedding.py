"""Texts get their vectors here, in batches and beside the ingest, which never waits for it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import NDArray

from domain.embedding import Embedder
from domain.errors import CausegraphError, EmbeddingError
from storage.vectors import Corpus, Near, Space, VectorStore, check_vectors

logger = logging.getLogger(__name__)

BATCH = 128
FARTHEST = 0.7
"""From which distance on a text says something else; of MiniLM, whose unrelated texts lie at 0.75 and more."""

_POLL_SECONDS = 5.0
_PROBE = "is anybody there"
_PAUSE_SECONDS = 30.0  # after a failure


class TemplateEmbedding:
    """Gives every log template its vector. Any number of processes may run one: they take turns at writing.

    `refused` are the templates that this embedder gives no vector, and why: they hold up no others.
    """

    def __init__(self, vectors: VectorStore, embedder: Embedder) -> None:
        self._vectors = vectors
        self._embedder = embedder
        self.refused: dict[int, str] = {}

    async def advance(self, after: int = -1, limit: int = BATCH) -> tuple[int, int]:
        """Embed the next templates without a vector; return (the last id looked at, how many vectors are new).

        The id is -1 once there are none after `after`. Raises EmbeddingError or StorageError; nothing is lost by it.
        """
        rows = await self._vectors.templates_without_vector(after, limit)
        if not rows:
            return -1, 0
        return rows[-1][0], await self._embed([row for row in rows if row[0] not in self.refused])

    async def _embed(self, rows: Sequence[tuple[int, str]]) -> int:
        """Embed templates and return how many vectors are new; of a batch that fails, those that the embedder takes."""
        if not rows:
            return 0
        space = Space(self._embedder.name, self._embedder.dimension)
        try:
            vectors = await self._embedder.embed([text for _, text in rows])
            check_vectors(vectors, len(rows), space.dimension)
        except EmbeddingError as exc:
            await self._embedder.embed([_PROBE])  # raises where it is not for the texts
            if len(rows) > 1:
                half = len(rows) // 2
                return await self._embed(rows[:half]) + await self._embed(rows[half:])
            self.refused[rows[0][0]] = str(exc)
            logger.warning("A log template gets no vector", extra={"template": rows[0][0], "reason": str(exc)})
            return 0
        return await self._vectors.store("template", space, [str(key) for key, _ in rows], vectors)

    async def run(self, stop: asyncio.Event) -> None:
        """Embed what comes until `stop` is set. Outlives failures of the database and of the embedder."""
        after = -1

        async def step() -> bool:
            nonlocal after
            after, _ = await self.advance(after)
            return after >= 0

        await follow_queue(step, stop, "log templates get no vectors for now")


async def follow_queue(step: Callable[[], Awaitable[bool]], stop: asyncio.Event, trouble: str) -> None:
    """Take steps until `stop` is set, with a pause when there was nothing to do (False).

    Outlives failures of the database and of the embedder, each told once in the log as `trouble`.
    """
    failing = ""
    while not stop.is_set():
        try:
            pause = 0.0 if await step() else _POLL_SECONDS
            failing = ""
        except CausegraphError as exc:
            if str(exc) != failing:
                logger.warning(trouble, extra={"reason": str(exc)})
            failing, pause = str(exc), _PAUSE_SECONDS
        with suppress(TimeoutError):
            await asyncio.wait_for(stop.wait(), pause)


async def prepare_space(vectors: VectorStore, corpus: Corpus, embedder: Embedder, move: bool) -> None:
    """Let a corpus take the vectors of an embedder; raises EmbeddingError if it holds another's and `move` is False."""
    held, wanted = await vectors.space(corpus), Space(embedder.name, embedder.dimension)
    if held == wanted:
        return
    if held is not None and not move and await vectors.count(corpus):
        raise EmbeddingError(
            f"The {corpus} vectors are those of {held.embedder}, not of {wanted.embedder}: add --move to replace them."
        )
    await vectors.move(corpus, wanted)


async def backfill_templates(
    embedding: TemplateEmbedding, *, after: int, batch: int, delay_s: float, told: Callable[[int, int], None]
) -> int:
    """Embed every template without a vector, by id from `after` on; `told(last id, vectors so far)` after each batch."""
    done, last = 0, after
    while True:
        last, new = await embedding.advance(last, batch)
        if last < 0:
            return done
        done += new
        told(last, done)
        await asyncio.sleep(delay_s)


async def find_near(
    vectors: VectorStore,
    corpus: Corpus,
    embedder: Embedder,
    text: str,
    limit: int,
    among: Sequence[str] | None = None,
) -> list[Near]:
    """Return the texts of a corpus nearest in meaning; of `among` only, if given. Empty where it holds none of ours."""
    space = await vectors.space(corpus)
    if space != Space(embedder.name, embedder.dimension):
        return []
    return await vectors.nearest(corpus, (await embedder.embed([text]))[0], limit, among)


class QueryEmbedder:
    """An embedder that remembers the last query: one search asks several corpora about the same text."""

    def __init__(self, inner: Embedder) -> None:
        self._inner = inner
        self._last: tuple[str, asyncio.Future[NDArray[np.float32]]] | None = None

    @property
    def name(self) -> str:
        """The name of the embedder itself."""
        return self._inner.name

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""
        return self._inner.dimension

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return one unit vector per text; raises EmbeddingError."""
        if len(texts) != 1:
            return await self._inner.embed(texts)
        if self._last is None or self._last[0] != texts[0]:
            self._last = texts[0], asyncio.ensure_future(self._inner.embed(texts))
        return await asyncio.shield(self._last[1])

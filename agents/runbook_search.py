"""Runbooks found by what their sections say and mean."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from domain.embedding import Embedder
from domain.errors import EmbeddingError, StorageError
from domain.terms import rank_texts
from retrieval.embedding import follow_queue
from retrieval.fusion import Ranking, fuse
from retrieval.text_vectors import TextVectors, text_key
from runbooks.library import Library
from runbooks.sections import Section, split_runbooks
from storage.vectors import VectorStore

_DEPTH = 30


@dataclass(frozen=True, slots=True)
class SectionHit:
    """A section that fits a text: its score in both rankings, by what it was found, how far its meaning is (0 to 2)."""

    section: Section
    score: float
    by: tuple[str, ...]
    distance: float | None = None


class RunbookSearch:
    """Searches the sections of a library; as a follower it gives them their vectors."""

    def __init__(self, library: Library, vectors: VectorStore | None, embedder: Embedder | None) -> None:
        self.library = library
        self._split = library.runbooks
        self._sections: dict[str, Section] = {}
        self._texts: dict[str, str] = {}
        self._follow_library(anew=True)
        self._vectors = TextVectors(vectors, "runbook", embedder) if vectors and embedder else None

    async def find(self, text: str, limit: int = 5, embedder: Embedder | None = None) -> tuple[list[SectionHit], str]:
        """Return the sections that fit a text best by words and meaning, and what the reader should know of the search.

        Several may be of one runbook. Never raises: without vectors, words alone are looked at. `embedder` is for a search
        that has embedded the text for other corpora: the same model, which remembers it.
        """
        self._follow_library()
        worded = rank_texts(self._texts.items(), text, _DEPTH)
        near, note = await self._near(text, embedder)
        fused = fuse([Ranking("words", worded), Ranking("meaning", list(near))])
        return [
            SectionHit(self._sections[one.key], round(one.score, 5), one.by, near.get(one.key)) for one in fused[:limit]
        ], note

    async def _near(self, text: str, embedder: Embedder | None) -> tuple[dict[str, float], str]:
        if self._vectors is None:
            return {}, "Runbooks were searched by words only: CAUSEGRAPH_EMBEDDER is `none`."
        try:
            near = await self._vectors.nearest(text, self._texts, _DEPTH, embedder)
        except (EmbeddingError, StorageError) as exc:
            return {}, f"Runbooks were searched by words only: {exc}"
        if not near and self._texts:
            how = "a running server gives them within seconds; `causegraph backfill` does it now"
            return {}, f"Runbooks were searched by words only: no section has a vector of this embedder yet ({how})."
        return {one.id: one.distance for one in near}, ""

    async def advance(self) -> int:
        """Embed the next sections without a vector; return how many, 0 at the end. Raises EmbeddingError, StorageError."""
        self._follow_library()
        return await self._vectors.advance(self._texts) if self._vectors else 0

    def _follow_library(self, *, anew: bool = False) -> None:
        """Split the runbooks again once their files have changed."""
        if anew or self._split is not self.library.runbooks:
            self._split = self.library.runbooks
            self._sections = {text_key(section.searched): section for section in split_runbooks(self.library)}
            self._texts = {key: section.searched for key, section in self._sections.items()}

    async def run(self, stop: asyncio.Event) -> None:
        """Give the sections their vectors until `stop` is set. Outlives failures of the database and of the embedder."""

        async def step() -> bool:
            return await self.advance() > 0

        await follow_queue(step, stop, "runbooks get no vectors for now")

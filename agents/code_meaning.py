"""Indexed code found by words and by meaning, each for itself or both fused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast, get_args

from domain.errors import EmbeddingError, QuestionError, StorageError
from domain.terms import read_terms
from indexer.text_search import PER_FILE, ChunkHit, first_line
from retrieval.chunk_embedding import ChunkEmbedder
from retrieval.embedding import find_near
from retrieval.fusion import Ranking, fuse

if TYPE_CHECKING:
    from domain.code import Chunk
    from domain.embedding import Embedder
    from indexer.code_index import CodeIndex, IndexedFile
    from indexer.search import CodeSearch
    from storage.vectors import VectorStore

type SearchBy = Literal["both", "words", "meaning"]

_DEPTH = 60
_MEANING_WEIGHT = 0.5
"""On issues of real projects the vector helps most at half the weight of the words."""

_EXACT = 20_000


class Searched(Protocol):
    """What is searched: the index, and the vectors of its chunks, if there are any."""

    @property
    def code(self) -> CodeSearch: ...

    @property
    def vectors(self) -> VectorStore | None: ...

    @property
    def embedder(self) -> Embedder | None: ...


@dataclass(frozen=True, slots=True)
class CodeHit:
    """A chunk that fits a query, the first line of interest, by what it was found, and how far its meaning is (0 to 2)."""

    file: IndexedFile
    chunk: Chunk
    line: int
    score: float
    by: tuple[str, ...]
    distance: float | None = None


_STILL_READING = "The code is being read for the first time: `causegraph code status` says how far that is."


async def find_code(
    services: Searched, query: str, limit: int, service: str = "", by: str = "both"
) -> tuple[list[CodeHit], str]:
    """Return the chunks that fit a query best, and what the reader should know of the search.

    Raises QuestionError where only the meaning was asked for and nothing can be found by it.
    """
    kind = _read_kind(by)
    loaded = await services.code.load(linked=False)
    index = loaded.part(service)[0]
    worded = [] if kind == "meaning" else await services.code.by_text(query, _DEPTH, service)
    near, note = ([], "") if kind == "words" else await near_chunks(services, index, query, service)
    if kind == "meaning" and note and not near:
        raise QuestionError(note)
    if loaded.unread:
        note = " ".join(filter(None, (note, _STILL_READING)))
    return _fuse(query, worded, near)[:limit], note


def _read_kind(by: str) -> SearchBy:
    if (by or "both") not in get_args(SearchBy.__value__):
        raise QuestionError(f"`by`: {by[:40]!r} is none of both, words and meaning.")
    return cast(SearchBy, by or "both")


type NearChunk = tuple[IndexedFile, Chunk, float]


async def near_chunks(services: Searched, index: CodeIndex, query: str, service: str) -> tuple[list[NearChunk], str]:
    """Return the chunks nearest in meaning, nearest first, and a line on what was not looked at."""
    if services.embedder is None or services.vectors is None:
        return [], "Searched by words only: CAUSEGRAPH_EMBEDDER is `none`."
    held = index.by_chunk
    among = list(held) if service and len(held) <= _EXACT else None
    try:
        found = await find_near(services.vectors, "chunk", ChunkEmbedder(services.embedder), query, 2 * _DEPTH, among)
        chunks, embedded = await services.code.count_chunks()
    except (EmbeddingError, StorageError) as exc:
        return [], f"Searched by words only: {exc}"
    near = [(*held[each.id], each.distance) for each in found if each.id in held][:_DEPTH]
    if embedded < chunks:
        how = "`causegraph serve` embeds them in the background, `causegraph backfill` at once"
        return near, f"{chunks - embedded:,} of {chunks:,} pieces of code have no vector yet: {how}."
    return near, ""


def _fuse(query: str, worded: Sequence[ChunkHit], near: Sequence[NearChunk]) -> list[CodeHit]:
    terms = list(read_terms(query))
    found = {hit.chunk.id: (hit.file, hit.chunk, hit.line) for hit in worded}
    for file, chunk, _ in near:
        found.setdefault(chunk.id, (file, chunk, first_line(chunk, terms)))
    distances = {chunk.id: distance for _, chunk, distance in near}
    fused = fuse(
        [
            Ranking("words", [hit.chunk.id for hit in worded]),
            Ranking("meaning", [chunk.id for _, chunk, _ in near], _MEANING_WEIGHT),
        ]
    )
    hits = []
    of_file: Counter[tuple[str, str]] = Counter()
    for one in sorted(fused, key=lambda one: (-one.score, found[one.key][0].path, found[one.key][2])):
        file, chunk, line = found[one.key]
        of_file[file.root, file.path] += 1
        if of_file[file.root, file.path] <= PER_FILE:
            hits.append(CodeHit(file, chunk, line, round(one.score, 5), one.by, distances.get(one.key)))
    return hits

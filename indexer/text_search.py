"""Search by words over chunks: BM25, with the words of paths and names counting more. Nothing is kept but the texts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from domain.code import Chunk
from domain.terms import read_terms, score_texts
from indexer.code_index import CodeIndex, IndexedFile

_NAME_WEIGHT = 2.0
_PATH_WEIGHT = 1.0
PER_FILE = 3


@dataclass(frozen=True, slots=True)
class ChunkHit:
    """A chunk that holds words of the query, and `line`, the first line with one of them."""

    file: IndexedFile
    chunk: Chunk
    line: int
    score: float


def search_text(index: CodeIndex, query: str, limit: int = 10) -> list[ChunkHit]:
    """Return the chunks that fit a query best, at most three of one file."""
    terms = read_terms(query)
    texts = index.lowered
    if not terms or not texts:
        return []

    def bonus(number: int, term: str) -> float:
        file, chunk, _ = texts[number]
        named = chunk.scope.rpartition(".")[2].lower() == term
        return _PATH_WEIGHT * (term in file.path.lower()) + _NAME_WEIGHT * named

    scores = score_texts([text for _, _, text in texts], terms, bonus)
    ranked = sorted(scores, key=lambda number: (-scores[number], number))
    hits: list[ChunkHit] = []
    of_file: defaultdict[int, int] = defaultdict(int)
    for number in ranked:
        file, chunk, _ = texts[number]
        of_file[id(file)] += 1
        if of_file[id(file)] <= PER_FILE:
            hits.append(ChunkHit(file, chunk, first_line(chunk, terms), round(scores[number], 3)))
        if len(hits) == limit:
            break
    return hits


def first_line(chunk: Chunk, terms: Iterable[str]) -> int:
    """Return the first line of a chunk that holds one of the terms, else the line where it begins."""
    wanted = tuple(terms)
    for number, line in enumerate(chunk.text.split("\n")):
        lowered = line.lower()
        if any(term in lowered for term in wanted):
            return chunk.start_line + number
    return chunk.start_line

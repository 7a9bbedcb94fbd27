"""Search by words over chunks: BM25, with the words of paths and names counting more. Nothing is kept but the texts.

The terms are counted with `str.count`, which reads hundreds of megabytes per second: an index of words would cost more
at every sync than it saves in a search.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from domain.code import Chunk
from indexer.code_index import CodeIndex, IndexedFile

_TERM = re.compile(r"[A-Za-z_][A-Za-z0-9_]+|\d{3,}")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_STOP = frozenset(
    "the and for are was with that this from what where how does did who why which into our not but has have had can is in "
    "of to on by an it at as be or if do".split()
)
_MAX_TERMS = 16
_K1, _B = 1.2, 0.5
_PART_WEIGHT = 0.4
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
    average = sum(len(text) for _, _, text in texts) / len(texts)
    scores: defaultdict[int, float] = defaultdict(float)
    for term, weight in terms.items():
        counts = [(number, text.count(term)) for number, (_, _, text) in enumerate(texts) if term in text]
        rarity = math.log(1 + (len(texts) - len(counts) + 0.5) / (len(counts) + 0.5)) * weight
        for number, count in counts:
            file, chunk, text = texts[number]
            norm = _K1 * (1 - _B + _B * len(text) / average)
            scores[number] += rarity * count * (_K1 + 1) / (count + norm)
            scores[number] += rarity * _PATH_WEIGHT * (term in file.path.lower())
            scores[number] += rarity * _NAME_WEIGHT * (chunk.scope.rpartition(".")[2].lower() == term)
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


def read_terms(query: str) -> dict[str, float]:
    """Return the words of a query, and with less weight the parts of its identifiers."""
    terms: dict[str, float] = {}
    for word in _TERM.findall(query)[: 4 * _MAX_TERMS]:
        if word.lower() not in _STOP:
            terms.setdefault(word.lower(), 1.0)
        parts = _PART.findall(word)
        for part in parts if len(parts) > 1 else ():
            if len(part) > 2 and part.lower() not in _STOP:
                terms.setdefault(part.lower(), _PART_WEIGHT)
    return dict(list(terms.items())[:_MAX_TERMS])


def first_line(chunk: Chunk, terms: Iterable[str]) -> int:
    """Return the first line of a chunk that holds one of the terms, else the line where it begins."""
    wanted = tuple(terms)
    for number, line in enumerate(chunk.text.split("\n")):
        lowered = line.lower()
        if any(term in lowered for term in wanted):
            return chunk.start_line + number
    return chunk.start_line

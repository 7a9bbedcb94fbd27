"""Several rankings become one: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009). Pure.

Ranks are added up and not scores: a cosine and a BM25 score have no common measure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_K = 60.0  # of the paper


@dataclass(frozen=True, slots=True)
class Ranking:
    """Keys, the best first, and by what they were found. `weight` says how much a place in it counts."""

    by: str
    keys: Sequence[str]
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Fused:
    """A key with its score in all rankings, and by what it was found."""

    key: str
    score: float
    by: tuple[str, ...]


def fuse(rankings: Iterable[Ranking]) -> list[Fused]:
    """Return every key of the rankings, the best first; equals in the order of their names."""
    scores: defaultdict[str, float] = defaultdict(float)
    by: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for ranking in rankings:
        for rank, key in enumerate(dict.fromkeys(ranking.keys), 1):
            scores[key] += ranking.weight / (_K + rank)
            by[key][ranking.by] = None
    return [Fused(key, scores[key], tuple(by[key])) for key in sorted(scores, key=lambda key: (-scores[key], key))]

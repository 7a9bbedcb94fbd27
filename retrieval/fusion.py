"""Several rankings become one: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009). Pure.

Ranks are added up and not scores: a cosine and a BM25 score have no common measure. How sure a place is may be said beside it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

_K = 60.0  # of the paper


@dataclass(frozen=True, slots=True)
class Ranking:
    """Keys, the best first, and by what they were found. `weight` says how much a place in it counts.

    `sure` says of keys how sure their place is, 0 to 1 (1 where it says nothing): the best of a bad lot counts for little.
    """

    by: str
    keys: Sequence[str]
    weight: float = 1.0
    sure: Mapping[str, float] = field(default_factory=dict)


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
            scores[key] += ranking.weight * ranking.sure.get(key, 1.0) / (_K + rank)
            by[key][ranking.by] = None
    return [Fused(key, scores[key], tuple(by[key])) for key in sorted(scores, key=lambda key: (-scores[key], key))]

"""The words of a query, and texts by how well they hold them: BM25 (Robertson and Zaragoza 2009). Pure; nothing is kept.

Terms are counted with `str.count`, which reads hundreds of megabytes per second and finds `reservation` in `reservations`:
an index of words would cost more at every change than it saves in a search.
"""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

_TERM = re.compile(r"[A-Za-z_][A-Za-z0-9_]+|\d{3,}")
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")
_STOP = frozenset(
    "the and for are was with that this from what where how does did who why which into our not but has have had can is in "
    "of to on by an it at as be or if do".split()
)
_MAX_TERMS = 16
_PART_WEIGHT = 0.4
_K1, _B = 1.2, 0.5


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


def score_texts(
    lowered: Sequence[str],
    terms: Mapping[str, float],
    bonus: Callable[[int, str], float] = lambda number, term: 0.0,
) -> dict[int, float]:
    """Return the scores of the texts (in lower case) that hold any of the terms, by their place.

    `bonus(place, term)` is added for a text that holds a term, in units of the term's rarity.
    """
    scores: defaultdict[int, float] = defaultdict(float)
    if not lowered:
        return scores
    average = max(1.0, sum(map(len, lowered)) / len(lowered))
    for term, weight in terms.items():
        counts = [(number, text.count(term)) for number, text in enumerate(lowered) if term in text]
        rarity = math.log(1 + (len(lowered) - len(counts) + 0.5) / (len(counts) + 0.5)) * weight
        for number, count in counts:
            norm = _K1 * (1 - _B + _B * len(lowered[number]) / average)
            scores[number] += rarity * (count * (_K1 + 1) / (count + norm) + bonus(number, term))
    return scores


def share_of_terms(lowered: Sequence[str], terms: Mapping[str, float]) -> list[float]:
    """Return which share of the terms each text (in lower case) holds, the rare ones among these texts counting more: 0 to 1."""
    stems = {term: _stem(term) for term in terms}
    holding = {term: [stem in text for text in lowered] for term, stem in stems.items()}
    rarity = {
        term: weight * math.log(1 + (len(lowered) - sum(holding[term]) + 0.5) / (sum(holding[term]) + 0.5))
        for term, weight in terms.items()
    }
    whole = sum(rarity.values()) or 1.0
    return [sum(rarity[term] for term in terms if holding[term][at]) / whole for at in range(len(lowered))]


def _stem(term: str) -> str:
    """Return a word without the common endings of English: `failed`, `failing` and `fails` are `fail`."""
    for ending in ("ing", "ed", "es", "s"):
        if term.endswith(ending) and len(term) - len(ending) >= 4:
            return term[: -len(ending)]
    return term


def rank_texts(texts: Iterable[tuple[str, str]], query: str, limit: int) -> list[str]:
    """Return the keys of the (key, text) that fit a query best by its words, best first; equals in their order."""
    held = list(texts)
    scores = score_texts([text.lower() for _, text in held], read_terms(query))
    ranked = sorted(scores, key=lambda number: (-scores[number], number))
    return [held[number][0] for number in ranked[:limit]]

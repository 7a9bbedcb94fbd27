"""From candidates to an order: words, meaning and names fused, then what lies near in the graph, then a second look. Pure.

Every stage is a function of its own, so that each can be measured. None of their weights was fitted to questions: the fusion
is that of its paper, a name counts twice, and the second look weighs four things that a person on call would look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from domain.terms import rank_texts, read_terms
from retrieval.fusion import Fused, Ranking, fuse
from retrieval.items import Candidates, Item, Link, Wanted, item_key
from retrieval.page_rank import freshness, spread_rank

_DEPTH = 200
_EXACT_WEIGHT = 2.0
_SEEDS = 50
_TEXT_SEED = 0.05  # of a text beside a service that is named (HippoRAG 2): texts would drown them otherwise
_LOOKED_AT_AGAIN = 60
_FALL = 10.0  # places down at which an order has lost half of what it says
_COVERAGE, _OWN, _CLOSE = 0.3, 0.15, 0.15


@dataclass(frozen=True, slots=True)
class Hit:
    """An item in its place: its score, by which rankings it was found, and a sentence on why it is here."""

    item: Item
    score: float
    by: tuple[str, ...]
    why: str = ""


def rank_words(wanted: Wanted, candidates: Candidates) -> Ranking:
    """Rank the candidates that hold words of the text, all kinds together."""
    texts = ((key, candidates.items[key].text) for key in candidates.worded)
    return Ranking("words", rank_texts(texts, wanted.text, _DEPTH))


def rank_meaning(candidates: Candidates) -> Ranking:
    """Rank the candidates by how near they are in meaning, all kinds together."""
    return Ranking("meaning", sorted(candidates.near, key=lambda key: (candidates.near[key], key))[:_DEPTH])


def rank_names(candidates: Candidates) -> Ranking:
    """Rank what the text names exactly, in the order in which it was found."""
    return Ranking("name", list(candidates.exact), _EXACT_WEIGHT)


def fuse_texts(wanted: Wanted, candidates: Candidates) -> list[Fused]:
    """Return the candidates by words, meaning and names together."""
    return fuse([rank_words(wanted, candidates), rank_meaning(candidates), rank_names(candidates)])


def choose_seeds(
    wanted: Wanted, candidates: Candidates, fused: Sequence[Fused], anomalous: Mapping[str, float]
) -> dict[str, float]:
    """Return where the walk through the graph begins: named services, those that are not well, what was found so far."""
    seeds = {item_key("service", name): 1.0 for name in wanted.named}
    for name, score in anomalous.items():
        key = item_key("service", name)
        seeds[key] = seeds.get(key, 0.0) + score
    for one in fused[:_SEEDS]:
        weight = 1.0 if one.key in candidates.exact else _TEXT_SEED
        seeds[one.key] = seeds.get(one.key, 0.0) + weight * one.score / fused[0].score
    return seeds


def rank_graph(wanted: Wanted, candidates: Candidates, links: Iterable[Link], seeds: Mapping[str, float]) -> Ranking:
    """Rank the candidates by how near they are to the seeds in the graph."""
    ranks = spread_rank(links, seeds, wanted.moment_us)
    found = [key for key in ranks if key in candidates.items and ranks[key] > 0 and _may_show(wanted, candidates, key)]
    return Ranking("graph", sorted(found, key=lambda key: (-ranks[key], key))[:_DEPTH])


def _may_show(wanted: Wanted, candidates: Candidates, key: str) -> bool:
    return wanted.wants(candidates.items[key].kind)


def fuse_all(fused: Sequence[Fused], graph: Ranking) -> list[Fused]:
    """Return the candidates by what their texts say and by where they stand in the graph."""
    how = {one.key: one.by for one in fused}
    joined = fuse([Ranking("text", [one.key for one in fused]), graph])
    return [
        Fused(one.key, one.score, (*how.get(one.key, ()), *(("graph",) if "graph" in one.by else ()))) for one in joined
    ]


def look_again(
    wanted: Wanted, candidates: Candidates, fused: Sequence[Fused], anomalous: Mapping[str, float], *, timed: bool
) -> list[Hit]:
    """Return the first of an order ranked anew: by their place, how many of the words they hold, whose they are, and, where
    the question is about a time, how near they are to it."""
    terms = read_terms(wanted.text)
    rarity = _rarity(terms, [candidates.items[one.key].text for one in fused[:_LOOKED_AT_AGAIN]])
    own = {*wanted.named, *anomalous}
    hits = []
    for place, one in enumerate(fused):
        item = candidates.items[one.key]
        score = 1.0 / (1.0 + place / _FALL)
        if place < _LOOKED_AT_AGAIN:
            score += _COVERAGE * _coverage(item.text, rarity)
            score += _OWN * bool(own.intersection(item.services))
            score += _CLOSE * (freshness(item.time_us, wanted.moment_us) if timed and item.time_us is not None else 0.0)
        hits.append(Hit(item, round(score, 4), one.by))
    return sorted(hits, key=lambda hit: (-hit.score, hit.item.key))


def _rarity(terms: Mapping[str, float], texts: Sequence[str]) -> dict[str, float]:
    """Return what each term says: less, the more of the texts hold it."""
    lowered = [text.lower() for text in texts]
    held = {term: sum(_stem(term) in text for text in lowered) for term in terms}
    return {term: weight / (1.0 + held[term]) ** 0.5 for term, weight in terms.items()}


def _coverage(text: str, rarity: Mapping[str, float]) -> float:
    lowered = text.lower()
    return sum(weight for term, weight in rarity.items() if _stem(term) in lowered) / (sum(rarity.values()) or 1.0)


def _stem(term: str) -> str:
    """Return a word without the common endings of English: `failed`, `failing` and `fails` are `fail`."""
    for ending in ("ing", "ed", "es", "s"):
        if term.endswith(ending) and len(term) - len(ending) >= 4:
            return term[: -len(ending)]
    return term

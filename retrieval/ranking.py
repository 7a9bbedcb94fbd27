"""From candidates to an order: words, meaning and names fused, then what lies near in the graph, then a second look. Pure.

Every stage is a function of its own, so that each can be measured. None of their weights was fitted to questions: the fusion
is that of its paper, a name counts twice, and the second look weighs four things that a person on call would look at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from domain.terms import rank_texts, read_terms, share_of_terms
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
_UNNAMED_WEIGHT = 0.25


@dataclass(frozen=True, slots=True)
class Hit:
    """An item in its place: its score, by which rankings it was found, and a sentence on why it is here."""

    item: Item
    score: float
    by: tuple[str, ...]
    why: str = ""


def rank_words(wanted: Wanted, candidates: Candidates) -> Ranking:
    """Rank the candidates that hold words of the text, all kinds together; as sure as the share of its words that each holds."""
    texts = {key: candidates.items[key].text for key in candidates.worded}
    shares = share_of_terms([text.lower() for text in texts.values()], read_terms(wanted.words))
    keys = rank_texts(texts.items(), wanted.words, _DEPTH)
    return Ranking("words", keys, sure=dict(zip(texts, shares, strict=True)))


def rank_meaning(candidates: Candidates) -> Ranking:
    """Rank the candidates by how near they are in meaning, all kinds together; as sure as the cosine of each."""
    keys = sorted(candidates.near, key=lambda key: (candidates.near[key], key))[:_DEPTH]
    return Ranking("meaning", keys, sure={key: max(0.0, 1.0 - candidates.near[key]) for key in keys})


def rank_names(candidates: Candidates) -> Ranking:
    """Rank what the text names exactly, in the order in which it was found."""
    return Ranking("name", list(candidates.exact), _EXACT_WEIGHT)


def fuse_texts(wanted: Wanted, candidates: Candidates) -> list[Fused]:
    """Return the candidates by words, meaning and names together."""
    return fuse([rank_words(wanted, candidates), rank_meaning(candidates), rank_names(candidates)])


def choose_seeds(wanted: Wanted, candidates: Candidates, fused: Sequence[Fused]) -> dict[str, float]:
    """Return where the walk through the graph begins: named services, those that are not well, what was found so far."""
    seeds = {item_key("service", name): 1.0 for name in wanted.named}
    for name, score in wanted.unwell.items():
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


def fuse_all(wanted: Wanted, candidates: Candidates, fused: Sequence[Fused], graph: Ranking) -> list[Fused]:
    """Return the candidates by what their texts say and by where they stand in the graph.

    What the graph does not know is judged by its text alone, and loses nothing by that. Where the walk began at texts and at
    nothing that has a name, it counts for less: it leads to what lies around them, whatever was asked.
    """
    how = {one.key: one.by for one in fused}
    weight = 1.0 if wanted.named or candidates.exact or wanted.unwell else _UNNAMED_WEIGHT
    known = set(graph.keys)
    text = Ranking("text", [one.key for one in fused])
    alone = Ranking("text", text.keys, weight, dict.fromkeys(known, 0.0))
    joined = fuse([text, replace(graph, weight=weight), alone])
    return [
        Fused(one.key, one.score, (*how.get(one.key, ()), *(("graph",) if "graph" in one.by else ()))) for one in joined
    ]


def look_again(wanted: Wanted, candidates: Candidates, fused: Sequence[Fused], *, timed: bool) -> list[Hit]:
    """Return the first of an order ranked anew: by their place, how many of the words they hold, whose they are, and, where
    the question is about a time, how near they are to it. What belongs to nobody, or has no time, is taken to be average."""
    items = [candidates.items[one.key] for one in fused[:_LOOKED_AT_AGAIN]]
    shares = share_of_terms([item.text.lower() for item in items], read_terms(wanted.words))
    own = {*wanted.named, *wanted.unwell}
    whose = _imputed([float(bool(own.intersection(item.services))) if item.services else None for item in items])
    close = _imputed([None if item.time_us is None else freshness(item.time_us, wanted.moment_us) for item in items])
    hits = []
    for place, one in enumerate(fused):
        score = 1.0 / (1.0 + place / _FALL)
        if place < len(items):
            score += _COVERAGE * shares[place] + _OWN * whose[place] + _CLOSE * close[place] * timed
        hits.append(Hit(candidates.items[one.key], round(score, 4), one.by))
    return sorted(hits, key=lambda hit: (-hit.score, hit.item.key))


def _imputed(values: Sequence[float | None]) -> list[float]:
    """Return the values, the mean in place of what is not known."""
    known = [value for value in values if value is not None]
    mean = sum(known) / len(known) if known else 0.0
    return [mean if value is None else value for value in values]

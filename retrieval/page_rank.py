"""Personalised PageRank (Haveliwala 2002) over a small graph: what lies near the seeds, by all ways at once. Pure.

Damping and the small weight of texts beside things with a name are those of HippoRAG 2 (Gutiérrez et al. 2025).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

import numpy as np

from domain.times import HOUR_US
from retrieval.items import Link, LinkKind

_DAMPING = 0.5
_ROUNDS = 20
_HALF_LIFE_US = HOUR_US
_LEAST_FRESH = 0.1

# How much of a node's weight goes along a link and against it. Trouble is found where the calls lead, so these count double.
_WEIGHTS: Final[Mapping[LinkKind, tuple[float, float]]] = {
    "CALLS": (1.4, 0.7),
    "RUNS_ON": (0.6, 0.6),
    "EMITTED": (0.3, 0.3),
    "CHANGED": (0.6, 0.6),
    "AFFECTS": (1.0, 1.0),
    "RELATED_RUNBOOK": (0.5, 0.5),
    "DEPLOYED_AS": (0.3, 0.3),
    "LOGS": (0.6, 0.6),
    "HAS_LOG": (0.3, 0.3),
}


def spread_rank(links: Iterable[Link], seeds: Mapping[str, float], moment_us: int) -> dict[str, float]:
    """Return the rank of every node; they add up to one. Links seen long before or after the moment count less."""
    known = list(links)
    names = sorted({end for link in known for end in (link.source, link.target)} | set(seeds))
    place = {name: number for number, name in enumerate(names)}
    start = np.zeros(len(names))
    for name, weight in seeds.items():
        start[place[name]] = max(0.0, weight)
    if not start.sum():
        return {}
    start /= start.sum()
    if not known:
        return {name: float(start[place[name]]) for name in names}
    source = np.array([place[link.source] for link in known])
    target = np.array([place[link.target] for link in known])
    fresh = np.array([link.weight * freshness(link.time_us, moment_us) for link in known])
    along = fresh * np.array([_WEIGHTS[link.kind][0] for link in known])
    against = fresh * np.array([_WEIGHTS[link.kind][1] for link in known])
    begin, end, weight = np.r_[source, target], np.r_[target, source], np.r_[along, against]
    weight = weight / np.bincount(begin, weight, len(names))[begin]
    rank = start.copy()
    for _ in range(_ROUNDS):
        moved = np.bincount(end, rank[begin] * weight, len(names))
        rank = _DAMPING * moved + (1.0 - _DAMPING * moved.sum()) * start
    return {name: float(rank[number]) for name, number in place.items()}


def freshness(time_us: int | None, moment_us: int) -> float:
    """Return how near to the moment a time is: 1 is at it, an hour away is a half, never below a tenth; 1 where none is known."""
    if time_us is None:
        return 1.0
    return max(_LEAST_FRESH, float(0.5 ** (abs(time_us - moment_us) / _HALF_LIFE_US)))

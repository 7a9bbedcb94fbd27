"""Figures for a grouping of log lines beside the true one. Labels are read here alone; no miner sees them.

GA is the share of lines whose group holds exactly the lines of its true group. FGA is F1 over whole groups. Both fall
far when one line of a large group strays, so the pairwise F1 (over all pairs of lines put together) stands beside them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a grouping fits the true one; `per_1000` is how many groups it made of a thousand lines."""

    ga: float
    fga: float
    pairwise: float
    per_1000: float
    groups: int
    true_groups: int


def compare_groupings(found: Sequence[Hashable], truth: Sequence[Hashable]) -> Agreement:
    """Score one group per line against the true group per line; both have at least one line."""
    sizes, true_sizes = Counter(found), Counter(truth)
    both = Counter(zip(found, truth, strict=True))
    exact = [count for (ours, theirs), count in both.items() if count == sizes[ours] == true_sizes[theirs]]
    together = sum(map(_pairs, both.values()))
    return Agreement(
        ga=sum(exact) / len(truth),
        fga=2 * len(exact) / (len(sizes) + len(true_sizes)),
        pairwise=_f1(together, sum(map(_pairs, sizes.values())), sum(map(_pairs, true_sizes.values()))),
        per_1000=1000 * len(sizes) / len(truth),
        groups=len(sizes),
        true_groups=len(true_sizes),
    )


def _pairs(lines: int) -> int:
    return lines * (lines - 1) // 2


def _f1(both: int, ours: int, theirs: int) -> float:
    return 2 * both / (ours + theirs) if ours + theirs else 1.0

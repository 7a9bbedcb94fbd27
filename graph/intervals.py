"""Observations as intervals of time. Pure.

A set of observations has exactly one set of intervals, whatever the order or the grouping in which they came: the
connected parts of the union of [first, last + lifetime]. So batches may come late, twice apart or from the past.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class Interval:
    """Something seen `count` times (`errors` of them failures) from `first_us` to `last_us`, both included.

    `level` is the highest log level among what was seen, 0 where there is none.
    """

    first_us: int
    last_us: int
    count: int
    errors: int
    level: int = 0

    def valid_to_us(self, lifetime_us: int) -> int:
        """Return the moment, in microseconds, from which this no longer holds."""
        return self.last_us + lifetime_us


def unite(observations: Iterable[Interval], lifetime_us: int) -> tuple[Interval, ...]:
    """Return the intervals of any observations and intervals, in order; between two of them lies more than a lifetime.

    Counts add up, levels take the highest. `unite(unite(a) + b) == unite(a + b)` for any a and b. Pass each observation
    once: the same one passed twice counts twice.
    """
    united: list[Interval] = []
    for seen in sorted(observations):
        if united and seen.first_us <= united[-1].last_us + lifetime_us:
            united[-1] = _joined(united[-1], seen)
        else:
            united.append(seen)
    return tuple(united)


def _joined(one: Interval, other: Interval) -> Interval:
    return Interval(
        first_us=min(one.first_us, other.first_us),
        last_us=max(one.last_us, other.last_us),
        count=one.count + other.count,
        errors=one.errors + other.errors,
        level=max(one.level, other.level),
    )

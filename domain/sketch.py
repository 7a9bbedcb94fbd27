"""Durations in few numbers: how many fell into each of the buckets that grow by a fourth of an octave.

Sketches of parts add up to the sketch of the whole, in any order, and counts can be taken out again. A quantile is at
most 9 % off (the buckets of DDSketch, Masson et al. 2019, with a growth of 2^(1/4)).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

BUCKETS_PER_OCTAVE = 4


def bucket_of(duration_us: int) -> int:
    """Return the bucket of a duration in microseconds; the SQL of `storage/queries` says the same."""
    return math.floor(BUCKETS_PER_OCTAVE * math.log2(max(1, duration_us)))


@dataclass(frozen=True, slots=True)
class LatencySketch:
    """How many durations fell into each bucket; a bucket without any is left out."""

    counts: Mapping[int, int] = field(default_factory=dict)

    @classmethod
    def of(cls, durations_us: Iterable[int]) -> LatencySketch:
        """Return the sketch of some durations in microseconds."""
        return cls(Counter(map(bucket_of, durations_us)))

    @classmethod
    def from_text(cls, text: str) -> LatencySketch:
        """Return what `to_text` wrote."""
        return cls({int(bucket): int(count) for bucket, count in (pair.split(":") for pair in text.split())})

    def to_text(self) -> str:
        """Return `bucket:count` pairs in order, for the database."""
        return " ".join(f"{bucket}:{count}" for bucket, count in sorted(self.counts.items()) if count)

    @property
    def total(self) -> int:
        """How many durations there are."""
        return sum(self.counts.values())

    def plus(self, other: LatencySketch) -> LatencySketch:
        """Return the sketch of both; negative counts of the other take out."""
        counts = dict(self.counts)
        for bucket, count in other.counts.items():
            counts[bucket] = counts.get(bucket, 0) + count
        return LatencySketch({bucket: count for bucket, count in counts.items() if count})

    def quantile_us(self, share: float) -> int:
        """Return the duration (us) that a share of all durations does not exceed; 0 where there are none."""
        rank, below = share * self.total, 0
        for bucket, count in sorted(self.counts.items()):
            below += count
            if below >= rank:
                return round(2 ** ((bucket + 0.5) / BUCKETS_PER_OCTAVE))
        return 0

    def above(self, limit_us: int) -> int:
        """Return how many durations lie in buckets above that of a limit."""
        limit = bucket_of(limit_us)
        return sum(count for bucket, count in self.counts.items() if bucket > limit)

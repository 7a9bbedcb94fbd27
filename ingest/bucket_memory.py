"""What the buckets of cumulative histograms held last, so that a quantile tells of the time since and not of a whole life."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence

_SERIES = 50_000
# A series that began so shortly before its first sample has no life before it that would count.
_YOUNG_US = 120_000_000


class BucketMemory:
    """The last counts of each series that this process has decoded; the longest unused are forgotten. Threads may share it.

    Of a series that several processes take in turns each sees a part: its differences then span longer times.
    """

    def __init__(self, series: int = _SERIES) -> None:
        self._series = series
        self._held: OrderedDict[Hashable, tuple[int, tuple[int, ...]]] = OrderedDict()
        self._lock = threading.Lock()

    def counts_since(self, key: Hashable, start_us: int, time_us: int, counts: Sequence[int]) -> list[int]:
        """Return what was added to each bucket since the last sample of a series; nothing where that is not known.

        `start_us` is when the series began to count, 0 if it does not say. A sample that comes late or again, or whose
        counts fell, says nothing.
        """
        now = tuple(counts)
        with self._lock:
            known = self._held.get(key)
            if known is not None and known[0] >= time_us:
                return []
            self._held[key] = (time_us, now)
            self._held.move_to_end(key)
            if len(self._held) > self._series:
                self._held.popitem(last=False)
        if known is None:
            return list(now) if start_us and 0 <= time_us - start_us <= _YOUNG_US else []
        before = known[1]
        if len(before) != len(now) or any(b > n for b, n in zip(before, now, strict=True)):
            return []
        return [n - b for b, n in zip(before, now, strict=True)]

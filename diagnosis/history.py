"""The last hour of an operation's requests, and what is usual for it. No I/O.

Slots of ten seconds are kept for ten minutes, minutes for an hour and ten minutes; both are sums, so what comes late
is added where it belongs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from diagnosis.symptom import SLOW_EXTRA_US, SLOW_FACTOR
from domain.noticed import RequestSlot
from domain.sketch import LatencySketch
from domain.times import MINUTE_US, SLOT_US, floor_slot

KEPT_SLOTS_US = 10 * MINUTE_US
BASELINE_US = 60 * MINUTE_US
KEPT_US = BASELINE_US + KEPT_SLOTS_US
# The newest minutes say what is, not what is usual.
GUARD_US = 3 * MINUTE_US
# A share of bad requests below this is as good as none, one above that is never called usual.
LEAST_SHARE, MOST_SHARE = 0.01, 0.2
_NO_LIMIT_US = 2**62


@dataclass(slots=True)
class Tally:
    """Requests of one stretch of time, added up."""

    requests: int = 0
    errors: int = 0
    roots: int = 0
    durations: dict[int, int] = field(default_factory=dict)

    def add(self, slot: RequestSlot) -> None:
        """Count a slot's requests too."""
        self.requests += slot.requests
        self.errors += slot.errors
        self.roots += slot.roots
        for bucket, count in slot.durations.counts.items():
            self.durations[bucket] = self.durations.get(bucket, 0) + count

    def slow(self, limit_us: int) -> int:
        """Return how many took longer than a limit."""
        return LatencySketch(self.durations).above(limit_us)

    def bad(self, slow_us: int) -> int:
        """Return how many failed, or with a limit how many took longer."""
        return self.slow(slow_us) if slow_us else self.errors


@dataclass(frozen=True, slots=True)
class Usual:
    """What an operation is like when nothing is wrong; shares lie between `LEAST_SHARE` and `MOST_SHARE`.

    `slow_us` is 0 where too little is known to call anything slow. `per_minute` is the usual number of requests, and
    `least` the smallest of any two minutes in a row; both are 0 where there was no steady traffic. `line_share` is the
    share of error lines that is nothing unheard of, and `minutes` counts the calm ones that all this was learned from.
    """

    error_share: float
    slow_us: int
    slow_share: float
    per_minute: float
    least: int
    line_share: float = LEAST_SHARE
    minutes: int = 0


class History:
    """What is remembered of one operation, or of all operations of a service together."""

    def __init__(self) -> None:
        self.slots: dict[int, Tally] = {}
        self.minutes: dict[int, Tally] = {}
        self.settled_us = 0  # what was bad before has been told already
        self._troubled: set[int] = set()
        self._usual: tuple[int, Usual] | None = None

    def add(self, slot: RequestSlot) -> None:
        """Take a slot's requests in, whenever they come."""
        self.slots.setdefault(slot.slot_us, Tally()).add(slot)
        self.minutes.setdefault(floor_slot(slot.slot_us, MINUTE_US), Tally()).add(slot)

    def forget_before(self, now_us: int) -> None:
        """Drop what is too old to matter."""
        for kept, age_us in ((self.slots, KEPT_SLOTS_US), (self.minutes, KEPT_US)):
            for moment in [moment for moment in kept if moment < now_us - age_us]:
                del kept[moment]
        self._troubled = {minute for minute in self._troubled if minute >= now_us - KEPT_US}

    def exclude(self, start_us: int, end_us: int) -> None:
        """Say that something was wrong then: those minutes are not what is usual."""
        first = floor_slot(max(start_us, end_us - KEPT_US), MINUTE_US)
        self._troubled.update(range(first, end_us, MINUTE_US))

    def recent(self, now_us: int, window_us: int) -> list[tuple[int, Tally]]:
        """Return the slots of a window that ends now, oldest first; those without requests are left out."""
        moments = range(floor_slot(now_us - window_us), now_us, SLOT_US)
        return [(moment, self.slots[moment]) for moment in moments if moment in self.slots]

    def whole_minutes(self, now_us: int, window_us: int) -> list[tuple[int, Tally]]:
        """Return the minutes that lie within a window that ends now, oldest first."""
        last = floor_slot(now_us, MINUTE_US)
        moments = range(last - window_us, last, MINUTE_US)
        return [(moment, self.minutes[moment]) for moment in moments if moment in self.minutes]

    def usual(self, now_us: int) -> Usual:
        """Return what is usual as of now; worked out anew each minute."""
        minute = floor_slot(now_us, MINUTE_US)
        if self._usual is None or self._usual[0] != minute:
            self._usual = (minute, self._work_out(minute))
        return self._usual[1]

    def _work_out(self, now_us: int) -> Usual:
        calm = [
            (moment, tally)
            for moment, tally in self.whole_minutes(now_us - GUARD_US, BASELINE_US)
            if moment not in self._troubled
        ]
        tallies = [tally for _, tally in calm if tally.requests]
        slow_us = _slow_limit(tallies)
        per_minute, least = _traffic(calm)
        return Usual(
            error_share=usual_share((t.errors, t.requests) for t in tallies),
            slow_us=slow_us,
            slow_share=usual_share((t.slow(slow_us), t.requests) for t in tallies) if slow_us else LEAST_SHARE,
            per_minute=per_minute,
            least=least,
            line_share=_worst_share(tallies),
            minutes=len(tallies),
        )


def usual_share(minutes: Iterable[tuple[int, int]]) -> float:
    """Return the usual share of bad requests from (bad, all) per minute: the median of the better three quarters.

    So a fault of a quarter of the hour does not become usual.
    """
    shares = sorted(bad / count for bad, count in minutes)
    better = shares[: max(1, 3 * len(shares) // 4)]
    return min(MOST_SHARE, max(LEAST_SHARE, median(better))) if better else LEAST_SHARE


def _worst_share(minutes: list[Tally]) -> float:
    """Return the largest share of errors in any three minutes: a job that complains every now and then is usual."""
    shares = [
        sum(tally.errors for tally in held) / max(1, sum(tally.requests for tally in held))
        for held in (minutes[at : at + 3] for at in range(max(1, len(minutes) - 2)))
    ]
    return max(LEAST_SHARE, *shares)


_MIN_MINUTES = 5
_MIN_REQUESTS = 30
_STEADY_MINUTES = 15


def _slow_limit(minutes: list[Tally]) -> int:
    """Return the duration above which a request is slow: as in `diagnosis.symptom`, from the minutes' medians."""
    if len(minutes) < _MIN_MINUTES or sum(tally.requests for tally in minutes) < _MIN_REQUESTS:
        return 0
    medians = sorted(LatencySketch(tally.durations).quantile_us(0.5) for tally in minutes)
    usual = medians[(len(medians) - 1) // 4]
    return min(_NO_LIMIT_US, round(max(SLOW_FACTOR * usual, usual + SLOW_EXTRA_US)))


def _traffic(calm: list[tuple[int, Tally]]) -> tuple[float, int]:
    """Return the usual requests per minute, of the hour or of its end if that is less, and the least of two minutes."""
    steady = calm[-_STEADY_MINUTES:]
    if len(steady) < _STEADY_MINUTES or steady[-1][0] - steady[0][0] != (_STEADY_MINUTES - 1) * MINUTE_US:
        return 0.0, 0
    hour = [tally.requests for _, tally in calm]
    least = min(one + other for one, other in pairwise(hour))
    return min(median(hour), median(hour[-_STEADY_MINUTES // 2 :])), least

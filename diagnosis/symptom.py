"""When did it go wrong, and for whom: the stretch of time in which an operation's requests fail or crawl.

Each bucket of time holds n requests, k of them bad. Under "nothing is wrong" the share of bad requests is the
operation's own usual share p0, under "something is wrong" it is p1. The log-likelihood ratio of the buckets is summed,
and the stretch with the largest sum is the symptom (Kadane's maximum-sum segment, i.e. a scan statistic; Kulldorff
1997). No threshold on rates, no fixed baseline: a service that always fails 2 % of its requests stays healthy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from domain.observed import EntryBucket

# A symptom must be this much likelier than chance (natural logarithm), and hit this many requests and this share.
MIN_EVIDENCE = 8.0
MIN_BAD = 4
MIN_SHARE = 0.05
MIN_BEFORE = 10
# A request is slow when it takes this many times as long as the operation usually does, and at least this much longer.
SLOW_FACTOR = 3.0
SLOW_EXTRA_US = 100_000


@dataclass(frozen=True, slots=True)
class Symptom:
    """An operation whose requests went bad, from when to when, and how badly.

    `evidence` is the log-likelihood ratio against "as usual"; `share` and `usual_share` are bad requests over all
    requests inside and outside the stretch; `recovered` says that it ended before the data did. A symptom of the kind
    "logs" counts error lines in place of failed requests, where no spans are sent. One of the kind "stated" was not
    measured: somebody said that there was trouble in that time. One of the kind "metrics" was read
    off metrics alone, and `text` says what it was.
    """

    service: str
    operation: str
    kind: Literal["errors", "latency", "logs", "metrics", "stated"]
    start_us: int
    end_us: int
    bad: int
    requests: int
    share: float
    usual_share: float
    evidence: float
    recovered: bool
    slow_us: int
    roots: int = 0
    text: str = ""


def state_symptom(service: str, start_us: int, end_us: int, requests: int) -> Symptom:
    """Return the symptom of somebody's word: trouble in a stretch of time, seen from a service that users call."""
    return Symptom(service, "", "stated", start_us, end_us, 0, requests, 0.0, 0.0, 0.0, False, 2**62, requests)


def usual_slow_us(buckets: Iterable[EntryBucket]) -> dict[tuple[str, str], int]:
    """Return per operation the duration (us) above which a request counts as slow.

    The usual duration is the lower quartile of the buckets' geometric means: it stays right while a fault of up to
    three quarters of the time drags the mean.
    """
    durations: dict[tuple[str, str], list[float]] = defaultdict(list)
    for bucket in buckets:
        durations[bucket.service, bucket.name].append(bucket.log_duration)
    result = {}
    for operation, logs in durations.items():
        ordered = sorted(logs)
        usual = math.exp(ordered[(len(ordered) - 1) // 4])
        result[operation] = int(max(SLOW_FACTOR * usual, usual + SLOW_EXTRA_US))
    return result


def find_symptoms(
    buckets: Sequence[EntryBucket], bucket_us: int, kind: Literal["errors", "latency"], slow_us: int = 0
) -> list[Symptom]:
    """Return the symptoms of all operations, strongest first.

    For `kind="latency"` the buckets' `slow` counts requests above `slow_us`.
    """
    operations: dict[tuple[str, str], list[EntryBucket]] = defaultdict(list)
    for bucket in buckets:
        operations[bucket.service, bucket.name].append(bucket)
    found = []
    for (service, name), rows in operations.items():
        rows.sort(key=lambda row: row.bucket)
        symptom = _scan(service, name, rows, bucket_us, kind, slow_us)
        if symptom is not None:
            found.append(symptom)
    return sorted(found, key=lambda s: (-s.evidence, s.service, s.operation))


def _scan(
    service: str,
    name: str,
    rows: Sequence[EntryBucket],
    bucket_us: int,
    kind: Literal["errors", "latency"],
    slow_us: int,
) -> Symptom | None:
    bad = [row.errors if kind == "errors" else row.slow for row in rows]
    total = [row.requests for row in rows]
    if sum(bad) < MIN_BAD:
        return None
    usual = _usual_share(bad, total)
    raised = min(0.95, max(0.25, 2 * usual))
    best, first, last = _maximum_segment([_ratio(k, n, usual, raised) for k, n in zip(bad, total, strict=True)])
    inside, requests = sum(bad[first : last + 1]), sum(total[first : last + 1])
    outside_requests = sum(total) - requests
    outside = sum(bad) - inside
    share = inside / requests if requests else 0.0
    usual_share = outside / outside_requests if outside_requests else 0.0
    if kind == "latency" and sum(total[:first]) < MIN_BEFORE:
        return None  # without requests from before, slow is only another word for "this operation"
    if best < MIN_EVIDENCE or inside < MIN_BAD or share < MIN_SHARE or share < 3 * usual_share:
        return None
    return Symptom(
        service=service,
        operation=name,
        kind=kind,
        start_us=rows[first].bucket * bucket_us,
        end_us=(rows[last].bucket + 1) * bucket_us,
        bad=inside,
        requests=requests,
        share=share,
        usual_share=usual_share,
        evidence=best,
        recovered=_recovered(bad, total, first, last),
        slow_us=slow_us,
        roots=sum(row.roots for row in rows),
    )


def _usual_share(bad: Sequence[int], total: Sequence[int]) -> float:
    """The usual share of bad requests: the median over buckets of the better half, never quite zero."""
    shares = sorted(k / n for k, n in zip(bad, total, strict=True) if n)
    better = shares[: max(1, len(shares) // 2)]
    return min(0.2, max(0.01, median(better)))


def _ratio(bad: int, total: int, usual: float, raised: float) -> float:
    return bad * math.log(raised / usual) + (total - bad) * math.log((1 - raised) / (1 - usual))


def _maximum_segment(values: Sequence[float]) -> tuple[float, int, int]:
    best, best_first, best_last = -math.inf, 0, 0
    running, first = 0.0, 0
    for at, value in enumerate(values):
        if running <= 0:
            running, first = value, at
        else:
            running += value
        if running > best:
            best, best_first, best_last = running, first, at
    return best, best_first, best_last


def _recovered(bad: Sequence[int], total: Sequence[int], first: int, last: int) -> bool:
    """True where the trouble stayed away long enough to have shown again.

    That takes enough good requests after the stretch, and a calm of twice the longest one within it: trouble that
    comes in bursts has not recovered between two of them.
    """
    share = sum(bad[first : last + 1]) / max(1, sum(total[first : last + 1]))
    after = sum(total[last + 1 :])
    if after < max(10, 5 / max(share, 0.01)) or sum(bad[last + 1 :]) / after >= share / 4:
        return False
    longest, calm = 0, 0
    for count in bad[first : last + 1]:
        calm = 0 if count else calm + 1
        longest = max(longest, calm)
    return len(bad) - last - 1 > 2 * longest

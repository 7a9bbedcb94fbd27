"""When did it go wrong, and for whom: the stretch of time in which an operation's requests fail or crawl.

Each bucket of time holds n requests, k of them bad. Under "nothing is wrong" the share of bad requests is the
operation's own usual share p0, under "something is wrong" it is p1. The log-likelihood ratio of the buckets is summed,
and the stretch with the largest sum is the symptom (Kadane's maximum-sum segment, i.e. a scan statistic; Kulldorff
1997). No threshold on rates, no fixed baseline: a service that always fails 2 % of its requests stays healthy.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal, NamedTuple

from domain.observed import EntryBucket
from domain.times import MINUTE_US

# A symptom must be this much likelier than chance (natural logarithm), and hit this many requests and this share.
MIN_EVIDENCE = 8.0
MIN_BAD = 4
MIN_SHARE = 0.05
MIN_BEFORE = 10
# A request is slow when it takes this many times as long as the operation usually does, and at least this much longer.
SLOW_FACTOR = 3.0
SLOW_EXTRA_US = 100_000
_STRETCH, _STRETCHES = 50, 8
# By how much (nats) requests from before must be likelier under their own share of bad ones than under the symptom's.
_MIN_BEGUN = 4.0
# A calm of at least this long divides two troubles of one operation.
_APART_US = 5 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Symptom:
    """An operation whose requests went bad, from when to when, and how badly.

    `evidence` is the log-likelihood ratio against "as usual"; `share` and `usual_share` are bad requests over all
    requests inside and outside the stretch; `recovered` says that it ended before the data did. A symptom of the kind
    "logs" counts error lines in place of failed requests, where no spans are sent. One of the kind "stated" was not
    measured: somebody said that there was trouble in that time. One of the kind "metrics" was read
    off metrics alone, and `text` says what it was. `begun` says that there are requests from before that were better;
    else it may be how the operation always is.
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
    begun: bool = True


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
    """Return the symptoms of all operations, strongest first; an operation can have had trouble more than once.

    For `kind="latency"` the buckets' `slow` counts requests above `slow_us`.
    """
    operations: dict[tuple[str, str], list[EntryBucket]] = defaultdict(list)
    for bucket in buckets:
        operations[bucket.service, bucket.name].append(bucket)
    found: list[Symptom] = []
    for rows in operations.values():
        rows.sort(key=lambda row: row.bucket)
        found.extend(_scan(rows, bucket_us, kind, slow_us))
    return sorted(found, key=lambda s: (-s.evidence, s.service, s.operation))


def _scan(
    rows: Sequence[EntryBucket], bucket_us: int, kind: Literal["errors", "latency"], slow_us: int
) -> Iterator[Symptom]:
    """Yield the troubles of one operation, by time."""
    bad = [row.errors if kind == "errors" else row.slow for row in rows]
    total = [row.requests for row in rows]
    if sum(bad) < MIN_BAD:
        return
    usual = _usual_share(bad, total)
    raised = min(0.95, max(0.25, 2 * usual))
    ratios = [_ratio(k, n, usual, raised) for k, n in zip(bad, total, strict=True)]
    stretches = _apart([(row.bucket, row.bucket + 1) for row in rows], _stretches(ratios), _APART_US // bucket_us)
    inside = [(sum(bad[s.first : s.last + 1]), sum(total[s.first : s.last + 1])) for s in stretches]
    outside_bad = sum(bad) - sum(k for k, _ in inside)
    outside = sum(total) - sum(n for _, n in inside)
    usual_share = outside_bad / outside if outside else 0.0
    for at, (stretch, (count, requests)) in enumerate(zip(stretches, inside, strict=True)):
        until = stretches[at + 1].first if at + 1 < len(stretches) else len(rows)
        share = count / requests if requests else 0.0
        if kind == "latency" and sum(total[: stretch.first]) < MIN_BEFORE:
            continue  # without requests from before, slow is only another word for "this operation"
        if count < MIN_BAD or share < MIN_SHARE or share < 3 * usual_share:
            continue
        yield Symptom(
            service=rows[0].service,
            operation=rows[0].name,
            kind=kind,
            start_us=rows[stretch.first].bucket * bucket_us,
            end_us=(rows[stretch.last].bucket + 1) * bucket_us,
            bad=count,
            requests=requests,
            share=share,
            usual_share=usual_share,
            evidence=stretch.evidence,
            recovered=_recovered(bad[:until], total[:until], stretch.first, stretch.last),
            slow_us=slow_us,
            roots=sum(row.roots for row in rows),
            begun=_begun(sum(bad[: stretch.first]), sum(total[: stretch.first]), share),
        )


class _Stretch(NamedTuple):
    """Consecutive rows and how much likelier they are under "something is wrong" (natural logarithm)."""

    first: int
    last: int
    evidence: float


def _stretches(ratios: Sequence[float]) -> list[_Stretch]:
    """Return every stretch of enough evidence, by time: the strongest, and again those before and after it."""
    found = []
    parts = [(0, len(ratios))]
    while parts:
        begin, end = parts.pop()
        if begin == end:
            continue
        evidence, first, last = _maximum_segment(ratios[begin:end])
        if evidence >= MIN_EVIDENCE:
            found.append(_Stretch(begin + first, begin + last, evidence))
            parts += [(begin, begin + first), (begin + last + 1, end)]
    return sorted(found)


def _apart(buckets: Sequence[tuple[int, int]], stretches: Sequence[_Stretch], apart: int) -> list[_Stretch]:
    """Return the strongest stretch of each trouble; trouble that comes in bursts is one.

    Two stretches are two troubles when the calm between them lasted long: `apart` buckets, and longer than either.
    """
    troubles: list[list[_Stretch]] = []
    for stretch in stretches:
        if troubles:
            last = troubles[-1][-1]
            calm = buckets[stretch.first][0] - buckets[last.last][1]
            longest = max(buckets[s.last][1] - buckets[s.first][0] for s in (*troubles[-1], stretch))
            if calm < apart or calm < 2 * longest:
                troubles[-1].append(stretch)
                continue
        troubles.append([stretch])
    return [max(trouble, key=lambda s: s.evidence) for trouble in troubles]


def _usual_share(bad: Sequence[int], total: Sequence[int]) -> float:
    """The usual share of bad requests: the median over stretches of the better half, never quite zero.

    A stretch is as many buckets as hold enough requests to show a share of a few percent.
    """
    least = min(_STRETCH, max(1, sum(total) // _STRETCHES))
    shares, count, requests = [], 0, 0
    for k, n in zip(bad, total, strict=True):
        count, requests = count + k, requests + n
        if requests >= least:
            shares.append(count / requests)
            count, requests = 0, 0
    better = sorted(shares)[: max(1, len(shares) // 2)]
    return min(0.2, max(0.01, median(better)))


def _begun(bad: int, total: int, share: float) -> bool:
    """True where the requests before a symptom show that it was not always like that."""
    usual, share = max(bad / total, 0.005) if total else 0.0, min(share, 0.995)
    return total > 0 and usual < share and -_ratio(bad, total, usual, share) >= _MIN_BEGUN


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

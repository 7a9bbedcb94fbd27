"""What metrics of requests stand for: counters are read by their growth, labels say what failed, sums go by their counts.

The field has several habits. A mesh counts requests per answer (`..._total{response_code="503"}`), a library writes a
sum of seconds beside a count, others send a rate or a mean. All of them become the same three meters, per service and
caller: how many requests came, how many failed, how long they took.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from domain.observed import MeasuredRole, MeterPoint

type Role = MeasuredRole
type SeriesKey = tuple[str, str, str]

_ROLES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    ("availability", re.compile(r"availab|success.?rate|uptime", re.IGNORECASE)),
    ("errors", re.compile(r"error|fault|fail|5xx|exception", re.IGNORECASE)),
    ("latency", re.compile(r"latenc|duration|response.?time|elapsed|\brt\b", re.IGNORECASE)),
    (
        "traffic",
        re.compile(r"requests?\b|calls?\b|\bcount\b|throughput|\bqps\b|\brps\b|\bops\b|invocations", re.IGNORECASE),
    ),
    # A bare quantile is one of time, unless it says that it is one of size.
    ("latency", re.compile(r"^(?!.*(?:size|bytes|length|memory|cpu)).*\bp\d{2,3}\b", re.IGNORECASE)),
)
SHARE = re.compile(r"(?<![a-z])(?:rate|ratio|percent\w*|pct|share)(?![a-z])|%|availab", re.IGNORECASE)
_SUM = re.compile(r"(?:^|[._ ])(?:sum|total)$", re.IGNORECASE)
_COUNT = re.compile(r"(?:^|[._ ])count$", re.IGNORECASE)
NO_COUNT = re.compile(r"(?:bucket|p\d\d+|max|min)$", re.IGNORECASE)
AVERAGE = re.compile(r"average|avg|mean|p50|median", re.IGNORECASE)
# Fewer steps than this that never fall are chance.
_MIN_STEPS = 5
_RISES = 3
_RESETS = 0.1
_RESET_TO = 0.5
_LABEL = re.compile(r"status|code|result|outcome|success|^error$|error[._]type", re.IGNORECASE)
_GOOD = re.compile(r"^(?:ok|success\w*|succeeded|passed|none|unset|[1-4](?:\d\d|xx)|0)$", re.IGNORECASE)
_BAD = re.compile(
    r"^(?:5(?:\d\d|xx)|error|fail\w*|exception|server_?error|time_?out|deadline_exceeded|unavailable|internal|aborted"
    r"|data_loss|unknown|cancell?ed)$",
    re.IGNORECASE,
)
_VERSIONS = ("version", "destination_version", "destination.version", "service.version")


def role_of(name: str) -> Role | None:
    """Return what a metric measures, by the words in its name; None where it is none of the four."""
    words = name.replace("_", " ")  # request_count: an underscore is no end of a word to a pattern
    return next((role for role, pattern in _ROLES if pattern.search(words)), None)


def says_failed(attributes: Mapping[str, object]) -> bool | None:
    """Return whether a series' labels say that its requests failed; None where no label speaks of how they ended."""
    said: bool | None = None
    for key, value in attributes.items():
        if not _LABEL.search(key):
            continue
        text = str(value).strip().lower()
        positive = not re.search("success", key, re.IGNORECASE)
        if text in ("true", "false"):
            said = (text == "true") is positive
        elif _BAD.match(text) or (re.search(r"error[._]type", key, re.IGNORECASE) and text):
            return True
        elif _GOOD.match(text):
            said = False
        if said:
            return True
    return said


def microseconds(name: str) -> float:
    """Return how many microseconds the unit in a metric's name is; milliseconds where it names none."""
    if re.search(r"(?:^|[._])(?:s|sec|secs|seconds)(?:$|[._])", name, re.IGNORECASE):
        return 1_000_000.0
    return 1.0 if re.search(r"(?:^|[._])(?:us|micros\w*)(?:$|[._])", name, re.IGNORECASE) else 1_000.0


@dataclass(frozen=True, slots=True)
class Meter:
    """One of the three measures of a service as one caller saw one version of it, over time.

    Traffic and errors are per sample, latency is a mean in the unit of the metric's name. `series` shows it best and
    `read` are all that went into it; `derived` says that it is something else than what these hold as they are.
    """

    role: Role
    about: str
    source: str
    version: str
    name: str
    series: SeriesKey
    samples: Mapping[int, float]
    read: frozenset[SeriesKey]
    derived: bool


@dataclass(slots=True)
class _Series:
    key: SeriesKey
    about: str
    source: str
    version: str
    failed: bool | None
    samples: dict[int, float]
    cumulative: bool
    role: Role | None
    what: Literal["count", "sum", "value"]


def read_meters(points: Iterable[MeterPoint]) -> list[Meter]:
    """Return the meters that samples of metrics add up to, in a fixed order."""
    places: dict[tuple[str, str, str, str], dict[str, list[_Series]]] = defaultdict(lambda: defaultdict(list))
    for series in _read_series(points):
        family = _SUM.sub("", _COUNT.sub("", series.key[1]))
        places[series.key[0], series.about, series.source, series.version][family].append(series)
    return [meter for _, families in sorted(places.items()) for meter in _meters_of(families)]


def _read_series(points: Iterable[MeterPoint]) -> list[_Series]:
    by_key: dict[SeriesKey, list[MeterPoint]] = defaultdict(list)
    began: dict[tuple[str, str, str], int] = {}
    for point in points:
        by_key[point.service, point.name, point.series].append(point)
        place = (point.service, point.about, point.source)
        began[place] = min(began.get(place, point.time_us), point.time_us)
    for held in by_key.values():
        held.sort(key=lambda p: p.time_us)
    counters = _counter_names(by_key)
    found = []
    for key, held in sorted(by_key.items()):
        first = held[0]
        role = role_of(key[1])
        if role is None or NO_COUNT.search(key[1]):
            what: Literal["count", "sum", "value"] = "value"
        else:
            what = "sum" if role == "latency" and _SUM.search(key[1]) else "value"
            what = "count" if role in ("traffic", "errors") or _COUNT.search(key[1]) else what
        cumulative = what != "value" and key[1] in counters and _never_falls([p.value for p in held])
        new = first.time_us > began[first.service, first.about, first.source]
        samples = _growth(held, from_zero=new) if cumulative else {p.time_us: p.value for p in held}
        labels = _labels(first.attributes)
        version = next((str(labels[name]) for name in _VERSIONS if labels.get(name)), "")
        found.append(
            _Series(key, first.about, first.source, version, says_failed(labels), samples, cumulative, role, what)
        )
    return found


def _labels(attributes: str) -> Mapping[str, object]:
    try:
        read = json.loads(attributes)
    except ValueError:
        return {}
    return read if isinstance(read, dict) else {}


def _counter_names(by_key: Mapping[SeriesKey, Sequence[MeterPoint]]) -> set[str]:
    """Return the names most of whose series are counters: what holds for one holds for all of a name."""
    votes: dict[str, list[bool]] = defaultdict(list)
    standing: set[str] = set()
    for (_, name, _), held in by_key.items():
        values = [point.value for point in held]
        if len(values) <= _MIN_STEPS or SHARE.search(name):
            continue
        if max(values) > min(values):
            votes[name].append(_is_counter(name, values))
        elif values[0] > 0 and (_SUM.search(name) or role_of(name) == "errors"):
            standing.add(name)  # nobody fails equally often all the time
    return {name for name, held in votes.items() if 2 * sum(held) > len(held)} | (standing - votes.keys())


def _is_counter(name: str, values: Sequence[float]) -> bool:
    """True for values that never fall; where the name does not say that it is a sum, they must look like one.

    Failures that begin and become more rise too: but before there were none, while a sum rests where it was.
    """
    steps = list(itertools.pairwise(values))
    rises = sum(later > earlier for earlier, later in steps)
    grows = 2 * rises >= len(steps) or (rises >= _RISES and min(values) > 0)
    return _never_falls(values) and (grows or _SUM.search(name) is not None)


def _never_falls(values: Sequence[float]) -> bool:
    """True for values that never fall, except to begin anew."""
    steps = list(itertools.pairwise(values))
    falls = [(a, b) for a, b in steps if b < a]
    return min(values) >= 0 and len(falls) <= _RESETS * len(steps) and all(b < _RESET_TO * a for a, b in falls)


def _growth(points: Sequence[MeterPoint], *, from_zero: bool) -> dict[int, float]:
    """Return by how much a counter grew up to each sample, in steps of the usual length."""
    steps = [later.time_us - earlier.time_us for earlier, later in itertools.pairwise(points)]
    usual = median(steps) if steps else 0
    grown = {points[0].time_us: points[0].value} if from_zero else {}
    for earlier, later in itertools.pairwise(points):
        value = later.value - earlier.value if later.value >= earlier.value else later.value
        took = later.time_us - earlier.time_us
        grown[later.time_us] = value * usual / took if took > 1.5 * usual else value
    return grown


def _meters_of(families: Mapping[str, Sequence[_Series]]) -> Iterator[Meter]:
    """Yield the meters of one service as one caller saw it; a family are metrics that differ in their endings alone."""
    requests = {name: [s for s in held if s.what == "count" and s.role != "errors"] for name, held in families.items()}
    fallback = next((held for _, held in sorted(requests.items()) if held), [])
    for name, held in sorted(families.items()):
        yield from _counted(held, requests[name])
        yield from _durations([s for s in held if s.what == "sum"], requests[name] or fallback)
        for series in held:
            if series.what == "value" and series.role in ("latency", "availability"):
                yield _sum_up(series.role, [series], [series], derived=False)


def _counted(group: Sequence[_Series], counts: Sequence[_Series]) -> Iterator[Meter]:
    failures = [s for s in group if s.what == "count" and s.role == "errors" and s.failed is not False]
    labelled = [s for s in counts if s.failed is not None]
    if counts:
        yield _sum_up("traffic", counts, counts, derived=any(s.cumulative for s in counts) or len(labelled) > 0)
    if labelled:
        bad = [s for s in labelled if s.failed]
        # Where nothing ever failed, that too is worth knowing: the meter is zero throughout.
        moments = dict.fromkeys((moment for s in counts for moment in s.samples), 0.0)
        yield _sum_up("errors", bad or labelled[:1], counts, derived=True, moments=moments, zero=not bad)
    if failures:
        yield _sum_up("errors", failures, failures, derived=any(s.cumulative for s in failures))


def _durations(sums: Sequence[_Series], counts: Sequence[_Series]) -> Iterator[Meter]:
    """Yield the mean duration of sums and counts that were sent side by side; a sum that only grows says nothing alone."""
    total, requests = _added(sums), _added([s for s in counts if s.role == "latency"] or counts)
    means = {moment: total[moment] / requests[moment] for moment in sorted(total) if requests.get(moment)}
    growing = any(s.cumulative for s in sums)
    if growing:
        yield _named("latency", sums, sums, means, derived=True)
    elif sums:
        yield _named("latency", sums, sums, means or total, derived=bool(means))


def _sum_up(
    role: Role,
    shown: Sequence[_Series],
    read: Sequence[_Series],
    *,
    derived: bool,
    moments: Mapping[int, float] | None = None,
    zero: bool = False,
) -> Meter:
    samples = dict(moments or {}) | ({} if zero else _added(shown))
    return _named(role, shown, read, dict(sorted(samples.items())), derived=derived)


def _named(
    role: Role, shown: Sequence[_Series], read: Sequence[_Series], samples: Mapping[int, float], *, derived: bool
) -> Meter:
    best = max(shown, key=lambda s: (math.fsum(s.samples.values()), s.key))
    keys = frozenset(s.key for s in read)
    return Meter(role, best.about, best.source, best.version, best.key[1], best.key, samples, keys, derived)


def _added(series: Iterable[_Series]) -> dict[int, float]:
    sums: dict[int, float] = defaultdict(float)
    for one in series:
        for moment, value in one.samples.items():
            sums[moment] += value
    return dict(sums)

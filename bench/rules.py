"""What needs no engine: rules that fit in a few lines each, and a port of BARO. A ranking has to beat these.

Every rule takes a recording and a split and returns a score per service, largest first suspect. A rule whose signal was
not recorded returns nothing. No rule sees a label, and none sees anything after the moment of asking.
"""

from __future__ import annotations

import math
import re
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from bench.replay import Recording, Row

type Scores = dict[str, float]
type Rule = Callable[[Recording, Split], Scores]

_SECOND_NS = 1_000_000_000
_ANOMALOUS_Z = 3.0
_FEW = 4
_VARYING = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}|\b(?=\w*\d)\w+\b|\[[^\]]*\]|\{[^}]*\}|\([^)]*\)", re.IGNORECASE)
_STATEMENT = re.compile(r"[\w$.]+#\d+")


@dataclass(frozen=True, slots=True)
class Split:
    """When it was usual and when not, in seconds since 1970: before `start`, and from `start` up to `end`.

    `detected` is when it was noticed. `metric` and `node` are where, if that was said ("" otherwise).
    """

    start: float
    end: float
    detected: float
    metric: str = ""
    node: str = ""


def rank(scores: Mapping[str, float]) -> list[str]:
    """Return the services by falling score, equal ones by name."""
    return sorted(scores, key=lambda service: (-scores[service], service))


# -- metrics -----------------------------------------------------------------------------------------------------------


def largest_metric_z(recording: Recording, split: Split) -> Scores:
    """How many standard deviations of before any sample of any metric is away from the mean of before."""
    return _largest_z(recording.metrics, split)


def target_metric_z(recording: Recording, split: Split) -> Scores:
    """The same for the one metric that the complaint is about."""
    return _largest_z(_of_target(recording, split), split)


def deepest_anomalous(recording: Recording, split: Split) -> Scores:
    """Of the components whose target metric is out of range, the one farthest below the complaint.

    Depth counts along calls from anomalous to anomalous component; at equal depth the larger z comes first, and
    components that no such chain reaches come last.
    """
    scores = _largest_z(_of_target(recording, split), split)
    anomalous = {service for service, z in scores.items() if z > _ANOMALOUS_Z} | {split.node}
    depths, edge = {split.node: 0}, [split.node]
    while edge:
        edge = sorted({b for a, b in recording.calls if a in edge and b in anomalous and b not in depths})
        depths |= dict.fromkeys(edge, max(depths.values()) + 1)
    return {s: depths.get(s, -1) + z / (1 + z) for s, z in scores.items() if s in anomalous}


def baro(recording: Recording, split: Split) -> Scores:
    """The RobustScorer of BARO (Pham, Ha, Zhang: FSE 2024, arXiv 2405.09330), written from the paper.

    Per metric the largest |x - median| / IQR after the anomaly was detected, median and interquartile range taken from
    before; services by their worst metric. BARO's own change point detection is left out: the incident states the time.
    A metric whose IQR is 0 is divided by 1, as scikit-learn's RobustScaler does in the authors' experiments.
    """
    scores: Scores = defaultdict(float)
    for (service, *_), (before, after) in _series(recording.metrics, split.detected, split.end).items():
        if len(before) >= _FEW and after:
            low, median, high = statistics.quantiles(before, n=4, method="inclusive")
            worst = max(abs(value - median) for value in after) / ((high - low) or 1.0)
            scores[service] = max(scores[service], worst)
    return dict(scores)


def _of_target(recording: Recording, split: Split) -> list[Row]:
    return [row for row in recording.metrics if row["name"] == split.metric]


def _largest_z(rows: Iterable[Row], split: Split) -> Scores:
    scores: Scores = defaultdict(float)
    for (service, *_), (before, after) in _series(rows, split.start, split.end).items():
        if len(before) >= _FEW and after:
            mean, deviation = statistics.fmean(before), statistics.pstdev(before)
            worst = max(abs(value - mean) for value in after)
            scores[service] = max(scores[service], worst / max(deviation, 1e-9) if worst > 1e-9 else 0.0)
    return dict(scores)


def _series(
    rows: Iterable[Row], start: float, end: float
) -> dict[tuple[str, str, str], tuple[list[float], list[float]]]:
    series: dict[tuple[str, str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    for row in rows:
        if row["t_s"] <= end:
            series[row["service"], row.get("pod", ""), row["name"]][row["t_s"] >= start].append(row["value"])
    return series


# -- logs --------------------------------------------------------------------------------------------------------------


def error_growth(recording: Recording, split: Split) -> Scores:
    """By how much the rate of error lines grew."""
    return _changes(
        recording.logs, split, lambda row: row["severity"] in ("ERROR", "FATAL"), lambda was, now: now - was
    )


def changed_templates(recording: Recording, split: Split) -> Scores:
    """How many lines a minute are of a kind that is new, or whose kind has vanished."""
    return _changes(recording.logs, split, lambda row: True, lambda was, now: 0.0 if was and now else now + was)


def _changes(
    logs: Sequence[Row], split: Split, wanted: Callable[[Row], bool], weigh: Callable[[float, float], float]
) -> Scores:
    seconds: tuple[set[int], set[int]] = (set(), set())
    counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0])
    scores: Scores = {}
    for row in logs:
        at = row["t_ns"] / _SECOND_NS
        if at > split.end:
            continue
        late = at >= split.start
        seconds[late].add(int(at))
        scores[row["service"]] = 0.0
        if wanted(row):
            counts[row["service"], template(row["body"])][late] += 1
    if not all(seconds):
        return {}
    for (service, _), (before, after) in counts.items():
        scores[service] += weigh(before / len(seconds[0]), after / len(seconds[1]))
    return scores


def template(body: str) -> str:
    """Return what does not vary of a line: its place in the code where it says one, else its words without values."""
    place = _STATEMENT.search(body)
    return place.group(0) if place else " ".join(_VARYING.sub("_", body).split())


# -- spans -------------------------------------------------------------------------------------------------------------


def caller_minus_callee(recording: Recording, split: Split) -> Scores:
    """By how much the mean time grew that a caller waits longer for a callee than the callee takes: blame the callee."""
    spans = {(row["trace_id"], row["span_id"]): row for row in recording.spans}
    gaps: dict[tuple[str, str], tuple[list[float], list[float]]] = defaultdict(lambda: ([], []))
    scores: Scores = {row["service"]: -math.inf for row in recording.spans}
    for row in recording.spans:
        parent = spans.get((row["trace_id"], row["parent_id"]))
        at = row["start_ns"] / _SECOND_NS
        if parent and parent["service"] != row["service"] and at <= split.end:
            gap = (parent["end_ns"] - parent["start_ns"]) - (row["end_ns"] - row["start_ns"])
            gaps[parent["service"], row["service"]][at >= split.start].append(gap)
    for (_, callee), (before, after) in gaps.items():
        if before and after:
            scores[callee] = max(scores[callee], statistics.fmean(after) - statistics.fmean(before))
    return scores


RULES: Mapping[str, Mapping[str, Rule]] = {
    "nezha-tt": {
        "metric z": largest_metric_z,
        "error growth": error_growth,
        "templates": changed_templates,
        "caller-callee": caller_minus_callee,
        "BARO": baro,
    },
    "petshop": {
        "any metric z": largest_metric_z,
        "target z": target_metric_z,
        "deepest": deepest_anomalous,
        "BARO": baro,
    },
}

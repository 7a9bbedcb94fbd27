"""Calibration: is what runs say of their own confidence true, and what fails more often than it should? Pure.

A calibration error measured on few runs is mostly noise: its floor is what a perfectly calibrated agent with the same
stated confidences would show, and a flag is raised only where the error stands out from it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from domain.times import HOUR_US
from review.quality import GroupBy, JudgedRun, find_patterns, group_runs, value_of

type FlagKind = Literal["principle", "intent", "service", "regression", "confidence"]
type Floats = NDArray[np.float64]

WINDOW_US = 7 * 24 * HOUR_US
REPEATED = 3  # failures of a principle within the window that make a pattern
_GROUP_RUNS = 5
_BELOW = 0.1  # of the mean quality of the rest
_FEW = 20  # reviewed runs below which nothing is said of confidence
_ROUNDS = 400
_BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Runs of like confidence: what they said on average, how often they were right, how many they are."""

    stated: float
    right: float
    runs: int


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far stated confidence is from the truth.

    `ece` is the expected calibration error over bins of equal mass, `low` and `high` its 95 % interval by bootstrap;
    `floor` and `floor_high` are the mean and the 95th percentile that a perfectly calibrated agent would show.
    """

    runs: int
    brier: float
    ece: float
    low: float
    high: float
    floor: float
    floor_high: float
    bins: tuple[Bin, ...]

    @property
    def excess(self) -> float:
        """The error beyond the noise."""
        return max(0.0, self.ece - self.floor)

    @property
    def stands_out(self) -> bool:
        return self.runs >= _FEW and self.ece > self.floor_high and self.low > self.floor

    @property
    def lean(self) -> str:
        """Whether confidence is stated too high or too low, all in all."""
        gap = sum(part.runs * (part.stated - part.right) for part in self.bins)
        return "too high" if gap > 0 else "too low"


@dataclass(frozen=True, slots=True)
class Flag:
    """Something that a person should look at. It informs and never blocks. `about` is the principle, intent, service ..."""

    kind: FlagKind
    about: str
    text: str
    traces: tuple[str, ...]


def measure(points: Sequence[tuple[float, bool]], bins: int = _BINS, seed: int = 0) -> Reliability | None:
    """Return how reliable stated confidences are, from (confidence, was right); None without any."""
    if not points:
        return None
    stated = np.clip(np.array([p for p, _ in points], dtype=np.float64), 0.0, 1.0)
    right = np.array([float(y) for _, y in points], dtype=np.float64)
    rng = np.random.default_rng(seed)
    count = max(1, min(bins, len(points) // 3))
    draws = [rng.integers(0, len(points), len(points)) for _ in range(_ROUNDS)]
    again = np.array([_ece(stated[chosen], right[chosen], count) for chosen in draws])
    perfect = np.array(
        [_ece(stated, (rng.random(len(points)) < stated).astype(np.float64), count) for _ in range(_ROUNDS)]
    )
    return Reliability(
        runs=len(points),
        brier=float(np.mean((stated - right) ** 2)),
        ece=_ece(stated, right, count),
        low=float(np.quantile(again, 0.025)),
        high=float(np.quantile(again, 0.975)),
        floor=float(np.mean(perfect)),
        floor_high=float(np.quantile(perfect, 0.95)),
        bins=tuple(
            Bin(float(np.mean(stated[part])), float(np.mean(right[part])), len(part)) for part in _parts(stated, count)
        ),
    )


def reviewed_points(runs: Sequence[JudgedRun]) -> list[tuple[float, bool]]:
    """Return (confidence, passed) of the runs that stated one and that people reviewed."""
    return [(run.confidence, run.passed) for run in runs if run.confidence is not None and run.passed is not None]


def find_flags(runs: Sequence[JudgedRun], now_us: int) -> list[Flag]:
    """Return what stands out in the runs of the last seven days, and in the confidence of all of them."""
    recent = [run for run in runs if now_us - WINDOW_US <= run.created_us <= now_us]
    flags = [
        Flag(
            "principle",
            pattern.principle,
            f"Principle {pattern.principle} failed in {pattern.failed} of {pattern.runs} runs of the last 7 days",
            pattern.traces,
        )
        for pattern in find_patterns(recent, REPEATED)
    ]
    flags += _below_the_rest(recent, "intent") + _below_the_rest(recent, "service") + _regressions(recent)
    reliability = measure(reviewed_points(runs))
    if reliability is not None and reliability.stands_out:
        told = f"Confidence is stated {reliability.lean}: calibration error {reliability.ece:.2f} on {reliability.runs} reviewed runs"
        flags.append(Flag("confidence", reliability.lean, f"{told}, {reliability.floor:.2f} would be noise", ()))
    return flags


def _below_the_rest(runs: Sequence[JudgedRun], by: Literal["intent", "service"]) -> list[Flag]:
    flags = []
    scored = [(run, run.quality) for run in runs if run.quality is not None]
    asked: GroupBy = by
    for group in group_runs([run for run, _ in scored], asked):
        own = [quality for run, quality in scored if value_of(run, asked) == group.value]
        rest = [quality for run, quality in scored if value_of(run, asked) != group.value]
        if not group.value or len(own) < _GROUP_RUNS or len(rest) < _GROUP_RUNS:
            continue
        gap = fmean(rest) - fmean(own)
        noise = math.sqrt(stdev(own) ** 2 / len(own) + stdev(rest) ** 2 / len(rest))
        if gap > max(_BELOW, 2 * noise):
            traces = tuple(
                run.trace_id for run, quality in scored if value_of(run, asked) == group.value and quality < 1.0
            )
            text = f"Runs of {by} {group.value} have a mean quality of {fmean(own):.2f}, the rest {fmean(rest):.2f}"
            flags.append(Flag(by, group.value, text, traces))
    return flags


def _regressions(runs: Sequence[JudgedRun]) -> list[Flag]:
    """A service whose newest run was held back, after the one before it was allowed."""
    newest: dict[tuple[str, str], list[JudgedRun]] = {}
    for run in sorted(runs, key=lambda held: held.created_us):
        if run.service:
            newest.setdefault((run.environment, run.service), []).append(run)
    flags = []
    for (_, service), held in newest.items():
        if len(held) > 1 and held[-2].allowed and not held[-1].allowed:
            text = f"The newest run about {service} came to {held[-1].action} after the one before it was allowed"
            flags.append(Flag("regression", service, text, (held[-1].trace_id,)))
    return flags


def _ece(stated: Floats, right: Floats, bins: int) -> float:
    gaps = [len(part) * abs(float(np.mean(stated[part]) - np.mean(right[part]))) for part in _parts(stated, bins)]
    return sum(gaps) / len(stated)


def _parts(stated: Floats, bins: int) -> list[NDArray[np.int64]]:
    """Return the places of the values in bins of equal mass, by value."""
    return [part for part in np.array_split(np.argsort(stated, kind="stable"), bins) if len(part)]

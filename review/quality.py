"""How well runs do: what was judged of each, which principles fail, and how groups of runs compare. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import fmean
from typing import Literal

from domain.times import from_us
from domain.verdict import JudgeAction
from storage.evaluations import Evaluation, TraceReview
from tracing.scorecard import NO_PRINCIPLE

type GroupBy = Literal["intent", "service", "outcome", "action", "policy", "environment", "day", "week"]
ALLOWED: frozenset[JudgeAction] = frozenset(("ALLOW_ANSWER", "ALLOW_WITH_WARNING"))


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A run as it was judged last. `passed` is what people say of it, None where nobody (or not with one voice) did.

    `scores` are the shares of what holds by principle, `quality` their mean (None where nothing was scored).
    """

    trace_id: str
    environment: str
    created_us: int
    service: str
    intent: str
    outcome: str
    action: JudgeAction
    policy: str
    confidence: float | None
    scores: Mapping[str, float]
    passed: bool | None

    @property
    def quality(self) -> float | None:
        return fmean(self.scores.values()) if self.scores else None

    @property
    def failed(self) -> tuple[str, ...]:
        """The principles that something in the answer offends."""
        return tuple(name for name, score in self.scores.items() if score < 1.0)

    @property
    def allowed(self) -> bool:
        return self.action in ALLOWED


@dataclass(frozen=True, slots=True)
class Pattern:
    """A principle that fails again and again: in how many of the runs that it was asked of, and in which."""

    principle: str
    failed: int
    runs: int
    traces: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs with something in common: how many, their mean quality, the share that was allowed, and what people say."""

    value: str
    runs: int
    quality: float | None
    allowed: float
    reviewed: int
    passed: float | None


def read_runs(evaluations: Sequence[Evaluation], reviews: Sequence[TraceReview] = ()) -> list[JudgedRun]:
    """Return the runs of some evaluations, each as it was judged last, oldest first."""
    said = _voices(reviews)
    latest = {held.trace_id: held for held in sorted(evaluations, key=lambda held: held.created_us)}
    runs = []
    for held in latest.values():
        scores = held.signals.get("scores")
        kept = {
            str(name): float(score)
            for name, score in (scores.items() if isinstance(scores, dict) else ())
            if name not in NO_PRINCIPLE and isinstance(score, int | float)
        }
        runs.append(
            JudgedRun(
                trace_id=held.trace_id,
                environment=held.environment,
                created_us=held.created_us,
                service=held.service,
                intent=held.intent,
                outcome=held.outcome,
                action=held.action,
                policy=f"{held.policy} {held.policy_version}" if held.policy else "none",
                confidence=held.confidence,
                scores=kept,
                passed=said.get(held.trace_id),
            )
        )
    return sorted(runs, key=lambda run: (run.created_us, run.trace_id))


def find_patterns(runs: Sequence[JudgedRun], min_runs: int = 3) -> list[Pattern]:
    """Return the principles that failed in at least so many runs, the most frequent first."""
    asked = Counter(name for run in runs for name in run.scores)
    failed: defaultdict[str, list[str]] = defaultdict(list)
    for run in runs:
        for name in run.failed:
            failed[name].append(run.trace_id)
    found = [Pattern(name, len(ids), asked[name], tuple(ids)) for name, ids in failed.items() if len(ids) >= min_runs]
    return sorted(found, key=lambda pattern: (-pattern.failed, pattern.principle))


def group_runs(runs: Sequence[JudgedRun], by: GroupBy) -> list[Group]:
    """Return the runs in groups, the largest first; by day and week in the order of time."""
    groups: defaultdict[str, list[JudgedRun]] = defaultdict(list)
    for run in runs:
        groups[value_of(run, by)].append(run)
    found = [_sum_up(value, held) for value, held in groups.items()]
    if by in ("day", "week"):
        return sorted(found, key=lambda group: group.value)
    return sorted(found, key=lambda group: (-group.runs, group.value))


def value_of(run: JudgedRun, by: GroupBy) -> str:
    """Return what a run has in common with others of its group."""
    if by == "day":
        return f"{from_us(run.created_us):%Y-%m-%d}"
    if by == "week":
        moment = from_us(run.created_us)
        return f"{moment - timedelta(days=moment.weekday()):%Y-%m-%d}"
    return str(getattr(run, by))


def _sum_up(value: str, runs: Sequence[JudgedRun]) -> Group:
    scored = [run.quality for run in runs if run.quality is not None]
    said = [run.passed for run in runs if run.passed is not None]
    return Group(
        value=value,
        runs=len(runs),
        quality=fmean(scored) if scored else None,
        allowed=sum(run.allowed for run in runs) / len(runs),
        reviewed=len(said),
        passed=sum(said) / len(said) if said else None,
    )


def _voices(reviews: Sequence[TraceReview]) -> dict[str, bool | None]:
    """Return what people say of each run: the newest word of each reviewer, None where they differ."""
    newest: defaultdict[str, dict[str, bool | None]] = defaultdict(dict)
    for review in sorted(reviews, key=lambda held: held.created_us):
        newest[review.trace_id][review.reviewer] = review.passed
    said: dict[str, bool | None] = {}
    for trace_id, words in newest.items():
        told = {passed for passed in words.values() if passed is not None}
        said[trace_id] = told.pop() if len(told) == 1 else None
    return said

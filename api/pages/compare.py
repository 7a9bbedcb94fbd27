"""Two runs beside each other, in the words of the screen. What differs is settled in `review/comparison.py`. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from api.pages.wording import ACTION_NAMES, OUTCOMES, tell_seconds
from review.comparison import Comparison
from tracing.scorecard import walk_stages
from tracing.view import TraceView


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is told of both runs, and how far the second is from the first ("" where that says nothing)."""

    name: str
    left: str
    right: str
    change: str = ""

    @property
    def differs(self) -> bool:
        return self.left != self.right


def tell_facts(a: TraceView, b: TraceView, found: Comparison) -> list[Fact]:
    """Return what is told of two runs, as a table."""
    return [
        Fact("question", a.question, b.question),
        Fact("environment", a.environment, b.environment),
        Fact("verdict", *(OUTCOMES.get(outcome, outcome) for outcome in found.outcome)),
        Fact("causes", *(", ".join(causes) for causes in found.causes)),
        Fact("judge", *(ACTION_NAMES.get(action, action) for action in found.action)),
        Fact("status", a.status, b.status),
        Fact("slowest stage", _tell_slowest(a), _tell_slowest(b)),
        *_tell_numbers(found),
        Fact("gaps", *("; ".join(gaps) for gaps in (found.gaps_a_only, found.gaps_b_only))),
    ]


def _tell_slowest(view: TraceView) -> str:
    slowest = max((stage for _, stage in walk_stages(view)), key=lambda stage: stage.seconds or 0.0, default=None)
    return f"{slowest.name}, {tell_seconds(slowest.seconds)}" if slowest else ""


def _tell_numbers(found: Comparison) -> Iterator[Fact]:
    for one in (*found.deltas, *found.scores):
        tell = tell_seconds if one.name == "seconds" else _tell_number
        change = "" if not one.change else f"{'+' if one.change > 0 else '-'}{tell(abs(one.change))}"
        yield Fact("took" if one.name == "seconds" else one.name.replace("_", " "), tell(one.a), tell(one.b), change)


def _tell_number(value: float | None) -> str:
    return f"{value or 0.0:.4g}"

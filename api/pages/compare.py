"""Two runs beside each other: where they first went different ways, and what differs in all. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import Literal

from api.pages.wording import ACTION_NAMES, OUTCOMES, tell_seconds
from tracing.fold import TraceView
from tracing.scorecard import walk_stages

type Kind = Literal["same", "left", "right"]


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is told of both runs."""

    name: str
    left: str
    right: str

    @property
    def differs(self) -> bool:
        return self.left != self.right


@dataclass(frozen=True, slots=True)
class Line:
    """A step of one run, or of both; `left` and `right` are what each has there."""

    kind: Kind
    left: str = ""
    right: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs compared. `first` is the first decision at which they differ, counted from one; 0 if none does."""

    facts: Sequence[Fact]
    decisions: Sequence[Line]
    first: int
    queries: Sequence[Line]
    only_left: Sequence[str]
    only_right: Sequence[str]
    shared: int


def compare_runs(left: TraceView, right: TraceView) -> Comparison:
    """Return how two runs differ: facts, decisions in order, look-ups with their rows, cited records."""
    decisions = _align(_decisions(left), _decisions(right))
    return Comparison(
        facts=[Fact(name, a, b) for (name, a), (_, b) in zip(_facts(left), _facts(right), strict=True)],
        decisions=decisions,
        first=next((at for at, line in enumerate(decisions, start=1) if line.kind != "same"), 0),
        queries=_align(_queries(left), _queries(right)),
        only_left=[i for i in left.cited if i not in set(right.cited)],
        only_right=[i for i in right.cited if i not in set(left.cited)],
        shared=len(set(left.cited) & set(right.cited)),
    )


def _facts(view: TraceView) -> list[tuple[str, str]]:
    stages = [stage for _, stage in walk_stages(view)]
    slowest = max(stages, key=lambda stage: stage.seconds or 0.0, default=None)
    return [
        ("question", view.question),
        ("environment", view.environment),
        ("verdict", OUTCOMES.get(view.outcome, view.outcome)),
        ("causes", ", ".join(view.causes)),
        ("judge", ACTION_NAMES.get(view.action, view.action)),
        ("status", view.status),
        ("took", tell_seconds(view.seconds)),
        ("slowest stage", f"{slowest.name}, {tell_seconds(slowest.seconds)}" if slowest else ""),
        ("stages", str(len(stages))),
        ("decisions", str(len(view.decisions))),
        ("queries", str(len(view.ledger))),
        ("records", f"{len(view.found)} found, {len(view.cited)} cited"),
        ("tokens", str(view.model.prompt_tokens + view.model.completion_tokens)),
        ("gaps", "; ".join(view.gaps)),
    ]


def _decisions(view: TraceView) -> list[str]:
    names = {stage.span_id: stage.name for _, stage in walk_stages(view)}
    # Agents work side by side: in the order of stages, what was decided does not depend on who was quicker.
    order = {span_id: at for at, span_id in enumerate(names)}
    ordered = sorted(view.decisions, key=lambda decision: order.get(decision.span_id, -1))
    return [f"{names.get(decision.span_id, '')}: {decision.what}" for decision in ordered]


def _queries(view: TraceView) -> list[str]:
    told = []
    for entry in view.ledger:
        source = "" if entry.reporting is not False else ", silent source"
        told.append(f"{entry.query} {entry.filter}: {entry.error or f'{entry.rows_returned} rows'}{source}")
    return sorted(told)


def _align(left: Sequence[str], right: Sequence[str]) -> list[Line]:
    lines: list[Line] = []
    for tag, a, b, c, d in SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line("same", text, text) for text in left[a:b]]
            continue
        lines += [Line("left", text) for text in left[a:b]]
        lines += [Line("right", "", text) for text in right[c:d]]
    return lines

"""Two runs side by side: what differs, and where they first went apart. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import zip_longest
from typing import Literal

from tracing.view import StageView, TraceView


@dataclass(frozen=True, slots=True)
class Delta:
    """A number of both runs; `change` is the second less the first."""

    name: str
    a: float
    b: float

    @property
    def change(self) -> float:
        return self.b - self.a


@dataclass(frozen=True, slots=True)
class Divergence:
    """The first place in which two runs differ: what it is of, and what each has there ("" for nothing)."""

    kind: str
    where: str
    a: str
    b: str


@dataclass(frozen=True, slots=True)
class Line:
    """A step of one run (`a` or `b`), or of both (`same`), and what each has there."""

    kind: Literal["same", "a", "b"]
    a: str = ""
    b: str = ""


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs between two runs. `*_a_only` and `*_b_only` are in the order of their runs.

    `decisions` and `queries` are those of both, aligned: decisions in the order of the stages, whoever was quicker.
    """

    a: str
    b: str
    same_question: bool
    outcome: tuple[str, str]
    action: tuple[str, str]
    causes: tuple[tuple[str, ...], tuple[str, ...]]
    deltas: tuple[Delta, ...]
    scores: tuple[Delta, ...]
    first_stage: Divergence | None
    first_decision: Divergence | None
    first_prompt: Divergence | None
    gaps_a_only: tuple[str, ...]
    gaps_b_only: tuple[str, ...]
    evidence_a_only: tuple[str, ...]
    evidence_b_only: tuple[str, ...]
    evidence_shared: int
    decisions: tuple[Line, ...]
    queries: tuple[Line, ...]


def compare_runs(a: TraceView, b: TraceView) -> Comparison:
    """Compare two runs, of our agents or of other programs."""
    left, right = _scores(a), _scores(b)
    shared = [name for name in left if name in right]
    decided = _decisions(a), _decisions(b)
    return Comparison(
        a=a.id,
        b=b.id,
        same_question=a.question.strip() == b.question.strip(),
        outcome=(a.outcome, b.outcome),
        action=(a.action, b.action),
        causes=(a.causes, b.causes),
        deltas=tuple(_deltas(a, b)),
        scores=tuple(Delta(name, left[name], right[name]) for name in shared),
        first_stage=_first_stage(a, b),
        first_decision=_first_decision(*decided),
        first_prompt=_first_prompt(a, b),
        gaps_a_only=_only(a.gaps, b.gaps),
        gaps_b_only=_only(b.gaps, a.gaps),
        evidence_a_only=_only(a.cited, b.cited),
        evidence_b_only=_only(b.cited, a.cited),
        evidence_shared=len(set(a.cited) & set(b.cited)),
        decisions=_align(*decided),
        queries=_align(_queries(a), _queries(b)),
    )


def _scores(view: TraceView) -> Mapping[str, float]:
    return view.judges[-1].scores if view.judges else {}


def _deltas(a: TraceView, b: TraceView) -> Iterable[Delta]:
    for name, left, right in (
        ("seconds", a.seconds or 0.0, b.seconds or 0.0),
        ("stages", a.spans, b.spans),
        ("failed stages", a.failed_spans, b.failed_spans),
        ("decisions", len(a.decisions), len(b.decisions)),
        ("queries", len(a.ledger), len(b.ledger)),
        ("found", len(a.found), len(b.found)),
        ("cited", len(a.cited), len(b.cited)),
        ("model calls", a.model.calls, b.model.calls),
        (
            "tokens",
            a.model.prompt_tokens + a.model.completion_tokens,
            b.model.prompt_tokens + b.model.completion_tokens,
        ),
        ("cost", a.model.cost, b.model.cost),
    ):
        yield Delta(name, float(left), float(right))


def _first_stage(a: TraceView, b: TraceView) -> Divergence | None:
    """Walk both trees as they stand; side by side, stages run in any order, so that siblings are compared by name."""
    for left, right in zip_longest(_steps(a), _steps(b), fillvalue=("", "")):
        if left != right:
            return Divergence("stage", left[0] or right[0], _tell(left), _tell(right))
    return None


def _steps(view: TraceView) -> list[tuple[str, str]]:
    return [(path, stage.status) for path, stage in _ordered(view)]


def _ordered(view: TraceView) -> list[tuple[str, StageView]]:
    """Return every stage with its path, in an order that does not depend on which of those side by side was quicker."""

    def visit(stages: Sequence[StageView], above: str) -> Iterable[tuple[str, StageView]]:
        for group in _side_by_side(stages):
            for stage in sorted(group, key=lambda one: one.name):
                path = f"{above}/{stage.name}" if above else stage.name
                yield path, stage
                yield from visit(stage.stages, path)

    return list(visit(view.stages, ""))


def _side_by_side(stages: Sequence[StageView]) -> list[list[StageView]]:
    """Group stages that overlapped in time: the order of those says nothing."""
    groups: list[list[StageView]] = []
    until = 0.0
    for stage in sorted(stages, key=lambda one: one.start_us):
        end = stage.start_us + 1e6 * (stage.seconds or 0.0)
        if groups and stage.start_us < until:
            groups[-1].append(stage)
        else:
            groups.append([stage])
        until = max(until, end)
    return groups


def _tell(step: tuple[str, str]) -> str:
    path, status = step
    return f"{path.rpartition('/')[2]} ({status})" if path else ""


def _decisions(view: TraceView) -> list[str]:
    places = {stage.span_id: (at, stage.name) for at, (_, stage) in enumerate(_ordered(view))}
    told = [(*places.get(decision.span_id, (-1, "")), decision.what) for decision in view.decisions]
    return [f"{name}: {what}" if name else what for _, name, what in sorted(told, key=lambda one: one[0])]


def _queries(view: TraceView) -> list[str]:
    told = []
    for entry in view.ledger:
        silent = "" if entry.reporting is not False else ", silent source"
        told.append(f"{entry.query} {entry.filter}: {entry.error or f'{entry.rows_returned} rows'}{silent}")
    return sorted(told)


def _align(a: Sequence[str], b: Sequence[str]) -> tuple[Line, ...]:
    lines: list[Line] = []
    for tag, a_from, a_to, b_from, b_to in SequenceMatcher(None, a, b, autojunk=False).get_opcodes():
        if tag == "equal":
            lines += [Line("same", text, text) for text in a[a_from:a_to]]
            continue
        lines += [Line("a", text) for text in a[a_from:a_to]]
        lines += [Line("b", "", text) for text in b[b_from:b_to]]
    return tuple(lines)


def _first_decision(a: Sequence[str], b: Sequence[str]) -> Divergence | None:
    for number, (left, right) in enumerate(zip_longest(a, b, fillvalue=""), start=1):
        if left != right:
            return Divergence("decision", f"decision {number}", left, right)
    return None


def _first_prompt(a: TraceView, b: TraceView) -> Divergence | None:
    for number, (left, right) in enumerate(zip_longest(a.model_calls, b.model_calls), start=1):
        told = (left.prompt if left else "", right.prompt if right else "")
        if told[0] != told[1]:
            return Divergence("prompt", f"model call {number}", *told)
    return None


def _only(one: Sequence[str], other: Sequence[str]) -> tuple[str, ...]:
    known = set(other)
    return tuple(held for held in dict.fromkeys(one) if held not in known)

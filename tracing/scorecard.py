"""A run in a few lines of text for the terminal, compact or with what stands behind it, and as JSON for pages and files."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from itertools import islice
from typing import Any

from tracing.view import StageView, TraceView

_WIDTH = 100
_JSON_DEPTH = 100
_STAGES = 300
# Scores that sum others up, or that say what was done and not how well.
NO_PRINCIPLE: frozenset[str] = frozenset(("claims_kept",))


def scorecard(view: TraceView) -> str:
    """Return a compact card: outcome, action, duration, stages, decisions, queries, evidence, gaps, trace id."""
    outcome = f"{view.outcome or 'no verdict'}{': ' + ', '.join(view.causes) if view.causes else ''}"
    lines = [
        f"Outcome    {outcome}",
        f"Action     {view.action or 'not judged'}    Status: {view.status}    Duration: {_duration(view.seconds)}",
        f"Quality    {_quality(view)}",
        f"Stages     {_stages(view)}",
        f"Decisions  {_decisions(view)}",
        f"Queries    {_queries(view)}",
        f"Evidence   {len(view.found)} found -> {len(view.cited)} cited",
        f"Gaps       {'; '.join(view.gaps) or 'none'}",
    ]
    if view.model.calls:
        tokens = view.model.prompt_tokens + view.model.completion_tokens
        cost = f", cost {view.model.cost:.4f}" if view.model.cost else ""
        lines.append(f"Model      {view.model.calls} calls, {tokens} tokens{cost}")
    if view.pauses:
        waiting = sum(pause.resumed_us is None for pause in view.pauses)
        lines.append(
            f"Pauses     {len(view.pauses)}"
            + (f", waiting for {view.pauses[-1].waiting_for or 'somebody'}" if waiting else "")
        )
    if view.has_open_spans:
        lines.append(f"Open       {view.open_spans} of {view.spans} stages never ended")
    if view.error:
        lines.append(f"Error      {view.error}")
    lines.append(f"Trace      {view.id}")
    return "\n".join(_cut(line) for line in lines)


def breakdown(view: TraceView) -> str:
    """Return the card with what stands behind it: each principle's score, strengths, gaps, policies, stages as a tree."""
    lines = [scorecard(view)]
    for judge in view.judges:
        lines += ["", f"Judge {judge.by}: {judge.action}"]
        lines += [f"  {name:<18}{score:5.2f}{'  < gap' if score < 1 else ''}" for name, score in judge.scores.items()]
        lines += [f"  + {strength}" for strength in judge.strengths]
        lines += [f"  - {gap}" for gap in judge.gaps]
    for policy in view.policies:
        lines.append(f"Policy {policy.name} {policy.version}: {policy.action} {policy.rule} {policy.reason}".rstrip())
    if view.stages:
        lines += ["", "Stages"]
    for depth, stage in islice(walk_stages(view), _STAGES):
        told = f"  {'  ' * min(depth, 20)}{stage.name}"
        counts = ((stage.decisions, "decisions"), (stage.queries, "queries"))
        inside = ", ".join(f"{count} {name if count > 1 else name[:-1]}" for count, name in counts if count)
        lines.append(f"{told:<44}{_duration(stage.seconds):>8}{_mark(stage)}{f'  ({inside})' if inside else ''}")
    if view.spans > _STAGES:
        lines.append(f"  ... and {view.spans - _STAGES} more")
    return "\n".join(_cut(line) for line in lines)


def _quality(view: TraceView) -> str:
    """Tell the mean of the principles of the last judge that scored any, and those that fell short."""
    scores = next((judge.scores for judge in reversed(view.judges) if judge.scores), {})
    held = {name: score for name, score in scores.items() if name not in NO_PRINCIPLE}
    if not held:
        return "not scored"
    short = ", ".join(f"{name} {score:.2f}" for name, score in held.items() if score < 1)
    return f"{sum(held.values()) / len(held):.2f} over {len(held)} principles" + (
        f", below 1: {short}" if short else ""
    )


def to_json(view: TraceView) -> dict[str, Any]:
    """Return the view as plain JSON values, with the fields' own names, `completion_rate` and `has_open_spans`.

    Stages deeper than 100 levels stand beside each other below the hundredth: readers of JSON bound its depth.
    """
    told = asdict(replace(view, stages=()))
    # Innermost last: the path of dictionaries from the top to the stage before.
    path: list[dict[str, Any]] = [told | {"stages": []}]
    for depth, stage in walk_stages(view):
        held = asdict(replace(stage, stages=())) | {"stages": []}
        del path[min(depth, _JSON_DEPTH) + 1 :]
        path[-1]["stages"].append(held)
        path.append(held)
    return path[0] | {"completion_rate": view.completion_rate, "has_open_spans": view.has_open_spans}


def walk_stages(view: TraceView) -> Iterator[tuple[int, StageView]]:
    """Yield every stage with its depth (0 at the top), parents before children."""
    waiting = [(0, stage) for stage in reversed(view.stages)]
    while waiting:
        depth, stage = waiting.pop()
        yield depth, stage
        waiting.extend((depth + 1, child) for child in reversed(stage.stages))


def _stages(view: TraceView) -> str:
    if not view.stages:
        return "none"
    shown = [f"{stage.name} {_duration(stage.seconds)}{_mark(stage)}" for stage in view.stages]
    inside = sum(1 for depth, _ in walk_stages(view) if depth)
    return ", ".join(shown) + (f" (+{inside} inside)" if inside else "")


def _mark(stage: StageView) -> str:
    tries = f" x{stage.attempts}" if stage.attempts > 1 else ""
    return tries if stage.status == "complete" else f"{tries} {stage.status.upper()}"


def _decisions(view: TraceView) -> str:
    sure = [decision.confidence for decision in view.decisions if decision.confidence is not None]
    return f"{len(view.decisions)}" + (f" (least sure {min(sure):.2f})" if sure else "")


def _queries(view: TraceView) -> str:
    silent = sum(entry.reporting is False for entry in view.ledger)
    failed = sum(bool(entry.error) for entry in view.ledger)
    scanned = sum(entry.rows_scanned for entry in view.ledger)
    told = f"{len(view.ledger)} over {scanned} rows"
    told += f", {silent} of silent sources" if silent else ""
    return told + (f", {failed} failed" if failed else "")


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} m {int(seconds % 60)} s"


def _cut(line: str) -> str:
    line = " ".join(line.splitlines())
    return line if len(line) <= _WIDTH else line[: _WIDTH - 3] + "..."

"""What every way in replies with about how runs do: groups, failures, patterns, calibration, flags, comparison, export."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

from agents.case_replies import evaluation_line
from domain.errors import QuestionError
from domain.times import HOUR_US, LATEST_US, format_us
from review.calibration import find_flags, measure, reviewed_points
from review.comparison import compare_runs
from review.quality import ALLOWED, GroupBy, JudgedRun, find_patterns, group_runs, read_runs
from storage.flags import FlagStore
from tracing.trace import start_trace

if TYPE_CHECKING:
    from agents.services import Services

GROUPS: tuple[str, ...] = get_args(GroupBy.__value__)


async def read_stats(
    services: Services, by: str, environment: str = "", from_us: int = 0, to_us: int = LATEST_US
) -> dict[str, Any]:
    """Return a summary of the runs that were judged in a time, and them in groups; raises QuestionError for a wrong `by`."""
    if by not in GROUPS:
        raise QuestionError(f"Runs can be grouped by {', '.join(GROUPS)}; not by {by[:40]!r}.")
    runs = await _runs(services, environment, from_us, to_us)
    asked: GroupBy = by  # type: ignore[assignment]  # checked above
    whole = group_runs(runs, "environment") if runs else []
    return {
        "runs": len(runs),
        "allowed": sum(run.allowed for run in runs),
        "reviewed": sum(run.passed is not None for run in runs),
        "passed": sum(run.passed is True for run in runs),
        "environments": [group.value for group in whole],
        "by": by,
        "groups": [asdict(group) for group in group_runs(runs, asked)],
        "patterns": [asdict(pattern) for pattern in find_patterns(runs, 1)],
    }


async def read_failures(
    services: Services, environment: str = "", from_us: int = 0, to_us: int = LATEST_US, limit: int = 50
) -> dict[str, Any]:
    """Return the newest decisions that held an answer back, with what was missing."""
    found = await services.rulings.evaluations.between(environment, from_us, to_us)
    held = [evaluation_line(one) for one in found if one.action not in ALLOWED]
    return {"failures": held[:limit], "count": len(held), "looked_at": len(found)}


async def read_patterns(
    services: Services, environment: str = "", from_us: int = 0, to_us: int = LATEST_US, min_runs: int = 3
) -> dict[str, Any]:
    """Return the principles that fail again and again."""
    runs = await _runs(services, environment, from_us, to_us)
    return {"runs": len(runs), "patterns": [asdict(pattern) for pattern in find_patterns(runs, min_runs)]}


async def read_calibration(services: Services, environment: str = "", days: float = 90.0) -> dict[str, Any]:
    """Return how reliable stated confidence is, with its noise floor, and what stands out."""
    now_us = time.time_ns() // 1000
    runs = await _runs(services, environment, now_us - round(days * 24 * HOUR_US), LATEST_US)
    # Both draw thousands of samples, which would hold up everybody else.
    reliability = await asyncio.to_thread(measure, reviewed_points(runs))
    told = None
    if reliability is not None:
        told = asdict(reliability) | {"excess": reliability.excess, "stands_out": reliability.stands_out}
    flags = [asdict(flag) for flag in await asyncio.to_thread(find_flags, runs, now_us)]
    return {"runs": len(runs), "reliability": told, "flags": flags}


async def read_flagged(services: Services, settled: bool = False, limit: int = 100) -> dict[str, Any]:
    """Return the runs that are flagged for review, newest flag first, each with all of its flags."""
    flags = await FlagStore(services.database).page(settled, limit)
    runs: dict[str, list[dict[str, Any]]] = {}
    for flag in flags:
        line = {"kind": flag.kind, "about": flag.about, "text": flag.text, "raised": format_us(flag.raised_us)}
        runs.setdefault(flag.trace_id, []).append(line)
    return {"flagged": [{"trace_id": trace_id, "flags": held} for trace_id, held in runs.items()]}


async def settle_flags(services: Services, trace_id: str, by: str) -> dict[str, Any]:
    """Take the flags of a run away, because somebody has looked at it."""
    return {"trace_id": trace_id, "settled": await FlagStore(services.database).settle(trace_id, by)}


async def compare_traces(services: Services, a: str, b: str) -> dict[str, Any]:
    """Return what differs between two runs and where they first went apart; raises NotFound."""
    said = compare_runs(await services.traces.load(a), await services.traces.load(b))
    deltas = {
        name: [{**asdict(one), "change": one.change} for one in getattr(said, name)] for name in ("deltas", "scores")
    }
    return {**asdict(said), **deltas}


async def prefer_trace(services: Services, a: str, b: str) -> dict[str, Any]:
    """Let the model judge compare the answers of two runs, in both orders; that is a run of its own. Raises NotFound.

    Raises QuestionError where no model judge is set, and where the runs answered different questions, or nothing.
    """
    if not services.models.has("judge"):
        raise QuestionError("No model judges here: CAUSEGRAPH_JUDGE_MODEL names one.")
    left, right = await services.traces.load(a), await services.traces.load(b)
    if not (left.answer and right.answer):
        raise QuestionError("A model judge compares answers, and one of these runs has none.")
    if left.question.strip() != right.question.strip():
        raise QuestionError("A model judge compares answers to the same question, and these runs had different ones.")
    from agents.pair_judge import prefer_answer
    from inference.budget import Budget
    from inference.desk import ModelDesk

    keep = services.prompts.keep if services.prompts else None
    desk = ModelDesk(services.models, services.guard, Budget(services.settings), keep)
    name = f"Which answers better, {left.id} or {right.id}: {left.question}"
    enabled = services.settings.tracing
    async with start_trace(name, left.environment, services.traces.sink(), enabled=enabled) as trace:
        trace.note(intent="judge")
        pair = await prefer_answer(desk, left.question, left.answer, right.answer)
    return {"a": left.id, "b": right.id, "prefers": pair.prefers, "why": list(pair.why), "trace_id": trace.id}


async def _runs(services: Services, environment: str, from_us: int, to_us: int) -> list[JudgedRun]:
    evaluations = await services.rulings.evaluations.between(environment, from_us, to_us)
    return read_runs(evaluations, await services.rulings.evaluations.reviews_since(from_us))

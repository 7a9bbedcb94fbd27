"""Groups of runs, patterns of principles, calibration with its noise floor, flags, and two runs side by side."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.times import HOUR_US
from domain.verdict import JudgeAction
from review.calibration import WINDOW_US, find_flags, measure, reviewed_points
from review.comparison import compare_runs
from review.quality import JudgedRun, find_patterns, group_runs, read_runs
from storage.evaluations import Evaluation, TraceReview
from tracing.events import Event, EventType, encode_payload, make_event_id
from tracing.fold import fold
from tracing.view import TraceView

NOW_US = 1_795_262_400_000_000


def run(
    number: int,
    *,
    scores: Mapping[str, float] | None = None,
    service: str = "checkout",
    intent: str = "why",
    action: JudgeAction = "ALLOW_ANSWER",
    confidence: float | None = 0.8,
    passed: bool | None = None,
) -> JudgedRun:
    return JudgedRun(
        trace_id=f"trc_{number:04d}",
        environment="e",
        created_us=NOW_US - (1000 - number) * 60_000_000,
        service=service,
        intent=intent,
        outcome="CONFIRMED",
        action=action,
        policy="default 0",
        confidence=confidence,
        scores={"numbers": 1.0, "quotes": 1.0} if scores is None else scores,
        passed=passed,
    )


def kinds(runs: Sequence[JudgedRun]) -> list[tuple[str, str]]:
    return [(flag.kind, flag.about) for flag in find_flags(runs, NOW_US)]


def test_a_principle_that_fails_three_times_in_a_week_is_flagged() -> None:
    bad = [run(n, scores={"numbers": 0.5, "quotes": 1.0}) for n in range(3)]
    assert kinds(bad) == [("principle", "numbers")]
    assert find_flags(bad, NOW_US)[0].traces == ("trc_0000", "trc_0001", "trc_0002")
    assert kinds(bad[:2]) == []
    old = [replace(one, created_us=NOW_US - WINDOW_US - HOUR_US) for one in bad[:1]]
    assert kinds([*old, *bad[1:]]) == []


def test_a_service_below_the_rest_is_flagged_and_noise_is_not() -> None:
    good = [run(n, scores={"a": 1.0}) for n in range(10)]
    poor = [run(20 + n, service="payment", scores={"a": 0.5 + 0.02 * n}) for n in range(6)]
    assert ("service", "payment") in kinds([*good, *poor])
    few = poor[:4]
    assert ("service", "payment") not in kinds([*good, *few])
    rng = random.Random(5)
    wild = [run(n, service=rng.choice(("a", "b")), scores={"a": rng.choice((0.0, 1.0))}) for n in range(16)]
    assert not [flag for flag in find_flags(wild, NOW_US) if flag.kind == "service"]


def test_a_regression_is_the_newest_run_held_back_after_one_that_was_allowed() -> None:
    assert kinds([run(1), run(2, action="BLOCK")]) == [("regression", "checkout")]
    assert kinds([run(1, action="BLOCK"), run(2)]) == []
    assert kinds([run(1), run(2, action="BLOCK", service="bank")]) == []


def test_calibration_error_of_a_perfect_agent_is_within_its_noise() -> None:
    rng = random.Random(11)
    outside = 0
    for seed in range(20):
        points = [(p, rng.random() < p) for p in (rng.random() for _ in range(60))]
        said = measure(points, seed=seed)
        assert said is not None
        outside += said.stands_out
        assert said.floor > 0.03  # so few runs: noise alone shows an error
    assert outside <= 2


def test_overconfidence_stands_out_and_is_flagged() -> None:
    rng = random.Random(3)
    runs = [run(n, confidence=0.9, passed=rng.random() < 0.4) for n in range(80)]
    said = measure(reviewed_points(runs))
    assert said is not None
    assert said.stands_out
    assert said.lean == "too high"
    assert said.ece == pytest.approx(abs(0.9 - sum(bool(r.passed) for r in runs) / 80), abs=0.05)
    assert said.low <= said.ece <= said.high
    assert ("confidence", "too high") in kinds(runs)
    assert measure([]) is None
    assert not measure([(0.9, False)] * 5).stands_out  # type: ignore[union-attr]  # there are points


@given(st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=40))
def test_brier_and_calibration_error_are_bounded(points: list[tuple[float, bool]]) -> None:
    said = measure(points)
    assert said is not None
    assert 0 <= said.brier <= 1
    assert 0 <= said.ece <= 1
    assert sum(part.runs for part in said.bins) == len(points)


def test_runs_are_grouped_and_patterns_counted() -> None:
    runs = [
        run(1),
        run(2, service="bank", scores={"numbers": 0.0}),
        run(3, service="bank", action="ESCALATE", passed=False),
    ]
    groups = {group.value: group for group in group_runs(runs, "service")}
    assert groups["bank"].runs == 2
    assert groups["bank"].allowed == 0.5
    assert groups["bank"].passed == 0.0
    assert groups["checkout"].quality == 1.0
    assert [g.value for g in group_runs(runs, "day")] == sorted({g.value for g in group_runs(runs, "day")})
    assert [(p.principle, p.failed, p.runs) for p in find_patterns(runs, 1)] == [("numbers", 1, 3)]


def test_the_last_decision_and_the_last_word_of_each_reviewer_count() -> None:
    first = Evaluation(
        id="evl-1",
        environment="e",
        trace_id="t",
        created_us=1,
        judge="checks",
        service="s",
        intent="why",
        outcome="LIKELY",
        confidence=0.5,
        policy="p",
        policy_version=1,
        rule="r",
        action="BLOCK",
        reason="R",
        severity="low",
        input_hash="h",
        signals={"scores": {"claims_kept": 0.0, "numbers": 0.5, "odd": "x"}},
    )
    second = replace(first, id="evl-2", created_us=2, action="ALLOW_ANSWER")
    words = [
        TraceReview("t", "ann", False, "", (), 1),
        TraceReview("t", "ann", True, "", (), 2),
        TraceReview("t", "bob", None, "", (), 3),
    ]
    (judged,) = read_runs([second, first], words)
    assert judged.action == "ALLOW_ANSWER"
    assert judged.scores == {"numbers": 0.5}
    assert judged.passed is True
    (disputed,) = read_runs([first], [*words, TraceReview("t", "eve", False, "", (), 4)])
    assert disputed.passed is None


def trace(
    trace_id: str, decisions: Sequence[str], stages: Sequence[tuple[str, int]], judge: Mapping[str, float]
) -> TraceView:
    events: list[Event] = []

    def add(kind: EventType, span: str, time_us: int, **data: object) -> None:
        number = len(events)
        events.append(
            Event(
                trace_id,
                make_event_id(trace_id, span, kind, number),
                kind,
                span,
                0,
                number,
                time_us,
                encode_payload(data),
            )
        )

    add("RUN_START", "0", 0, question="why?", environment="e")
    for name, start in stages:
        add("STAGE_START", name, start, name=name, parent="0", facts={})
        add("STAGE_END", name, start + 10, status="complete", seconds=0.00001, error="", facts={})
    for what in decisions:
        add("DECISION", "0", 50, what=what, why="w", confidence=0.5)
    add("JUDGE", "0", 60, action="ALLOW_ANSWER", scores=dict(judge), gaps=[f"gap of {trace_id}"], by="checks")
    add("EVIDENCE", "0", 61, ids=["log-1", f"log-{trace_id}"], cited=True)
    add("RUN_END", "0", 70, status="complete", seconds=1.0, error="")
    return fold(events)


def test_two_runs_are_compared_where_they_first_went_apart() -> None:
    one = trace("a", ["plan", "look at payment"], [("planner", 0), ("log", 20), ("metric", 20)], {"numbers": 1.0})
    other = trace(
        "b", ["plan", "look at bank"], [("planner", 0), ("metric", 20), ("log", 20), ("judge", 40)], {"numbers": 0.5}
    )
    said = compare_runs(one, other)
    assert said.same_question
    assert said.first_decision is not None
    assert (said.first_decision.a, said.first_decision.b) == ("look at payment", "look at bank")
    # What ran side by side may stand in any order: the first difference is the stage that only one has.
    assert said.first_stage is not None
    assert (said.first_stage.a, said.first_stage.b) == ("", "judge (complete)")
    assert [(d.name, d.change) for d in said.scores] == [("numbers", -0.5)]
    assert said.gaps_a_only == ("gap of a",)
    assert said.evidence_b_only == ("log-b",)
    same = compare_runs(one, one)
    assert (same.first_stage, same.first_decision, same.first_prompt) == (None, None, None)
    assert not any(delta.change for delta in same.deltas)

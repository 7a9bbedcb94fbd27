"""The verdict rule, condition by condition: a story that is proven, and the same story with one thing missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest

from diagnosis.case import Candidate
from diagnosis.signals import Ref, Signal
from diagnosis.symptom import Symptom
from diagnosis.verdict import (
    CONFIRM_LEAD,
    CONFIRM_SCORE,
    LIKELY_SCORE,
    MIN_BASELINE,
    NAME_LEAD,
    ONSET_BOUND_US,
    STATED_LEAD,
    STATED_SCORE,
    SURE_BLIP,
    Proof,
    settle_verdict,
)
from domain.verdict import Verdict

START = 10_000_000
SYMPTOM = Symptom("shop", "POST /pay", "errors", START, START + 20_000_000, 40, 80, 0.5, 0.0, 90.0, False, 400_000, 80)
SHOWN = Signal("bank", "failing_here", 0.9, START, "it fails", (Ref.to("log", id=1),))
BANK = Candidate("bank", 0.8, 0.9, 0.9, 0.99, START, ("bank", "till", "shop"), (SHOWN,), {"failing_here": 0.8})
SLOW = replace(BANK, signals=(replace(SHOWN, name="slow_here"),))
PROOF = Proof(
    {SHOWN.refs[0]: "log-1"},
    {("shop", "till"): "edge-1", ("till", "bank"): "edge-2"},
    {("shop", "till"): ["span-1"], ("till", "bank"): ["span-2"]},
    MIN_BASELINE,
)


@dataclass(frozen=True, slots=True)
class Story:
    symptom: Symptom = SYMPTOM
    bank: Candidate = BANK
    rival: float = 0.0
    proof: Proof = PROOF

    def settle(self) -> Verdict:
        others = [replace(BANK, service="ads", score=self.rival, path=("ads", "shop"))] if self.rival else []
        return settle_verdict(self.symptom, [self.bank, *others], self.proof)


PROVEN = Story()


def symptom(**changes: object) -> Callable[[Story], Story]:
    return lambda story: replace(story, symptom=replace(story.symptom, **changes))  # type: ignore[arg-type]


def bank(**changes: object) -> Callable[[Story], Story]:
    return lambda story: replace(story, bank=replace(story.bank, **changes))  # type: ignore[arg-type]


def proof(**changes: object) -> Callable[[Story], Story]:
    return lambda story: replace(story, proof=replace(story.proof, **changes))  # type: ignore[arg-type]


def rival(score: float) -> Callable[[Story], Story]:
    return lambda story: replace(story, rival=score)


def test_the_whole_story_is_confirmed() -> None:
    verdict = PROVEN.settle()
    assert verdict.outcome == "CONFIRMED"
    assert verdict.causes[0].evidence == ("log-1",) and verdict.causes[0].inferred_hops == ()


def test_a_hop_without_a_bad_call_is_a_stated_gap() -> None:
    verdict = proof(hops={("shop", "till"): ["span-1"]})(PROVEN).settle()
    assert verdict.outcome == "CONFIRMED"
    assert verdict.causes[0].inferred_hops == ("till->bank",)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (bank(onset_us=START + ONSET_BOUND_US + 1), "only 5.0 s after the symptom began"),
        (rival(BANK.score / CONFIRM_LEAD + 0.001), "ads is nearly as suspicious"),
        (bank(score=CONFIRM_SCORE - 0.01), "is thin"),
        (bank(path=("bank", "till")), "No path leads from bank to shop"),
        (proof(edges={("shop", "till"): "edge-1"}), "no edge till -> bank"),
        (proof(baseline=MIN_BASELINE - 1), "4 request traces from before"),
        (proof(cut_off=True), "No call to or from bank is known"),
        (symptom(kind="logs"), "told by log lines alone"),
        (symptom(kind="metrics", text="errors rose"), "too coarse to tell which came first"),
        (symptom(kind="stated"), "was stated, not measured"),
        (symptom(kind="latency", recovered=True, bad=SURE_BLIP - 1), "any busy machine does that"),
        (lambda story: proof(alike="Everything is slow")(replace(story, bank=SLOW)), "Everything is slow"),
    ],
)
def test_without_any_one_condition_it_is_likely_and_says_which(change: Callable[[Story], Story], said: str) -> None:
    verdict = change(PROVEN).settle()
    assert (verdict.outcome, [cause.service for cause in verdict.causes]) == ("LIKELY", ["bank"])
    assert any(said in reason for reason in verdict.reasons[1:]), verdict.reasons


@pytest.mark.parametrize(
    "change",
    [
        bank(onset_us=START + ONSET_BOUND_US),
        bank(onset_us=START + 9_000_000, latest_us=START + 9_000_000),  # a request that hung until then
        rival(BANK.score / CONFIRM_LEAD),
        bank(score=CONFIRM_SCORE),
        symptom(kind="latency", recovered=True, bad=SURE_BLIP),
        symptom(kind="latency", bad=SURE_BLIP - 1),
        proof(alike="Everything is slow"),  # it fails: slowness has nothing to do with it
    ],
)
def test_at_its_bounds_it_is_still_confirmed(change: Callable[[Story], Story]) -> None:
    assert change(PROVEN).settle().outcome == "CONFIRMED"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (bank(score=LIKELY_SCORE - 0.01), "is needed to name a cause"),
        (rival(BANK.score / NAME_LEAD + 0.001), "equally suspicious"),
        (proof(cited={}), "No stored record shows the trouble of bank"),
        (lambda story: symptom(kind="stated")(bank(score=STATED_SCORE - 0.01)(story)), "do not suffice alone"),
        (lambda story: symptom(kind="stated")(rival(BANK.score / STATED_LEAD + 0.001)(story)), "do not suffice alone"),
        (
            lambda story: bank(signals=(replace(SHOWN, name="slow_link"),))(proof(alike="All links are slow")(story)),
            "rather than the link to bank",
        ),
    ],
)
def test_without_what_it_takes_to_name_a_cause_none_is_named(change: Callable[[Story], Story], said: str) -> None:
    verdict = change(PROVEN).settle()
    assert (verdict.outcome, verdict.causes) == ("INCONCLUSIVE", ())
    assert any(said in reason for reason in verdict.reasons), verdict.reasons


def test_nobody_suspicious_is_inconclusive() -> None:
    assert settle_verdict(SYMPTOM, [], PROOF).outcome == "INCONCLUSIVE"

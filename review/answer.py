"""A whole answer judged by code: its claims, the path of its cause, the order of onsets; scores, strengths and gaps."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.verdict import Cause, Claim, Verdict
from review.checks import PRINCIPLES, ClaimChecker, ClaimJudgement, Run

_GAP_CHARACTERS = 120


@dataclass(frozen=True, slots=True)
class AnswerJudgement:
    """What the checks say of an answer. A principle that nothing in the answer touches has no score, which is no failure.

    `unchecked` says why some check could not be made, "" if all could.
    """

    claims: tuple[ClaimJudgement, ...]
    scores: Mapping[str, float]
    gaps: tuple[str, ...]
    strengths: tuple[str, ...]
    unchecked: str = ""

    @property
    def kept(self) -> tuple[Claim, ...]:
        """The claims that hold."""
        return tuple(judged.claim for judged in self.claims if judged.holds)


def judge_answer(
    verdict: Verdict, claims: Sequence[Claim], run: Run, *, in_order: bool | None, unchecked: str = ""
) -> AnswerJudgement:
    """Judge an answer: each claim, the path of each cause, and whether the onsets are in order (None: nothing to order)."""
    checker = ClaimChecker(run)
    judged = tuple(checker.check(claim) for claim in claims)
    gaps = [f"cut: {one.claim.text[:_GAP_CHARACTERS]} ({one.fault})" for one in judged if not one.holds]
    scores = {"claims_kept": sum(one.holds for one in judged) / len(judged) if judged else 1.0}
    scores |= _principle_scores(judged)
    path, missing = check_paths(verdict.causes, run)
    if path is not None:
        scores["path"] = path
    gaps += [f"no edge of that time shows that {caller} calls {callee}" for caller, callee in missing]
    if in_order is not None:
        scores["order"] = float(in_order)
        gaps += [] if in_order else ["the trouble of the cause begins after the symptom"]
    if unchecked:
        gaps.append(unchecked)
        scores.pop("unchanged", None)
    rounded = {name: round(value, 3) for name, value in scores.items()}
    return AnswerJudgement(judged, rounded, tuple(gaps), _strengths(rounded, judged, verdict), unchecked)


def check_paths(causes: Sequence[Cause], run: Run) -> tuple[float | None, list[tuple[str, str]]]:
    """Return the share of hops that a cited edge shows (None without hops), and the (caller, callee) of the others."""
    hops = [
        (cause, caller, callee) for cause in causes for callee, caller in itertools.pairwise(cause.path)
    ]  # a path lists the cause first
    missing = [(caller, callee) for cause, caller, callee in hops if not _has_edge(cause, caller, callee, run)]
    return (1 - len(missing) / len(hops) if hops else None), missing


def _has_edge(cause: Cause, caller: str, callee: str, run: Run) -> bool:
    for evidence_id in cause.hop_evidence.get(f"{caller}->{callee}", ()):
        record = run.records.get(evidence_id)
        if record is None or run.changed.get(evidence_id):
            continue
        fields = record.fields
        if record.evidence.kind == "edge" and (fields.get("source"), fields.get("target")) == (caller, callee):
            return True
    return False


def _principle_scores(judged: Sequence[ClaimJudgement]) -> dict[str, float]:
    held: defaultdict[str, list[bool]] = defaultdict(list)
    for one in judged:
        for finding in one.findings:
            held[finding.principle].append(finding.holds)
    return {name: sum(held[name]) / len(held[name]) for name in PRINCIPLES if held[name]}


def _strengths(scores: Mapping[str, float], judged: Sequence[ClaimJudgement], verdict: Verdict) -> tuple[str, ...]:
    found = []
    if judged and scores["claims_kept"] == 1.0:
        found.append(f"all {len(judged)} claims hold against their records")
    if scores.get("path") == 1.0:
        hops = sum(len(cause.path) - 1 for cause in verdict.causes)
        found.append(f"each of the {hops} hops from cause to symptom is an edge that existed then")
    if verdict.causes and scores.get("order") == 1.0:
        found.append("the trouble of the cause shows no later than the symptom")
    if judged and scores.get("unchanged") == 1.0:
        found.append("every cited record reads as it did when it was cited")
    return tuple(found)

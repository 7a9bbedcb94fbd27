"""The judge: checks by code that every claim rests on records of this run, and says what may be done with the answer."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping, Sequence

from agents.explainer import write_answer
from agents.state import Deps, Plan, State
from diagnosis.ranking import Candidate
from diagnosis.verdict import in_order
from diagnosis.wording import named_services
from domain.errors import CausegraphError
from domain.evidence import Evidence
from domain.verdict import Claim, JudgeAction, Judgement, Verdict
from retrieval.evidence import recheck
from tracing.trace import current_trace

_MAX_ROUNDS = 2
_NUMBER = re.compile(r"(?<![\w.-])\d+(?![\w.-])")


async def judge_answer(state: State, deps: Deps) -> State:
    """Check every claim, cut those that do not hold, and settle the action."""
    plan, verdict, claims = state["plan"], state["verdict"], state["claims"]
    ids = list(dict.fromkeys(i for claim in claims for i in claim.evidence))
    try:
        changed = dict(zip(ids, await asyncio.gather(*(_recheck(i, deps) for i in ids)), strict=True))
        unchecked = ""
    except CausegraphError as exc:
        changed, unchecked = {}, f"the evidence could not be read again: {exc}"
    verdicts = [(claim, _fault_of(claim, deps.desk.found, changed, plan.services)) for claim in claims]
    kept = tuple(claim for claim, fault in verdicts if not fault)
    gaps = [f"cut: {claim.text[:120]} ({fault})" for claim, fault in verdicts if fault]
    gaps += [unchecked] if unchecked else []
    scores = {
        "claims_kept": len(kept) / len(claims) if claims else 1.0,
        "records_reread": sum(not c for c in changed.values()) / len(ids) if ids and changed else float(not ids),
        "path_verified": float(verdict.outcome in ("CONFIRMED", "HEALTHY")),
        "onset_in_order": float(_in_order(verdict, plan, state["ranking"])),
    }
    again = _look_again(state)
    action = choose_action(plan, verdict, scores, bool(unchecked))
    gaps += list(verdict.not_seen)
    judgement = Judgement(action, {name: round(value, 3) for name, value in scores.items()}, tuple(gaps))
    current_trace().judge(judgement)
    answer = write_answer(verdict, plan, kept, state.get("runbook"))
    return {"judgement": judgement, "claims": kept, "answer": answer, "again": again}


async def _recheck(evidence_id: str, deps: Deps) -> str:
    evidence = deps.desk.found.get(evidence_id)
    if evidence is None:
        return "not retrieved in this run"
    return await recheck(deps.telemetry, deps.graph, evidence, deps.code)


def _fault_of(claim: Claim, found: Mapping[str, Evidence], changed: Mapping[str, str], services: Sequence[str]) -> str:
    """Return why a claim does not hold, or ""."""
    if not claim.evidence:
        return "it cites nothing"
    if any(i not in found for i in claim.evidence):
        return "it cites a record that was not retrieved in this run"
    broken = [changed[i] for i in claim.evidence if changed.get(i)]
    if len(broken) == len(claim.evidence):
        return broken[0]
    cited = [found[i] for i in claim.evidence]
    spoken = " ".join([e.text for e in cited] + [name for e in cited for name in e.entities])
    if not set(named_services(claim.text, services)) & set(named_services(spoken, services)):
        return "its records speak of other services"
    requests = [e for e in cited if e.kind == "requests"]
    if requests and not _NUMBER.findall(claim.text.split(", from")[0]):
        return "its numbers are missing"
    return ""


def _in_order(verdict: Verdict, plan: Plan, ranking: Sequence[Candidate]) -> bool:
    symptom, causes = plan.symptom, {cause.service for cause in verdict.causes}
    if symptom is None or not causes:
        return verdict.outcome == "HEALTHY"
    return all(in_order(symptom, candidate) for candidate in ranking if candidate.service in causes)


def choose_action(plan: Plan, verdict: Verdict, scores: Mapping[str, float], unchecked: bool) -> JudgeAction:
    """Return what may be done with the answer; a check that could not be made never becomes ALLOW."""
    if plan.clarification:
        return "NEED_CLARIFICATION"
    if unchecked:
        return "ESCALATE"
    if verdict.causes and not scores["claims_kept"]:
        return "BLOCK"
    match verdict.outcome:
        case "CONFIRMED":
            return "ALLOW_ANSWER" if scores["claims_kept"] == 1.0 else "ALLOW_WITH_WARNING"
        case "HEALTHY":
            return "ALLOW_WITH_WARNING" if verdict.not_seen else "ALLOW_ANSWER"
        case "LIKELY":
            return "ALLOW_WITH_WARNING"
        case "INCONCLUSIVE":
            return "ESCALATE" if plan.symptom else "ALLOW_WITH_WARNING"


def _look_again(state: State) -> bool:
    """Look further back once, where nothing was found and the question did not bound the time."""
    plan, question = state["plan"], state["question"]
    nothing = plan.symptom is None and not plan.reporting and not plan.clarification
    return nothing and question.from_us is None and state["round"] < _MAX_ROUNDS

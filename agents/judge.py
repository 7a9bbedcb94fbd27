"""The judge: checks by code that every claim rests on records of this run, and says what may be done with the answer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from agents.explainer import write_answer, write_headline
from agents.model_judge import ask_model_judge, brief_of_answer
from agents.state import Decided, Deps, Plan, State
from agents.told import Told
from diagnosis.ranking import Candidate
from diagnosis.verdict import in_order
from domain.errors import CausegraphError
from domain.verdict import Judgement, Verdict
from retrieval.evidence import recheck
from review.answer import judge_answer as judge_by_code
from review.checks import Run
from review.facts import chain_links, from_bytes
from review.policy import Policy, Ruling, decide
from review.policy_document import built_in_policy
from review.signals import answer_signals
from tracing.trace import current_trace

_MAX_ROUNDS = 2
_ENGLISH_ONLY = "The question does not read as English. Without the words of a language model, answers are in English."


async def judge_answer(state: State, deps: Deps) -> State:
    """Check every claim, cut those that do not hold, and settle the action."""
    plan, verdict = state["plan"], state["verdict"]
    told, doubt = state.get("told"), state.get("doubt", "")
    remarks = state.get("remarks", ())
    hops = (ids for cause in verdict.causes for ids in cause.hop_evidence.values())
    sayings = (*state["claims"], *remarks, *(told.sentences if told else ()))
    cited = [*(i for claim in sayings for i in claim.evidence), *(i for ids in hops for i in ids)]
    ids = [i for i in dict.fromkeys(cited) if i in deps.desk.found]
    try:
        changed = dict(zip(ids, await asyncio.gather(*(_recheck(i, deps) for i in ids)), strict=True))
        unchecked = ""
    except CausegraphError as exc:
        changed, unchecked = {}, f"the evidence could not be read again: {exc}"
    order = _in_order(verdict, plan, state["ranking"])
    said = judge_by_code(verdict, state["claims"], run_of(state, deps, changed), in_order=order, unchecked=unchecked)
    policy, unread = await _policy(state["question"].environment, deps)
    headline, found = write_headline(verdict, plan), deps.desk.found
    brief = brief_of_answer(state["question"].text, verdict.outcome, headline, said.kept, found)
    opinion = None if plan.clarification else await ask_model_judge(deps.models, brief, policy, deps.opinions)
    signals = answer_signals(
        verdict,
        said,
        environment=state["question"].environment,
        service=plan.symptom.service if plan.symptom else "",
        clarification=bool(plan.clarification),
        symptom=plan.symptom is not None,
        doubted=bool(doubt),
        model=None if opinion is None else opinion.as_signals(),
    )
    ruling = Ruling("ESCALATE", "", "POLICY_UNREAD", "high") if unread else decide(policy, signals)
    decided = Decided(policy, ruling, signals)
    told = _with_standing(told, changed, bool(unchecked)) if told else None
    cut = told.cut if told else ()
    remarks = tuple(r for r in remarks if not unchecked and not any(changed.get(i) for i in r.evidence))
    denied = opinion.gaps if opinion else ()
    gaps = (*said.gaps, *denied, *cut, *([doubt] if doubt else ()), *unread, *verdict.not_seen)
    agreed = ("a model judge finds nothing wrong",) if opinion and opinion.passed else ()
    judgement = Judgement(decided.ruling.action, said.scores, gaps, strengths=(*said.strengths, *agreed))
    _record(decided)
    current_trace().judge(judgement)
    answer = write_answer(verdict, plan, said.kept, state.get("runbook"), told, remarks)
    if state["question"].language != "en" and not (told and told.headline):
        answer += f"\n{_ENGLISH_ONLY}"
    update: State = {"judgement": judgement, "claims": said.kept, "answer": answer, "told": told, "decided": decided}
    update["remarks"] = remarks
    return update | {"again": _look_again(state)}


def _with_standing(told: Told, changed: Mapping[str, str], unchecked: bool) -> Told:
    """Cut the sentences of a model whose records are no longer what they were; all, where that could not be checked."""
    kept = tuple(s for s in told.sentences if not unchecked and not any(changed.get(i) for i in s.evidence))
    gone = [f"cut: {s.text[:120]} (its records have changed)" for s in told.sentences if s not in kept]
    return replace(told, sentences=kept, headline="" if unchecked else told.headline, cut=(*told.cut, *gone))


async def _policy(environment: str, deps: Deps) -> tuple[Policy, tuple[str, ...]]:
    """Return the policy that holds, and why it could not be read: a person decides then, since another could be milder."""
    try:
        return await deps.policies.active_policy(environment) if deps.policies else built_in_policy(), ()
    except CausegraphError as exc:
        return built_in_policy(), (f"the policy could not be read: {exc}",)


def _record(decided: Decided) -> None:
    policy, ruling = decided.policy, decided.ruling
    current_trace().policy(policy.name, str(policy.version), ruling.action, ruling.rule, ruling.reason)


def run_of(state: State, deps: Deps, changed: Mapping[str, str]) -> Run:
    """Return what the run had before it, as the checks take it."""
    derived = _derived_lines(state)
    records = {
        i: from_bytes(evidence, deps.desk.records[i], derived[i])
        for i, evidence in deps.desk.found.items()
        if i in deps.desk.records
    }
    paths = [cause.path for cause in state["verdict"].causes]
    return Run(records, tuple(state["plan"].services), chain_links(paths), changed)


def _derived_lines(state: State) -> Mapping[str, list[str]]:
    """Return, per piece of evidence, the lines that code derived from it: what a signal says, and why one was ruled out."""
    lines: defaultdict[str, list[str]] = defaultdict(list)

    def add(ids: Iterable[str], line: str) -> None:
        for evidence_id in ids:
            lines[evidence_id].append(line)

    for candidate in state["ranking"]:
        for signal in candidate.signals:
            add((state["cited"][ref] for ref in signal.refs if ref in state["cited"]), signal.text)
    for ruled in state["verdict"].ruled_out:
        add(ruled.evidence, f"{ruled.service} is not the cause: {ruled.why}")
    for claim in state.get("code", ()):
        add(claim.evidence, claim.text)
    return lines


async def _recheck(evidence_id: str, deps: Deps) -> str:
    return await recheck(deps.telemetry, deps.graph, deps.desk.found[evidence_id], deps.code)


def _in_order(verdict: Verdict, plan: Plan, ranking: Sequence[Candidate]) -> bool | None:
    symptom, causes = plan.symptom, {cause.service for cause in verdict.causes}
    if symptom is None or not causes:
        return None
    return all(in_order(symptom, candidate) for candidate in ranking if candidate.service in causes)


def _look_again(state: State) -> bool:
    """Look further back once, where nothing was found and the question did not bound the time."""
    plan, question = state["plan"], state["question"]
    nothing = plan.symptom is None and not plan.reporting and not plan.clarification
    return nothing and question.from_us is None and state["round"] < _MAX_ROUNDS

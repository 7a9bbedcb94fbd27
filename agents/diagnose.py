"""Diagnosis: ranks the candidates, reads every record that is to be cited, and lets the verdict rule decide."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from agents.question import Question
from agents.state import Deps, Paths, Plan, State
from diagnosis.blames import span_ref
from diagnosis.ranking import Candidate, Case, rank_causes
from diagnosis.second_cause import find_second
from diagnosis.signals import Ref
from diagnosis.symptom import state_symptom
from diagnosis.verdict import Proof, hops_of, settle_healthy, settle_verdict
from diagnosis.walks import Walk
from domain.errors import GraphError
from domain.times import format_us
from domain.verdict import Verdict
from tracing.trace import current_trace

_CITED_CANDIDATES = 6
_CITED_SIGNALS = 8
_OTHER_TROUBLES = 3


async def settle(state: State, deps: Deps) -> State:
    """Rank, cite and settle."""
    plan, paths, reports = state["plan"], state["paths"], state["reports"]
    not_seen = [line for name in sorted(reports) for line in reports[name].not_seen]
    not_seen += [f"the {e.query} look-up failed: {e.error}" for e in deps.ledger.entries if e.error]
    if paths.refuted:
        plan = _without_symptom(plan, state["question"].from_us is not None)
    not_seen = list(dict.fromkeys([*not_seen, *_not_looked_into(plan)]))
    if plan.symptom is None:
        verdict = _settle_without_symptom(plan, not_seen)
        _record(verdict, ())
        return {"plan": plan, "verdict": verdict, "ranking": (), "cited": {}}
    case = Case(
        symptom=plan.symptom,
        services=plan.services,
        calls=paths.calls,
        blames=paths.blames,
        others=paths.others,
        entries=paths.entries,
        undelivered=paths.undelivered,
        signals=tuple(signal for name in sorted(reports) for signal in reports[name].signals),
        called_at=paths.called_at,
        repeated=paths.repeated,
        unexplained=reports["metric"].unexplained if "metric" in reports else {},
    )
    ranking = rank_causes(case)
    proof = await _prove(state["question"], plan, paths, ranking, deps)
    plan = _with_cited_numbers(plan, proof, deps)
    verdict = settle_verdict(plan.symptom or case.symptom, ranking, proof, not_seen)
    _record(verdict, ranking)
    return {"plan": plan, "verdict": verdict, "ranking": tuple(ranking), "cited": proof.cited}


def _not_looked_into(plan: Plan) -> list[str]:
    """Say which other trouble there was, at another time than the symptom's: its own cause was not looked for."""
    lines = []
    here = plan.symptom
    others = [s for s in plan.elsewhere if here is None or s.end_us <= here.start_us or s.start_us >= here.end_us]
    for s in others[:_OTHER_TROUBLES]:
        until = f"until {format_us(s.end_us)}" if s.recovered else "and goes on"
        what = "lines" if s.kind == "logs" else "requests"
        lines.append(
            f"outside the question: {s.bad} of {s.requests} {what} of {s.service} ({s.operation}) went bad "
            f"from {format_us(s.start_us)} {until}"
        )
    return lines


def _without_symptom(plan: Plan, stated: bool) -> Plan:
    """Take back a symptom that did not hold: what remains is somebody's word, where there is one."""
    symptom = plan.symptom
    if symptom is None or not stated:
        return replace(plan, symptom=None)
    word = state_symptom(symptom.service, plan.window.start_us, plan.window.end_us, symptom.requests)
    return replace(plan, symptom=word)


def _with_cited_numbers(plan: Plan, proof: Proof, deps: Deps) -> Plan:
    """Let the verdict say the numbers of the cited record: requests go on arriving while the question is answered."""
    symptom = plan.symptom
    cited = proof.cited.get(symptom_ref(plan)) if symptom else None
    if symptom is None or cited is None:
        return plan
    record = json.loads(deps.desk.records[cited])
    bad = record["errors"] if symptom.kind == "errors" else record["slow"]
    requests = max(1, record["requests"])
    return replace(plan, symptom=replace(symptom, bad=bad, requests=record["requests"], share=bad / requests))


def _settle_without_symptom(plan: Plan, not_seen: Sequence[str]) -> Verdict:
    if plan.clarification:
        return Verdict("INCONCLUSIVE", (plan.clarification,))
    subject = ", ".join(plan.subject.services) or ", ".join(f"{s} {n}" for s, n in plan.subject.operations[:3])
    looked_at = f"{subject or 'all services'} from {plan.search}, {plan.spans} spans"
    return settle_healthy(plan.reporting, looked_at, not_seen)


async def _prove(question: Question, plan: Plan, paths: Paths, ranking: Sequence[Candidate], deps: Deps) -> Proof:
    cited: dict[Ref, str] = {}

    as_of = {"count": {"seq": plan.seq}, "requests": {"seq": plan.seq, "until_us": question.at_us}}

    async def cite(ref: Ref, query: str) -> str:
        if ref not in cited:
            key = dict(ref.as_key()) | as_of.get(ref.kind, {})
            evidence = await deps.desk.cite(ref.kind, key, query)
            if evidence is None:
                return ""
            cited[ref] = evidence.id
        return cited[ref]

    for candidate in ranking[:_CITED_CANDIDATES]:
        for signal in candidate.signals[:_CITED_SIGNALS]:
            for ref in signal.refs:
                await cite(ref, signal.name)
    edges: dict[tuple[str, str], str] = {}
    hops: dict[tuple[str, str], list[str]] = defaultdict(list)
    bad = _bad_hops([walk for blame in (*paths.blames, *paths.others) for walk in blame.walks])
    top, second = (ranking[0] if ranking else None), find_second(ranking, plan.symptom)
    for named in [*ranking[:1], *([second] if second else [])]:
        for caller, callee in hops_of(named.path):
            if (caller, callee) in hops or (caller, callee) in edges:
                continue
            edge = await _cite_edge(question.environment, plan, caller, callee, deps)
            if edge:
                edges[caller, callee] = edge
            for ref in bad.get((caller, callee), [])[:2]:
                if found := await cite(ref, "bad call"):
                    hops[caller, callee].append(found)
    if plan.symptom is not None and plan.symptom.kind in ("errors", "latency") and plan.spans:
        await cite(symptom_ref(plan), "symptom")
    cut_off = top is not None and len(plan.services) > 1 and not any(top.service in call for call in paths.calls)
    return Proof(cited=cited, edges=edges, hops=hops, baseline=paths.baseline, alike=paths.alike, cut_off=cut_off)


def symptom_ref(plan: Plan) -> Ref:
    """Return the address of the symptom's own numbers."""
    symptom = plan.symptom
    if symptom is None:
        raise ValueError("the plan has no symptom")
    return Ref.to(
        "requests",
        service=symptom.service,
        name=symptom.operation,
        start_us=symptom.start_us,
        end_us=plan.window.end_us,
        slow_us=symptom.slow_us or 2**62,
    )


async def _cite_edge(environment: str, plan: Plan, caller: str, callee: str, deps: Deps) -> str:
    key = {"source": caller, "target": callee, "at_us": max(0, plan.window.end_us - 1)}
    try:
        evidence = await deps.desk.cite("edge", key, "calls as of")
    except GraphError:
        return ""
    return evidence.id if evidence else ""


def _bad_hops(walks: Sequence[Walk]) -> Mapping[tuple[str, str], list[Ref]]:
    """Return, per hop (caller, callee), the records of calls on it that went bad, earliest first."""
    found: dict[tuple[str, str], list[Ref]] = defaultdict(list)
    for walk in sorted(walks, key=lambda w: (w.onset_us, w.end.span_id)):
        for upper, lower in zip(walk.spans, walk.spans[1:], strict=False):
            if upper.service != lower.service:
                _add(found[upper.service, lower.service], span_ref(upper))
        if walk.caller:
            _add(found[walk.caller, walk.service], span_ref(walk.end))
    return found


def _add(refs: list[Ref], ref: Ref) -> None:
    if len(refs) < 3 and ref not in refs:
        refs.append(ref)


def _record(verdict: Verdict, ranking: Sequence[Candidate]) -> None:
    cause = verdict.causes[0] if verdict.causes else None
    current_trace().conclude(verdict.outcome, [c.service for c in verdict.causes], verdict.reasons)
    current_trace().decide(
        what=f"{verdict.outcome}: {cause.service} ({cause.fault_class})" if cause else verdict.outcome,
        why="; ".join(verdict.reasons[1:] or verdict.reasons),
        confidence=cause.confidence if cause else 0.5,
        alternatives=[f"{c.service} ({c.score:.2f})" for c in ranking[1:5]],
        inputs={"scores": {c.service: dict(c.contributions) for c in ranking[:5]}},
    )

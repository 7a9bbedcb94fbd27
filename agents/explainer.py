"""The explainer: turns the verdict into claims, each with its evidence, and claims into an answer. No model is needed.

Where one is set, it may doubt the verdict and word the answer; the claims and what code says of them stay in it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from agents.around import look_around
from agents.diagnose import symptom_ref
from agents.doubting import doubt_verdict
from agents.record_reading import read_records
from agents.state import Deps, Plan, State
from agents.told import Told
from agents.wording import word_answer
from diagnosis.ranking import Candidate
from diagnosis.signals import Ref
from diagnosis.verdict import hops_of
from domain.evidence import Evidence
from domain.times import format_us
from domain.verdict import Cause, Claim, RunbookMatch, Verdict
from tracing.trace import current_trace

_CAUSE_CLAIMS = 4


async def explain(state: State, deps: Deps) -> State:
    """Write the claims and the answer."""
    plan = state["plan"]
    doubted, remarks = await asyncio.gather(
        doubt_verdict(deps.models, state["verdict"], plan, state["ranking"]),
        read_records(deps.models, state["verdict"], deps.desk.found, deps.desk.records),
    )
    verdict = doubted.verdict
    claims = write_claims(verdict, plan, state["ranking"], state["cited"], deps.desk.found)
    claims += state.get("code", ())
    current_trace().decide(
        what=f"{len(claims)} claims",
        why="one for the symptom, for each sign of the cause, for each hop, and for each service ruled out",
        confidence=1.0,
        alternatives=[],
        inputs={"evidence": len(deps.desk.found)},
    )
    around = await look_around(state, deps)
    told = await word_answer(
        deps.models, verdict, plan, claims, deps.desk.found, write_headline(verdict, plan), _language(state), around
    )
    if verdict.outcome != state["verdict"].outcome:
        current_trace().conclude(verdict.outcome, [c.service for c in verdict.causes], verdict.reasons)
    return {"verdict": verdict, "claims": tuple(claims), "told": told, "remarks": remarks, "doubt": doubted.gap}


def _language(state: State) -> str:
    language = state["question"].language
    return "en" if language == "?" else language


def write_claims(
    verdict: Verdict,
    plan: Plan,
    ranking: Sequence[Candidate],
    cited: Mapping[Ref, str],
    found: Mapping[str, Evidence],
) -> list[Claim]:
    """Return the claims that the evidence holds; what no record holds is not claimed."""
    if plan.symptom is None:
        return []
    claims = []
    symptom = cited.get(symptom_ref(plan), "") if plan.symptom.kind in ("errors", "latency") else ""
    if symptom:
        window = f"from {format_us(plan.symptom.start_us)} to {format_us(plan.window.end_us)}"
        claims.append(Claim(f"{plan.symptom.service} {found[symptom].text}, {window}", (symptom,)))
    for cause in verdict.causes:
        claims.extend(_cause_claims(cause, ranking, cited))
        claims.extend(_hop_claims(cause, found))
    claims.extend(Claim(f"{r.service} is not the cause: {r.why}", r.evidence) for r in verdict.ruled_out if r.evidence)
    return claims


def _cause_claims(cause: Cause, ranking: Sequence[Candidate], cited: Mapping[Ref, str]) -> list[Claim]:
    candidate = next(c for c in ranking if c.service == cause.service)
    claims = []
    for signal in candidate.signals:
        ids = tuple(cited[ref] for ref in signal.refs if ref in cited)
        if ids:
            claims.append(Claim(signal.text, ids))
    return claims[:_CAUSE_CLAIMS]


def _hop_claims(cause: Cause, found: Mapping[str, Evidence]) -> list[Claim]:
    claims = []
    for caller, callee in hops_of(cause.path):
        ids = cause.hop_evidence[f"{caller}->{callee}"]
        calls = tuple(i for i in ids if found[i].kind != "edge")
        if calls:
            claims.append(Claim(f"the trouble came from {callee} to {caller}: {found[calls[0]].text}", ids))
        elif ids:
            claims.append(Claim(f"{caller} calls {callee}, though no bad call between them was recorded", ids))
    return claims


def write_answer(
    verdict: Verdict,
    plan: Plan,
    claims: Sequence[Claim],
    runbook: RunbookMatch | None,
    told: Told | None = None,
    remarks: Sequence[Claim] = (),
) -> str:
    """Return the answer as text: the verdict first, then the chain, the claims, what was ruled out and not seen.

    What a model told comes first, below the outcome, which no model words.
    """
    lines = [f"{verdict.outcome}: {told.headline}"] if told and told.headline else []
    if told:
        lines.extend(f"- {sentence.text} [{', '.join(sentence.evidence)}]" for sentence in told.sentences)
    lines.append(write_headline(verdict, plan))
    lines.extend(f"Causal chain: {' -> '.join(c.path)} (since {format_us(c.onset_us)})." for c in verdict.causes)
    if claims:
        lines.append("What the records show:")
        lines.extend(f"- {claim.text} [{', '.join(claim.evidence)}]" for claim in claims)
    if remarks:
        lines.append("What a language model reads in them:")
        lines.extend(f"- {remark.text} [{', '.join(remark.evidence)}]" for remark in remarks)
    unclaimed = [r for r in verdict.ruled_out if not r.evidence]
    if unclaimed:
        lines.append("Also ruled out:")
        lines.extend(f"- {r.service}: {r.why}" for r in unclaimed)
    if verdict.not_seen:
        lines.append("What could not be seen:")
        lines.extend(f"- {line}" for line in verdict.not_seen)
    if runbook:
        lines.append(f"Runbook: {runbook.title} ({runbook.id}), {runbook.why}.")
    elif verdict.causes:
        lines.append("Runbook: none fits.")
    return "\n".join(lines)


def write_headline(verdict: Verdict, plan: Plan) -> str:
    """Return the verdict in a sentence or two."""
    if plan.clarification:
        return plan.clarification
    match verdict.outcome:
        case "CONFIRMED" | "LIKELY":
            cause = verdict.causes[0]
            sure = "is the root cause" if verdict.outcome == "CONFIRMED" else "is the likely root cause"
            kind = "of an unknown kind" if cause.fault_class == "unknown" else f"a {cause.fault_class} fault"
            gaps = "" if verdict.outcome == "CONFIRMED" else f" Not confirmed: {'; '.join(verdict.reasons[2:])}."
            return f"{cause.service} {sure} ({kind}, confidence {cause.confidence:.2f}). {verdict.reasons[0]}.{gaps}"
        case "HEALTHY":
            return f"This is healthy. {verdict.reasons[0]}"
        case "INCONCLUSIVE":
            return (
                f"Not enough evidence to name a cause. {' '.join(f'{r.removesuffix(".")}.' for r in verdict.reasons)}"
            )

"""Answers that are looked up: which answerer takes a question, and its answer as the JSON contract has it.

Everything but `why` needs no verdict; `verdict.outcome` of such an answer is empty. Its claims cite records, which are read
again before the answer is given, as those of a verdict are.
"""

from __future__ import annotations

import asyncio
from typing import Any

from agents.log_answers import answer_count, answer_logs, answer_templates
from agents.looked_up import Answerer, Asked, Found
from agents.models import Intent
from agents.other_answers import answer_calls, answer_changes, answer_runbook
from agents.state import Deps
from agents.translating import translate_headline, with_language
from domain.errors import CausegraphError
from domain.times import format_us
from domain.verdict import Claim, JudgeAction, Judgement
from retrieval.evidence import recheck
from tracing.trace import current_trace

ANSWERERS: tuple[tuple[Intent, Answerer], ...] = (
    ("count", answer_count),
    ("templates", answer_templates),
    ("logs", answer_logs),
    ("changes", answer_changes),
    ("calls", answer_calls),
    ("runbook", answer_runbook),
)
"""Who answers which kind of question; the first that does not return None has answered."""

DECLINED = (
    "That is not something I can help with. I look into running systems: why something failed or was slow, how many errors there "
    "were, what changed, who calls whom, what the logs and the runbooks say."
)


async def look_up(asked: Asked, deps: Deps) -> Found | None:
    """Return the answer of the first fitting answerer; None where the question has to be investigated."""
    for kind, answerer in ANSWERERS:
        if kind != asked.kind:
            continue
        with current_trace().stage("answerer"):
            found = await answerer(asked, deps)
            if found is not None:
                current_trace().decide(
                    what=found.decided
                    or ("a question back" if found.clarify else "declined" if found.declined else kind),
                    why=f"the question is of the kind {kind!r}: it is looked up, no verdict is needed",
                    confidence=0.9,
                    alternatives=["why"],
                    inputs={"services": list(asked.services), "window": str(asked.window), "stated": asked.stated},
                )
                return found
    return None


async def found_body(asked: Asked, found: Found, deps: Deps, trace_id: str, behind: tuple[str, ...]) -> dict[str, Any]:
    """Return the body of a looked-up answer."""
    kept, cut = await _standing(found, deps)
    action: JudgeAction = "ALLOW_ANSWER"
    if found.clarify:
        action = "NEED_CLARIFICATION"
    elif found.claims and not kept:
        action = "BLOCK"
    elif cut or found.not_seen or behind or deps.models.lost:
        action = "ALLOW_WITH_WARNING"
    scores = {"claims_kept": len(kept) / len(found.claims) if found.claims else 1.0}
    said, left_out = await translate_headline(deps.models, found.headline, asked.question.language, asked.known)
    judgement = Judgement(action, scores, (*cut, *left_out, *found.not_seen))
    current_trace().judge(judgement)
    lines = [found.headline, *(f"- {claim.text} [{', '.join(claim.evidence)}]" for claim in kept), *found.notes]
    if not asked.stated and not (found.clarify or found.declined or found.runbook):
        lines.append("No time was named, so this is the last hour.")
    lines, language = with_language(lines, asked.question.language, said)
    return {
        "answer": "\n".join(lines),
        "language": language,
        "kind": "clarify" if found.clarify else "other" if found.declined else asked.kind,
        "environment": asked.question.environment,
        "thread_id": asked.question.thread_id,
        "incident_id": "",
        "trace_id": trace_id,
        "verdict": {
            "outcome": "",
            "reasons": [],
            "causes": [],
            "ranking": [],
            "ruled_out": [],
            "not_seen": [*found.not_seen, *behind, *deps.models.lost],
        },
        "claims": [{"text": claim.text, "evidence": list(claim.evidence)} for claim in kept],
        "runbook": found.runbook,
        "workflow": None,
        "judge": {"action": action, "scores": scores, "gaps": list(judgement.gaps)},
        "window": {"from": format_us(asked.window.start_us), "to": format_us(asked.window.end_us)},
    }


async def _standing(found: Found, deps: Deps) -> tuple[list[Claim], list[str]]:
    """Return the claims whose records still hold what was read, and a line for each of the others."""
    ids = list(dict.fromkeys(i for claim in found.claims for i in claim.evidence))
    try:
        said = await asyncio.gather(
            *(recheck(deps.telemetry, deps.graph, deps.desk.found[i], deps.code) for i in ids if i in deps.desk.found)
        )
    except CausegraphError as exc:
        return [], [f"the evidence could not be read again: {exc}"]
    changed = dict(zip(ids, said, strict=True))
    kept = [claim for claim in found.claims if not any(changed[i] for i in claim.evidence)]
    return kept, [f"cut: {claim.text[:120]} (its records have changed)" for claim in found.claims if claim not in kept]

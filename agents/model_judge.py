"""The model judge: asked about an answer after the checks by code, where CAUSEGRAPH_JUDGE_MODEL names a model.

It reads the question, the headline, the claims that stand, and their records, all marked as data. It answers five criteria with
yes or no and a quotation. Whatever it says, an answer is given no more freely than without it (`review.policy.decide`).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3
from pydantic import ValidationError

from agents.grounding import speaks_to_reader
from agents.models import JUDGE, Judging
from domain.errors import CausegraphError
from domain.evidence import Evidence, canonical_bytes
from domain.verdict import Claim, JudgeAction, Judgement, Outcome
from inference.desk import ModelDesk
from review.opinion import CRITERIA, NO_OPINION, QUESTIONS, Answered, Criterion, Opinion, settle_opinion
from review.policy import Policy
from tracing.trace import current_trace

logger = logging.getLogger(__name__)

_LINE = 400
_LINES = 40
_MAX_TOKENS = 700


class Opinions(Protocol):
    """Keeps what models said by the hash of what they were asked. Raises CausegraphError."""

    async def recall(self, input_hash: str) -> str | None:
        """Return a reply as JSON text, None where there is none."""
        ...

    async def remember(self, input_hash: str, model: str, reply: str) -> None:
        """Keep a reply."""
        ...


@dataclass(frozen=True, slots=True)
class Brief:
    """What a model judge is to judge: an answer as its headline and claims, and the evidence that they cite."""

    question: str
    outcome: Outcome
    headline: str
    claims: tuple[Claim, ...]
    evidence: Mapping[str, Evidence]


async def ask_model_judge(desk: ModelDesk, brief: Brief, policy: Policy, opinions: Opinions | None) -> Opinion | None:
    """Return what the model judge says of an answer; None where none is set, or nothing is claimed that it could judge."""
    if not desk.has("judge") or not brief.claims:
        return None
    model = desk.name_of("judge")
    lines = _lines(desk, brief)
    key = _input_hash(model, policy, brief, lines)
    by = f"model:{model}"
    with current_trace().stage(
        "model judge", "judge", model=model, input_hash=key, policy=f"{policy.name} {policy.version}"
    ):
        said = await _recall(opinions, key)
        if said is None:
            said = await _ask(desk, brief, lines)
            if said is not None:
                await _remember(opinions, key, model, said)
        else:
            current_trace().cache_hit("model judge", key, "model")
        opinion = NO_OPINION if said is None else settle_opinion(_answered(said), lines)
        current_trace().judge(_as_judgement(opinion), by)
    return opinion


async def _ask(desk: ModelDesk, brief: Brief, lines: Sequence[tuple[str, str]]) -> Judging | None:
    marked = desk.guard.mark([(label, f"{label}: {text}") for label, text in lines], 2 * _LINE)
    told = "\n".join(
        [f"Question: {desk.guard.clean(brief.question)}", f"Outcome: {brief.outcome}", "Lines:", marked.block]
    )
    what = "what a language model thinks of the answer"
    return await desk.ask("judge", JUDGE, Judging, told, what=what, rule=marked.rule, max_tokens=_MAX_TOKENS)


def _lines(desk: ModelDesk, brief: Brief) -> list[tuple[str, str]]:
    """Return what the model reads as labels and texts: no line that speaks to its reader, and no more than fit."""
    ids = [i for i in dict.fromkeys(i for claim in brief.claims for i in claim.evidence) if i in brief.evidence]
    names = {evidence_id: f"R{number}" for number, evidence_id in enumerate(ids, start=1)}
    texts = [("headline", brief.headline)]
    for claim in brief.claims:
        cited = ", ".join(names[i] for i in claim.evidence if i in names)
        texts.append((f"claim that cites {cited}", claim.text))
    texts += [(f"record {names[i]}", brief.evidence[i].text) for i in ids]
    room, kept = desk.room(JUDGE, Judging), []
    for label, text in texts[:_LINES]:
        if speaks_to_reader(desk.guard.clean(text, 4_000)):
            continue
        shown = desk.guard.clean(text, _LINE)
        room -= len(label) + len(shown) + 40
        if room < 0:
            break
        kept.append((label, shown))
    return kept


def _input_hash(model: str, policy: Policy, brief: Brief, lines: Sequence[tuple[str, str]]) -> str:
    asked = [brief.question, brief.outcome, [list(line) for line in lines]]
    key = [JUDGE.digest, Judging.model_json_schema(), model, policy.name, policy.version, asked]
    return blake3(canonical_bytes(key)).hexdigest()


def _answered(said: Judging) -> dict[Criterion, Answered]:
    return {name: Answered(getattr(said, name).holds, getattr(said, name).quote) for name in CRITERIA}


def _as_judgement(opinion: Opinion) -> Judgement:
    action: JudgeAction = "ALLOW_ANSWER" if opinion.passed else "ESCALATE"
    scores: dict[str, float] = {name: float(holds) for name, holds in opinion.criteria.items()}
    strengths = tuple(QUESTIONS[name] for name, holds in opinion.criteria.items() if holds)
    return Judgement(action, scores, (*opinion.gaps, *opinion.void), strengths)


async def _recall(opinions: Opinions | None, key: str) -> Judging | None:
    try:
        held = await opinions.recall(key) if opinions else None
        return None if held is None else Judging.model_validate_json(held)
    except (CausegraphError, ValidationError) as exc:
        logger.warning("What a model judge said before could not be read", extra={"reason": str(exc)})
        return None


async def _remember(opinions: Opinions | None, key: str, model: str, said: Judging) -> None:
    try:
        if opinions is not None:
            await opinions.remember(key, model, said.model_dump_json())
    except CausegraphError as exc:
        logger.warning("What a model judge said could not be kept", extra={"reason": str(exc)})

"""The model judge: asked about an answer after the checks by code, where CAUSEGRAPH_JUDGE_MODEL names a model.

It reads the question, the headline, the claims that stand, and their records (of a run of another program its output and what
its steps returned), all marked as data. It answers each criterion with yes or no and a quotation. Whatever it says, an answer
is given no more freely than without it (`review.policy.decide`).
"""

from __future__ import annotations

import json
import logging
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3
from pydantic import BaseModel, ValidationError

from agents.grounding import speaks_to_reader
from agents.models import JUDGE, JUDGE_TRACE, Judging, JudgingTrace
from domain.errors import CausegraphError
from domain.evidence import Evidence, canonical_bytes
from domain.verdict import Claim, JudgeAction, Judgement, Outcome
from inference.desk import ModelDesk
from inference.prompts import Prompt
from review.opinion import NO_OPINION, QUESTIONS, Answered, Opinion, settle_opinion
from review.policy import Policy
from tracing.scorecard import walk_stages
from tracing.trace import current_trace
from tracing.view import TraceView

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
    """What a model judge is to judge: what was asked, and lines of labels and texts. `prompt` and `form` belong together."""

    question: str
    outcome: str
    lines: tuple[tuple[str, str], ...]
    prompt: Prompt = JUDGE
    form: type[Judging] | type[JudgingTrace] = Judging


def brief_of_answer(
    question: str, outcome: Outcome, headline: str, claims: Sequence[Claim], evidence: Mapping[str, Evidence]
) -> Brief | None:
    """Return the brief of one of our own answers: headline, claims that stand, and their records. None without a claim."""
    if not claims:
        return None
    ids = [i for i in dict.fromkeys(i for claim in claims for i in claim.evidence) if i in evidence]
    names = {evidence_id: f"R{number}" for number, evidence_id in enumerate(ids, start=1)}
    lines = [("headline", headline)]
    for claim in claims:
        cited = ", ".join(names[i] for i in claim.evidence if i in names)
        lines.append((f"claim that cites {cited}", claim.text))
    lines += [(f"record {names[i]}", evidence[i].text) for i in ids]
    return Brief(question, outcome, tuple(lines))


def brief_of_trace(view: TraceView) -> Brief | None:
    """Return the brief of a run of another program: its output, and what its steps returned. None without an output."""
    if not view.answer.strip():
        return None
    pieces = textwrap.wrap(view.answer, _LINE)[: _LINES // 2]
    lines = [("output", piece) for piece in pieces]
    for _, stage in walk_stages(view):
        returned = stage.facts.get("output") or ""
        text = returned if isinstance(returned, str) else json.dumps(returned, ensure_ascii=False)
        if text and text.strip() != view.answer.strip():  # the whole run's own span says the output once more
            lines.append((f"step {stage.name[:40]}", text))
    return Brief(view.question, view.status, tuple(lines), JUDGE_TRACE, JudgingTrace)


async def ask_model_judge(
    desk: ModelDesk, brief: Brief | None, policy: Policy, opinions: Opinions | None
) -> Opinion | None:
    """Return what the model judge says; None where none is set, or nothing is said that it could judge."""
    if not desk.has("judge") or brief is None:
        return None
    model = desk.name_of("judge")
    lines = _shown(desk, brief)
    key = _input_hash(model, policy, brief, lines)
    version = f"{policy.name} {policy.version}"
    with current_trace().stage("model judge", "judge", model=model, input_hash=key, policy=version):
        said = await _recall(opinions, key, brief)
        if said is None:
            said = await _ask(desk, brief, lines)
            if said is not None:
                await _remember(opinions, key, model, said)
        else:
            current_trace().cache_hit("model judge", key, "model")
        opinion = NO_OPINION if said is None else settle_opinion(_answered(said), lines)
        current_trace().judge(_as_judgement(opinion), f"model:{model}")
    return opinion


async def recall_opinion(desk: ModelDesk, brief: Brief | None, policy: Policy, opinions: Opinions) -> Opinion | None:
    """Return what the model judge said when it was asked the same before; None where it was not, or none is set."""
    if not desk.has("judge") or brief is None:
        return None
    lines = _shown(desk, brief)
    said = await _recall(opinions, _input_hash(desk.name_of("judge"), policy, brief, lines), brief)
    return None if said is None else settle_opinion(_answered(said), lines)


async def _ask(desk: ModelDesk, brief: Brief, lines: Sequence[tuple[str, str]]) -> BaseModel | None:
    marked = desk.guard.mark([(label, f"{label}: {text}") for label, text in lines], 2 * _LINE)
    told = "\n".join(
        [f"Question: {desk.guard.clean(brief.question)}", f"Outcome: {brief.outcome}", "Lines:", marked.block]
    )
    what = "what a language model thinks of the answer"
    return await desk.ask("judge", brief.prompt, brief.form, told, what=what, rule=marked.rule, max_tokens=_MAX_TOKENS)


def _shown(desk: ModelDesk, brief: Brief) -> list[tuple[str, str]]:
    """Return what the model reads: no line that speaks to its reader, and no more than fit."""
    room, kept = desk.room(brief.prompt, brief.form), []
    for label, text in brief.lines[:_LINES]:
        if speaks_to_reader(desk.guard.clean(text, 4_000)):
            continue
        shown = desk.guard.clean(text, _LINE)
        room -= len(label) + len(shown) + 40
        if room < 0:
            break
        kept.append((desk.guard.clean(label, 80), shown))
    return kept


def _input_hash(model: str, policy: Policy, brief: Brief, lines: Sequence[tuple[str, str]]) -> str:
    asked = [brief.question, brief.outcome, [list(line) for line in lines]]
    key = [brief.prompt.digest, brief.form.model_json_schema(), model, policy.name, policy.version, asked]
    return blake3(canonical_bytes(key)).hexdigest()


def _answered(said: BaseModel) -> dict[str, Answered]:
    held = {name: getattr(said, name) for name in type(said).model_fields}
    return {name: Answered(one.holds, one.quote) for name, one in held.items()}


def _as_judgement(opinion: Opinion) -> Judgement:
    action: JudgeAction = "ALLOW_ANSWER" if opinion.passed else "ESCALATE"
    scores: dict[str, float] = {name: float(holds) for name, holds in opinion.criteria.items()}
    strengths = tuple(QUESTIONS[name] for name, holds in opinion.criteria.items() if holds)
    return Judgement(action, scores, (*opinion.gaps, *opinion.void), strengths)


async def _recall(opinions: Opinions | None, key: str, brief: Brief) -> BaseModel | None:
    try:
        held = await opinions.recall(key) if opinions else None
        return None if held is None else brief.form.model_validate_json(held)
    except (CausegraphError, ValidationError) as exc:
        logger.warning("What a model judge said before could not be read", extra={"reason": str(exc)})
        return None


async def _remember(opinions: Opinions | None, key: str, model: str, said: BaseModel) -> None:
    try:
        if opinions is not None:
            await opinions.remember(key, model, said.model_dump_json())
    except CausegraphError as exc:
        logger.warning("What a model judge said could not be kept", extra={"reason": str(exc)})

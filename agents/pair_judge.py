"""Which of two answers a model finds better: asked in both orders, without markdown, at about the same length."""

from __future__ import annotations

from dataclasses import dataclass

from agents.grounding import speaks_to_reader
from agents.models import PAIR, Preferring
from domain.verdict import Judgement
from inference.desk import ModelDesk
from review.opinion import Preference, level, settle_preference
from review.wording import squeeze
from tracing.trace import current_trace


@dataclass(frozen=True, slots=True)
class Pair:
    """What a model made of two answers: `inconsistent` where it went by their order, `unsettled` where it did not answer."""

    prefers: Preference
    why: tuple[str, ...] = ()


async def prefer_answer(desk: ModelDesk, question: str, a: str, b: str) -> Pair:
    """Return which of two answers to a question a model finds better. Recorded as a stage of the current trace."""
    characters = max(200, (desk.room(PAIR, Preferring) - len(question)) // 2 - 100)
    texts = [desk.guard.clean(text, characters) for text in level(a, b, characters)]
    with current_trace().stage("pair judge", "judge", model=desk.name_of("judge")):
        if any(speaks_to_reader(text) for text in texts):
            pair = Pair("unsettled", ("one of the answers speaks to its reader",))
        else:
            forward = await _ask(desk, question, texts[0], texts[1])
            backward = await _ask(desk, question, texts[1], texts[0])
            said = settle_preference(forward, backward)
            orders = f"a before b: {forward or 'no answer'}; b before a: {backward or 'no answer'}"
            pair = Pair(said, (orders, *desk.lost))
        settled = pair.prefers in ("a", "b", "same")
        judgement = Judgement("ALLOW_ANSWER" if settled else "ESCALATE", {}, () if settled else pair.why)
        current_trace().judge(judgement, f"model:{desk.name_of('judge')}")
        current_trace().decide(pair.prefers, "; ".join(pair.why), 0.5, ["a", "b", "same"])
    return pair


async def _ask(desk: ModelDesk, question: str, first: str, second: str) -> str:
    """Return `first`, `second` or `same`; "" where there is no answer, or it quotes what is not there."""
    lines = [("first", f"first: {first}"), ("second", f"second: {second}")]
    marked = desk.guard.mark(lines, max(len(text) for _, text in lines))
    told = f"Question: {desk.guard.clean(question)}\nAnswers:\n{marked.block}"
    what = "which answer a language model finds better"
    said = await desk.ask("judge", PAIR, Preferring, told, what=what, rule=marked.rule, max_tokens=300)
    if said is None:
        return ""
    held = squeeze(said.quote_first) in squeeze(first) and squeeze(said.quote_second) in squeeze(second)
    return said.better if held else ""

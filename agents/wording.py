"""The explainer's words where a model writes them: a headline and sentences, each held against its records by code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from agents.around import Around
from agents.grounding import Ground, fault_of_headline, fault_of_sentence, speaks_to_reader
from agents.models import WORD, Wording
from agents.state import Plan
from agents.told import Told
from domain.evidence import Evidence
from domain.verdict import Claim, Verdict
from inference.desk import ModelDesk
from tracing.trace import current_trace

_RECORDS = 24


async def word_answer(
    desk: ModelDesk,
    verdict: Verdict,
    plan: Plan,
    claims: Sequence[Claim],
    found: Mapping[str, Evidence],
    headline: str,
    language: str,
    around: Sequence[Around] = (),
) -> Told | None:
    """Let a model word an answer; None where none is set, it fails, or nothing that it wrote can stand.

    It reads the records of the claims, and after them those `around`, as far as they fit.
    """
    if not claims or not verdict.causes or not desk.has("explain"):
        return None
    ground = make_ground(verdict, plan, claims, found, around)
    texts = _texts(desk, claims, around, found, desk.room(WORD, Wording))
    marked = desk.guard.mark(texts)
    told = "\n".join(
        [
            f"Language to write in (ISO 639-1): {language}",
            f"Verdict: {verdict.outcome}. {desk.guard.clean(headline, 800)}",
            *(f"Path, cause first: {' -> '.join(map(desk.guard.clean, cause.path))}" for cause in verdict.causes),
            "Records:",
            marked.block,
        ]
    )
    reply = await desk.ask(
        "explain", WORD, Wording, told, rule=marked.rule, what="an answer worded by a language model"
    )
    if reply is None:
        return None
    return _check(desk, reply, marked.ids, ground, headline, language)


def make_ground(
    verdict: Verdict,
    plan: Plan,
    claims: Sequence[Claim],
    found: Mapping[str, Evidence],
    around: Sequence[Around] = (),
) -> Ground:
    """Return what sentences about a verdict are held against."""
    cited = [i for claim in claims for i in claim.evidence] + [one.evidence for one in around]
    texts = {i: f"{found[i].text} {' '.join(found[i].entities)}" for i in cited if i in found}
    for claim in claims:
        for i in claim.evidence:
            if i in texts:
                texts[i] += f" \n {claim.text}"
    path = {service for cause in verdict.causes for service in cause.path}
    path |= {plan.symptom.service} if plan.symptom else set()
    causes = frozenset(cause.service for cause in verdict.causes)
    return Ground(texts, plan.services, causes, frozenset(path), verdict.outcome == "CONFIRMED")


def _texts(
    desk: ModelDesk, claims: Sequence[Claim], around: Sequence[Around], found: Mapping[str, Evidence], room: int
) -> list[tuple[str, str]]:
    """Return the records, best first, with what is claimed of them or why they are here; as many as fit. None that speaks
    to its reader."""
    chosen: dict[str, str] = {}
    said = [(claim.text, claim.evidence) for claim in claims] + [(one.why, (one.evidence,)) for one in around]
    for text, ids in said:
        for i in ids:
            if (
                i in found
                and i not in chosen
                and not speaks_to_reader(desk.guard.clean(f"{text} {found[i].text}", 4_000))
            ):
                chosen[i] = f"{text} | {found[i].text}"
    kept, used = [], 0
    for pair in list(chosen.items())[:_RECORDS]:
        used += min(len(pair[1]), 400) + 40
        if used > room:
            break
        kept.append(pair)
    return kept


def _check(
    desk: ModelDesk, reply: Wording, ids: Mapping[str, str], ground: Ground, headline: str, language: str
) -> Told | None:
    sentences, cut = [], []
    for sentence in reply.sentences:
        evidence = tuple(dict.fromkeys(ids.get(short, short) for short in sentence.evidence))
        text = desk.guard.clean(sentence.text)
        fault = fault_of_sentence(text, evidence, ground, english=language == "en")
        if fault:
            cut.append(f"cut: {text[:120]} ({fault})")
        else:
            sentences.append(Claim(text, evidence))
    first = desk.guard.clean(reply.headline)
    fault = fault_of_headline(first, headline, ground)
    if fault:
        cut.append(f"cut: {first[:120]} ({fault})")
    current_trace().decide(
        what=f"{len(sentences)} of {len(reply.sentences)} sentences of the model stand",
        why="each was held against the records that it cites" + (", its headline is not used" if fault else ""),
        confidence=len(sentences) / max(1, len(reply.sentences)),
        alternatives=cut,
        inputs={"language": language},
    )
    if not sentences and fault:
        return Told("", (), language, tuple(cut)) if cut else None
    return Told("" if fault else first, tuple(sentences), language, tuple(cut))

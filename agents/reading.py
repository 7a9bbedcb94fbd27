"""Reading a question before anybody is sent to look: in what language it is, what it means, which time it speaks of.

The rules come first. A model is asked where they find nothing to hold on to, and what it says is held against what is known:
services that exist, times that can be. A guess of it never hides trouble that the rules would have found.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.followup import Resolved, resolve, resolve_as_told
from agents.kinds import asks_why, is_of_the_field
from agents.language import is_english
from agents.models import UNDERSTAND, Intent, Understanding
from agents.question import Question, find_subject
from agents.spans import find_bounds, find_stretch
from domain.times import HOUR_US, MINUTE_US, Window, format_us
from inference.desk import ModelDesk
from storage.conversations import Turn
from storage.telemetry import Telemetry
from tracing.trace import current_trace

_KNOWN_US = 24 * HOUR_US
_AROUND_US = 15 * MINUTE_US
_NAMES = 150
# A name as people give them. What is longer, or made of many words, may be a sentence to whoever reads it.
_PLAIN = re.compile(r"[\w.:/@-]{1,48}")
_WORDS = 5
_TOLD = 3  # turns of the conversation


@dataclass(frozen=True, slots=True)
class Reading:
    """A question as it is to be answered: its kind, the services that it names, those that are known.

    `clarify` is a question back, where it leaves too much open; `declined` says that it is about something else altogether.
    """

    question: Question
    kind: Intent
    named: tuple[str, ...] = ()
    known: tuple[str, ...] = ()
    clarify: str = ""
    declined: bool = False


async def read_question(question: Question, turns: Sequence[Turn], desk: ModelDesk, telemetry: Telemetry) -> Reading:
    """Return the question as its thread and, where the rules understand too little, a model have it."""
    english = is_english(question.text)
    window = Window(max(0, question.at_us - _KNOWN_US), question.at_us)
    services = await telemetry.services(question.environment, window)
    operations = await telemetry.entry_names(question.environment, window) if english else ()
    subject = find_subject(question.text, services, operations)
    named = subject.services or tuple(dict.fromkeys(service for service, _ in subject.operations))
    timed = question.from_us is not None or find_stretch(question.text, question.at_us) is not None
    if question.incident_id or not english:
        resolved = Resolved(question, "why")
    else:
        resolved = resolve(question, turns, subject.services, timed, services)
    if resolved.kind == "why" and resolved.question.from_us is None:
        bounds = find_bounds(question.text, question.at_us)
        if bounds is not None:
            bounded = replace(resolved.question, from_us=bounds.start_us, to_us=bounds.end_us)
            resolved = replace(resolved, question=bounded)
    reading = Reading(resolved.question, resolved.kind, named, tuple(services), resolved.clarify)
    held = named or timed or subject.unknown or question.incident_id or resolved.question != question
    plain = english and not held
    if resolved.kind == "other" or (plain and not is_of_the_field(question.text)):
        return replace(reading, kind="other", declined=True)
    if resolved.clarify or (english and not plain):
        return reading
    language = "en" if english else "?"
    told = await _understand(question, services, turns, desk) if desk.has("plan") else None
    if told is None:
        return replace(reading, question=replace(resolved.question, language=language))
    if asks_why(question.text):
        told = told.model_copy(update={"intent": "why"})
    if told.minutes_ago >= 0 and not await _was_heard(question, told.minutes_ago, telemetry):
        told = told.model_copy(update={"minutes_ago": -1})
    asked = apply_understanding(resolved.question, told, services, named=bool(named), timed=timed)
    declined = told.intent == "other" and told.refers == "nothing" and not (named or told.services or timed)
    kind = reading.kind if told.intent == "other" and not declined else told.intent
    kind = kind if reading.kind == "why" else reading.kind
    named_or_told = bool(named or told.services)
    followed = resolve_as_told(asked, kind, told.refers, turns, services, named_or_told)
    return replace(reading, question=followed.question, kind=followed.kind, clarify=followed.clarify, declined=declined)


async def _was_heard(question: Question, minutes_ago: int, telemetry: Telemetry) -> bool:
    """Say whether anything is stored of the time that a model read: a time without a record is more likely a slip of it."""
    moment = question.at_us - minutes_ago * MINUTE_US
    around = Window(max(0, moment - _AROUND_US), max(0, min(moment + _AROUND_US, question.at_us)))
    environment = question.environment
    return bool(await telemetry.span_extent(environment, around) or await telemetry.log_extent(environment, around))


async def _understand(
    question: Question, services: list[str], turns: Sequence[Turn], desk: ModelDesk
) -> Understanding | None:
    with current_trace().stage("reader"):
        told = await _ask(question, services, turns, desk)
        if told is not None:
            current_trace().decide(
                what=f"read as a question of the kind {told.intent}",
                why="a language model read it; what it said is held against what is known",
                confidence=0.5,
                alternatives=[name for name in told.services if name not in services],
                inputs={"language": told.language, "minutes_ago": told.minutes_ago, "refers": told.refers},
            )
        return told


async def _ask(question: Question, services: list[str], turns: Sequence[Turn], desk: ModelDesk) -> Understanding | None:
    names = [name for name in services if is_plain(name)][:_NAMES]
    text = "\n".join(
        [
            f"Question: {desk.guard.clean(question.text, 2_000)}",
            f"Moment of asking: {format_us(question.at_us)}",
            f"Known services: {', '.join(names) or 'none'}",
            *([f"The conversation was about: {_about(turns, desk)}"] if turns else []),
        ]
    )
    return await desk.ask(
        "plan", UNDERSTAND, Understanding, text, what="what a language model would have understood", max_tokens=200
    )


def _about(turns: Sequence[Turn], desk: ModelDesk) -> str:
    """Return the last turns as a model may read them: the kinds of questions, plain names, times; none of the records."""
    told = []
    for turn in turns[-_TOLD:]:
        focus = turn.focus
        names = [name for name in dict.fromkeys((*focus.services, focus.cause)) if name and is_plain(name)]
        times = f", {format_us(focus.from_us)} to {format_us(focus.to_us)}" if focus.from_us and focus.to_us else ""
        change = f", with a change at {format_us(focus.change_us)}" if focus.change_us else ""
        asked = desk.guard.clean(turn.question, 200)
        told.append(f"{turn.kind} of {', '.join(names) or 'no service'}{times}{change} (asked: {asked})")
    return "; then ".join(told)


def is_plain(name: str) -> bool:
    """Say whether a name is one that may stand in a prompt: short, and not a sentence in disguise."""
    return _PLAIN.fullmatch(name) is not None and len(re.findall(r"[^\W_]+", name)) <= _WORDS


def apply_understanding(
    question: Question, told: Understanding, services: list[str], *, named: bool, timed: bool
) -> Question:
    """Return the question with what holds of what a model said: known services, a time that can be, its language."""
    read = replace(question, language=told.language)
    about = tuple(dict.fromkeys(name for name in told.services if name in services and is_plain(name)))
    if about and not named and not question.about:
        read = replace(read, about=about, guessed=True)
    if told.minutes_ago >= 0 and not timed:
        moment = question.at_us - told.minutes_ago * MINUTE_US
        until = min(moment + _AROUND_US, question.at_us)
        read = replace(read, from_us=max(0, moment - _AROUND_US), to_us=until)
    return read

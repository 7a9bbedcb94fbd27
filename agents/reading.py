"""Reading a question before anybody is sent to look: in what language it is, what it means, which time it speaks of.

The rules come first. A model is asked where they find nothing to hold on to, and what it says is held against what is known:
services that exist, times that can be. A guess of it never hides trouble that the rules would have found.
"""

from __future__ import annotations

import re
from dataclasses import replace

from agents.language import is_english
from agents.models import UNDERSTAND, Understanding
from agents.question import Question, find_moment, find_subject
from domain.times import HOUR_US, MINUTE_US, Window, format_us
from inference.desk import ModelDesk
from storage.telemetry import Telemetry
from tracing.trace import current_trace

_KNOWN_US = 24 * HOUR_US
_AROUND_US = 15 * MINUTE_US
_NAMES = 150
# A name as people give them. What is longer, or made of many words, may be a sentence to whoever reads it.
_PLAIN = re.compile(r"[\w.:/@-]{1,48}")
_WORDS = 5


async def read_question(question: Question, desk: ModelDesk, telemetry: Telemetry) -> Question:
    """Return the question with what a model understood of it, where the rules alone understand too little."""
    english = is_english(question.text)
    window = Window(max(0, question.at_us - _KNOWN_US), question.at_us)
    services = await telemetry.services(question.environment, window)
    operations = await telemetry.entry_names(question.environment, window) if english else ()
    subject = find_subject(question.text, services, operations)
    timed = question.from_us is not None or find_moment(question.text, question.at_us) is not None
    named = bool(subject.services or subject.operations)
    if english and (named or timed or question.about):
        return question
    language = "en" if english else "?"
    if not desk.has("plan"):
        return replace(question, language=language)
    with current_trace().stage("reader"):
        told = await _ask(question, services, desk)
        if told is None:
            return replace(question, language=language)
        read = apply_understanding(question, told, services, named=named, timed=timed)
        current_trace().decide(
            what=f"read as {told.intent} about {', '.join(read.about) or 'nothing that is known'}",
            why="a language model read it, and what it said was held against what is known",
            confidence=0.5,
            alternatives=[name for name in told.services if name not in read.about],
            inputs={"language": told.language, "minutes_ago": told.minutes_ago},
        )
        return read


async def _ask(question: Question, services: list[str], desk: ModelDesk) -> Understanding | None:
    names = [name for name in services if is_plain(name)][:_NAMES]
    text = "\n".join(
        [
            f"Question: {desk.guard.clean(question.text, 2_000)}",
            f"Moment of asking: {format_us(question.at_us)}",
            f"Known services: {', '.join(names) or 'none'}",
        ]
    )
    return await desk.ask(
        "plan", UNDERSTAND, Understanding, text, what="what a language model would have understood", max_tokens=200
    )


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

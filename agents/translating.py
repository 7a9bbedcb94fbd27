"""The headline of an answer that was looked up, in the language of the question, where a model is set.

The words of code stay below it. What the model adds or leaves out is not used.
"""

from __future__ import annotations

import re

from agents.grounding import Ground, adds_to, fault_of_headline
from agents.models import TELL, Telling
from diagnosis.wording import named_services
from inference.desk import ModelDesk
from tracing.trace import current_trace

_ENGLISH_ONLY = "The question does not read as English. Without the words of a language model, answers are in English."
# What is the same in every language: numbers, ids, names of files and operations.
_ANCHOR = re.compile(r"[\w./-]*\d[\w./:-]*|\w+(?:[-_./]\w+)+")
_LONGER = 2.5


async def translate_headline(
    desk: ModelDesk, headline: str, language: str, services: tuple[str, ...]
) -> tuple[str, tuple[str, ...]]:
    """Return the headline in a language ("" where it is not used), and a line for what was cut."""
    if language in ("en", "?") or not desk.has("explain"):
        return "", ()
    text = "\n".join(
        [f"Language to write in (ISO 639-1): {language}", f"Sentences: {desk.guard.clean(headline, 1_500)}"]
    )
    told = await desk.ask("explain", TELL, Telling, text, what="the answer in the language of the question")
    if told is None:
        return "", ()
    said = desk.guard.clean(told.headline)
    fault = fault_of_translation(said, headline, services)
    current_trace().decide(
        what="the model's words are not used" if fault else f"the headline is told in {language}",
        why=fault or "it has the names and numbers of the headline, and no others",
        confidence=1.0,
    )
    return ("", (f"cut: {said[:120]} ({fault})",)) if fault else (said, ())


def with_language(lines: list[str], language: str, said: str) -> tuple[list[str], str]:
    """Return the lines of an answer with what was said in the language of the question, and the language that it has now."""
    if said:
        return [said, *lines], language
    return [*lines, *([_ENGLISH_ONLY] if language != "en" else [])], "en"


def fault_of_translation(said: str, headline: str, services: tuple[str, ...]) -> str:
    """Return why a translation is not used, or ""."""
    named = frozenset(named_services(headline, services))
    ground = Ground({}, services, named, named, confirmed=True)
    if fault := fault_of_headline(said, headline, ground):
        return fault
    anchors = {found.strip(".:/-") for found in _ANCHOR.findall(headline)}
    if missing := {anchor for anchor in anchors if anchor not in said}:
        return f"it leaves out {min(missing)}"
    if not (anchors or named):
        return "nothing in it shows that it says the same"
    if adds_to(said, headline) or not len(headline) / _LONGER <= len(said) <= _LONGER * len(headline):
        return "it says something else"
    return ""

"""What a question leaves out because the conversation has it: which service, which time, what kind of question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.kinds import kind_of
from agents.models import Intent
from agents.question import Question
from domain.times import MINUTE_US
from storage.conversations import Focus, Turn

_REFERS = re.compile(
    r"^\W*(?:and|but|so|then|also|or|ok(?:ay)?|what about|how about|same)\b|\b(?:it|its|that|this|these|those|there|then|they|them|their|same|again)\b",
    re.IGNORECASE,
)
_BEFORE = re.compile(
    r"\b(?:before|prior to|until)\s+(?:the|that|this|it)\b|\bbefore(?: that| then)?\W*$|\bearlier\W*$", re.IGNORECASE
)
_AFTER = re.compile(r"\b(?:after|since)\s+(?:the|that|this|it)\b|\bafter(?:wards| that)?\W*$", re.IGNORECASE)
_CHANGE = re.compile(r"\b(?:deploy\w*|change|release|rollout|roll-out|upgrade|config\w*)\b", re.IGNORECASE)
_STATE = re.compile(
    r"\b(?:affected|hit|impacted|ok|okay|fine|healthy|well|down|slow|failing|broken|degraded|recovered|over|fixed|worse|better)\b",
    re.IGNORECASE,
)
_ABOUT = re.compile(r"^\W*(?:and|what about|how about|and what about|or|same for|also)\b", re.IGNORECASE)
# The kinds that mean the cause, where a service is left out: those who ask for logs want the logs of what broke.
_OF_THE_CAUSE: tuple[Intent, ...] = ("logs", "templates", "changes", "code")
_STATE_OF = re.compile(r"^\W*(?:and |but |so )?(?:is|are|was|were|does|did)\b", re.IGNORECASE)
_LEAST_US = 15 * MINUTE_US
_SHORT_WORDS = 6


@dataclass(frozen=True, slots=True)
class Resolved:
    """A question with what its thread adds: `asked` as it is to be answered, its kind, or a question back."""

    question: Question
    kind: Intent
    clarify: str = ""


def resolve(
    question: Question, turns: Sequence[Turn], named: Sequence[str], timed: bool, known: Sequence[str]
) -> Resolved:
    """Return the question as its conversation means it. `named` are the services that it names, `timed` whether a time."""
    kind = kind_of(question.text)
    if turns and turns[-1].kind == "clarify" and (reply := _as_reply(question, turns, named, timed)):
        return reply
    memory = next((turn for turn in reversed(turns) if turn.kind not in ("clarify", "other")), None)
    refers = _REFERS.search(question.text) is not None or _BEFORE.search(question.text) or _AFTER.search(question.text)
    if memory is None:
        relative = (_BEFORE.search(question.text) or _AFTER.search(question.text)) and not timed
        if relative and len(question.text.split()) <= _SHORT_WORDS:
            return Resolved(question, kind, _which(known))
        return Resolved(question, kind)
    state = _STATE.search(question.text) and _STATE_OF.search(question.text) and kind == "why"
    if not refers and not state and (named or kind == "why"):
        return Resolved(question, kind)
    focus = memory.focus
    if _ABOUT.search(question.text) and kind == "why" and not _STATE.search(question.text):
        kind = _kind(memory.kind)
    read = question if timed else _with_time(question, focus)
    if read is None:
        return Resolved(question, kind, f"Before or after which deploy or change? I know of none. {_which(known)}")
    if not named:
        about = (focus.cause,) if focus.cause and kind in _OF_THE_CAUSE else focus.services
        read = replace(read, about=tuple(about))
    return Resolved(read, kind)


def _as_reply(question: Question, turns: Sequence[Turn], named: Sequence[str], timed: bool) -> Resolved | None:
    """Read a short answer to a question back as the earlier question with what it left open."""
    if len(question.text.split()) > _SHORT_WORDS or not (named or timed):
        return None
    earlier = next((turn for turn in reversed(turns) if turn.kind == "clarify"), None)
    if earlier is None or kind_of(question.text) != "why":
        return None
    text = f"{earlier.question.rstrip('?. ')} ({question.text.strip('?. ')})"
    return Resolved(replace(question, text=text, about=tuple(named)), kind_of(earlier.question))


def _with_time(question: Question, focus: Focus) -> Question | None:
    """Return the question in the time of the conversation; None where it means a change that nobody knows."""
    if focus.from_us is None or focus.to_us is None:
        return question
    before, after = _BEFORE.search(question.text), _AFTER.search(question.text)
    if not before and not after:
        return replace(question, from_us=focus.from_us, to_us=focus.to_us)
    if _CHANGE.search(question.text) and focus.change_us is None:
        return None
    turn = focus.change_us if focus.change_us is not None and _CHANGE.search(question.text) else focus.from_us
    length = max(focus.to_us - focus.from_us, _LEAST_US)
    if before:
        return replace(question, from_us=max(0, turn - length), to_us=turn)
    until = max(turn, focus.to_us, min(question.at_us, turn + length))
    return replace(question, from_us=turn, to_us=until)


def _kind(text: str) -> Intent:
    known: tuple[Intent, ...] = ("why", "count", "changes", "logs", "templates", "calls", "runbook", "code")
    return next((kind for kind in known if kind == text), "why")


def _which(known: Sequence[str]) -> str:
    return f"Which service do you mean, and from when: {', '.join(known[:20])}?"

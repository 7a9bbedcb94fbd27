"""What a question leaves out because the conversation has it: which service, which time, what kind of question."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from agents.kinds import kind_of
from agents.models import Intent, Refers
from agents.question import Question
from agents.spans import find_shift, find_stretch
from domain.times import MINUTE_US, SECOND_US
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
    r"\b(?:affected|hit|impacted|ok|okay|fine|healthy|well|down|slow|failing|broken|degraded|recovered|over|fixed|worse|better|sure|certain)\b",
    re.IGNORECASE,
)
_ABOUT = re.compile(
    r"^\W*(?:and|what about|how about|and what about|or|same for|also|(?:now )?(?:only|just))\b", re.IGNORECASE
)
_THE_RUNBOOK = re.compile(
    r"\b(?:the|that|this|its?|which) (?:runbook|playbook)s?\b(?! (?:for|about|on|of|when|against))", re.IGNORECASE
)
_TO_DO = re.compile(
    r"\bwhat (?:should|can|could|do|must) (?:i|we) do\b|\bhow (?:do|can|could|should) (?:i|we) (?:fix|mend|solve|resolve|stop|mitigate)\b"
    r"|\bhow to (?:fix|mend|solve|resolve|stop|mitigate)\b|\bnext steps?\b",
    re.IGNORECASE,
)
# The kinds that mean the cause, where a service is left out: those who ask for logs want the logs of what broke.
_OF_THE_CAUSE: tuple[Intent, ...] = ("logs", "templates", "changes", "code")
_STATE_OF = re.compile(r"^\W*(?:and |but |so )?(?:is|are|was|were|does|did)\b", re.IGNORECASE)
# Questions that are about no time and no service of the conversation.
_TIMELESS = ("clarify", "other", "code", "runbook")
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
    text = question.text
    kind = kind_of(text)
    if turns and turns[-1].kind == "clarify" and (reply := _as_reply(question, turns, named, timed)):
        return reply
    if runbook := _runbook_meant(text, turns):
        return Resolved(replace(question, text=f"{text.rstrip('?. ')} ({runbook})"), "runbook")
    memory = _memory(turns)
    shift = find_shift(text)
    refers = shift or any(pattern.search(text) for pattern in (_REFERS, _BEFORE, _AFTER, _ABOUT))
    if memory is None:
        relative = (_BEFORE.search(text) or _AFTER.search(text) or shift) and not timed
        if relative and len(text.split()) <= _SHORT_WORDS:
            return Resolved(question, kind, _which(known))
        return Resolved(question, kind)
    state = _STATE.search(text) and _STATE_OF.search(text) and kind == "why"
    if not refers and not state and (named or kind == "why"):
        return Resolved(question, kind)
    focus = _focus_of(turns)
    if _ABOUT.search(text) and kind == "why" and not _STATE.search(text):
        kind = _kind(memory.kind)
    read: Question | None = question
    if not timed:
        read = _shifted(question, focus, shift) if shift else _with_time(question, focus, _relation(text))
    elif kind == "why" and question.from_us is None and (stretch := find_stretch(text, question.at_us)):
        read = replace(question, from_us=stretch.start_us, to_us=stretch.end_us, stated=False)
    if read is None:
        return Resolved(question, kind, f"Before or after which deploy or change? I know of none. {_which(known)}")
    if not named:
        read = replace(read, about=_meant(focus, kind))
    return Resolved(read, kind)


def resolve_as_told(
    question: Question, kind: Intent, refers: Refers, turns: Sequence[Turn], known: Sequence[str], named: bool
) -> Resolved:
    """Return the question as its conversation means it, where a model says how it refers to what was said before."""
    if refers == "nothing" or _memory(turns) is None:
        return Resolved(question, kind)
    focus = _focus_of(turns)
    read = question if question.from_us is not None else _with_time(question, focus, refers)
    if read is None:
        return Resolved(question, kind, f"Before or after which deploy or change? I know of none. {_which(known)}")
    return Resolved(read if named else replace(read, about=_meant(focus, kind), guessed=False), kind)


def _memory(turns: Sequence[Turn]) -> Turn | None:
    return next((turn for turn in reversed(turns) if turn.kind not in _TIMELESS), None)


def _focus_of(turns: Sequence[Turn]) -> Focus:
    """Return what the conversation is about: the last turn, and the time and the change that those before it spoke of."""
    memory = _memory(turns)
    focus = memory.focus if memory else Focus()
    earlier = [turn.focus for turn in reversed(turns)]
    if focus.from_us is None and (timed := next((held for held in earlier if held.from_us is not None), None)):
        focus = replace(focus, from_us=timed.from_us, to_us=timed.to_us)
    if focus.change_us is None and (changed := next((held for held in earlier if held.change_us is not None), None)):
        focus = replace(focus, change_us=changed.change_us)
    return focus


def _meant(focus: Focus, kind: Intent) -> tuple[str, ...]:
    if focus.cause and kind in _OF_THE_CAUSE:
        return (focus.cause,)
    if focus.cause and kind == "count":
        return tuple(dict.fromkeys((*focus.services, focus.cause)))
    return tuple(focus.services)


def _runbook_meant(text: str, turns: Sequence[Turn]) -> str:
    """Return the id of the runbook that an earlier answer named, where the question means that one."""
    if not (_THE_RUNBOOK.search(text) or _TO_DO.search(text)):
        return ""
    held = (turn.answer.get("runbook") for turn in reversed(turns))
    return next((str(runbook["id"]) for runbook in held if runbook), "")


def _as_reply(question: Question, turns: Sequence[Turn], named: Sequence[str], timed: bool) -> Resolved | None:
    """Read a short answer to a question back as the earlier question with what it left open."""
    if len(question.text.split()) > _SHORT_WORDS or not (named or timed):
        return None
    earlier = next((turn for turn in reversed(turns) if turn.kind == "clarify"), None)
    if earlier is None or kind_of(question.text) != "why":
        return None
    text = f"{earlier.question.rstrip('?. ')} ({question.text.strip('?. ')})"
    return Resolved(replace(question, text=text, about=tuple(named)), kind_of(earlier.question))


def _relation(text: str) -> Refers:
    change = _CHANGE.search(text) is not None
    if _BEFORE.search(text):
        return "before_change" if change else "before"
    if _AFTER.search(text):
        return "after_change" if change else "after"
    return "same_time"


def _with_time(question: Question, focus: Focus, relation: Refers) -> Question | None:
    """Return the question in the time of the conversation; None where it means a change that nobody knows."""
    if focus.from_us is None or focus.to_us is None:
        return question
    if relation == "same_time":
        return replace(question, from_us=focus.from_us, to_us=focus.to_us)
    turn = focus.from_us
    if relation in ("before_change", "after_change"):
        if focus.change_us is None:
            return None
        turn = focus.change_us
    length = max(focus.to_us - focus.from_us, _LEAST_US)
    if relation in ("before", "before_change"):
        return replace(question, from_us=max(0, turn - length), to_us=turn, stated=False)
    until = max(turn, focus.to_us, min(question.at_us, turn + length))
    return replace(question, from_us=turn, to_us=until, stated=False)


def _shifted(question: Question, focus: Focus, shift_us: int) -> Question:
    """Return the question about the time of the conversation, so much later (or earlier, below 0)."""
    first = focus.from_us if focus.from_us is not None else question.at_us - _LEAST_US
    last = focus.to_us if focus.to_us is not None else question.at_us
    last = max(0, min(last + shift_us, question.at_us))
    return replace(question, from_us=max(0, min(first + shift_us, last - SECOND_US)), to_us=last, stated=False)


def _kind(text: str) -> Intent:
    known: tuple[Intent, ...] = ("why", "count", "changes", "logs", "templates", "calls", "runbook", "code")
    return next((kind for kind in known if kind == text), "why")


def _which(known: Sequence[str]) -> str:
    return f"Which service do you mean, and from when: {', '.join(known[:20])}?"

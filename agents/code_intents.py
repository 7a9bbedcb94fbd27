"""Which questions are about code alone, read without a model: where a line is logged, who calls a name, what changed in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from agents.question import Question, find_moment
from domain.times import HOUR_US, parse_time_us

type CodeIntentKind = Literal["logged", "callers", "defined", "changed", "trace"]

DAY_US = 24 * HOUR_US

_WORDY = re.IGNORECASE | re.DOTALL | re.VERBOSE
_THIS = r"(?:(?:this|that|the)\s+(?:log\s+)?(?:line|message|error|text)|this|that|it)"
_LOGGED = re.compile(
    rf"""\s*(?: where\s+(?:in\s+(?:the|our)\s+code\s+)?(?:is|was|do\s+we|does\s+it)\s+(?:{_THIS}\s+)?(?:logged|log|written|printed|raised)
         | (?:which|what)\s+(?:line(?:\s+of\s+code)?|code|statement|function|file)\s+(?:logs|logged|writes|wrote|prints|raises) )
    (?:\s+{_THIS})? (?:\s+in\s+(?P<service>[\w.-]+))? \s*[:,?]?\s+ (?P<text>\S.*)""",
    _WORDY,
)
_QUOTED = re.compile(
    r"""\s*where\s+(?:is|was)\s+["'`“](?P<text>.+)["'`”]\s+(?:logged|written|printed|raised)(?:\s+in\s+(?P<service>[\w.-]+))?\s*\??\s*""",
    _WORDY,
)
_KIND = r"(?P<kind>(?:the\s+)?(?:function|method|class)\s+)?"
_NAME = r"""[`'"]?(?P<name>[\w.:#$]+?)(?P<call>\(\s*\))?[`'"]?"""
_CODE = r"(?:\s+in\s+(?:the|our)\s+code)?\s*\??\s*"
_CALLERS = re.compile(
    rf"""\s*(?: (?: (?:who|what|which\s+(?:code|functions?|lines?|methods?))\s+(?:calls?|uses?|invokes?)
                | (?:show\s+(?:me\s+)?)?(?:the\s+)?callers\s+of )\s+{_KIND}{_NAME} ){_CODE}""",
    _WORDY,
)
_CALLED = re.compile(rf"\s*where\s+is\s+{_KIND}{_NAME}\s+(?:called|used|invoked)(?:\s+from)?{_CODE}", _WORDY)
_DEFINED = re.compile(rf"\s*where\s+is\s+{_KIND}{_NAME}\s+(?:defined|implemented|declared){_CODE}", _WORDY)
_CHANGED = re.compile(
    r"""\s*(?:what|which\s+(?:commits?|code)|who)\s+(?:has\s+|have\s+|was\s+|were\s+)?(?:been\s+)?(?P<verb>changed|committed|merged|touched)
    \s+(?:in|to|on)\s+(?:the\s+|our\s+)?(?P<code>code\s+(?:of|in)\s+)?[`'"]?(?P<name>[\w.-]+?)[`'"]?(?P<own>(?:'s)?\s+code)?(?:\s+service)?
    (?: \s*[,?]?\s* | \s+(?:since|after|from|in\s+the\s+(?:last|past)|within|today|yesterday|this\s+week)\b.* )""",
    _WORDY,
)
_TRACE = re.compile(
    r"\s*(?:where|which\s+(?:file|line|code|function)s?)\b[^\n]{0,60}\b(?:stack\s*trace|trace\s*back|stack|exception)\b[^\n]*\n.*",
    re.IGNORECASE | re.DOTALL,
)
_INCIDENT = re.compile(r"\b(?:why|fail\w*|broke\w*|slow\w*|crash\w*|outage|incident|root cause)\b", re.IGNORECASE)
_SYMBOL = re.compile(r"[_.:#$]|[a-z][A-Z]")
_SPAN = re.compile(r"\b(?:last|past)\s+(?:(\d{1,3})\s+)?(hour|day|week)s?\b", re.IGNORECASE)
_DATE = re.compile(r"\b(\d{4}-\d\d-\d\d)(?![T ]\d\d:)\b")
_UNITS = {"hour": HOUR_US, "day": DAY_US, "week": 7 * DAY_US}


@dataclass(frozen=True, slots=True)
class CodeIntent:
    """What is asked: the kind, the text, name or service, and from when on (None where the question does not say).

    `plain` is True where nothing but code can be meant; else a service of that name comes first.
    """

    kind: CodeIntentKind
    what: str
    service: str = ""
    since_us: int | None = None
    plain: bool = True


def read_code_intent(question: Question) -> CodeIntent | None:
    """Return what a question asks about code; None where it is about anything else."""
    text = question.text.strip()
    if _TRACE.fullmatch(text):
        return CodeIntent("trace", text)
    if logged := _QUOTED.fullmatch(text) or _LOGGED.fullmatch(text):
        what = logged["text"].strip(" \t\n?\"'`“”")
        return CodeIntent("logged", what, logged["service"] or "") if what else None
    if defined := _DEFINED.fullmatch(text):
        return CodeIntent("defined", defined["name"])
    if callers := _CALLERS.fullmatch(text) or _CALLED.fullmatch(text):
        plain = bool(callers["kind"] or callers["call"] or _SYMBOL.search(callers["name"]))
        return CodeIntent("callers", callers["name"], plain=plain)
    if (changed := _CHANGED.fullmatch(text)) and not _INCIDENT.search(text):
        plain = bool(changed["code"] or changed["own"] or changed["verb"].lower() != "changed" or "commit" in text)
        return CodeIntent("changed", changed["name"], changed["name"], _since(question), plain)
    return None


def _since(question: Question) -> int | None:
    """Return from when on changes are asked for: as given, or as the text says."""
    if question.from_us is not None:
        return question.from_us
    text, at_us = question.text, question.at_us
    if span := _SPAN.search(text):
        return at_us - int(span[1] or 1) * _UNITS[span[2].lower()]
    if date := _DATE.search(text):
        try:
            return parse_time_us(f"{date[1]}T00:00:00Z")
        except ValueError:
            return None
    midnight = at_us - at_us % DAY_US
    for word, moment in (("yesterday", midnight - DAY_US), ("today", midnight), ("this week", at_us - 7 * DAY_US)):
        if word in text.lower():
            return moment
    return find_moment(text, at_us)

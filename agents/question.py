"""Reading a question without a model: which service or operation, which time, and what kind of trouble."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from diagnosis.wording import named_services
from domain.errors import QuestionError
from domain.times import HOUR_US, MINUTE_US, format_us, from_us, parse_time_us, to_us

_CLOCK = re.compile(
    r"\b(?:at|around|since|about|near)?\s*([01]?\d|2[0-3]):([0-5]\d)(?::([0-5]\d))?\s*(?:([ap])\.?m\b|(?:utc|z)?\b)",
    re.IGNORECASE,
)
_STAMP = re.compile(r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\b")
_AGO = re.compile(r"\b(\d{1,4})\s*(s|sec|seconds?|m|min|minutes?|h|hours?)\s+ago\b", re.IGNORECASE)
_SUBJECT = re.compile(
    r"\b(?:why|how come|what)\b.*?\b(?:did|does|do|is|are|was|were|has|have|made|makes|caused)\s+(?:the\s+|our\s+|my\s+)?"
    r"([\w./-]+)(?:\s+service)?\s+(?:to\s+)?(?:fail\w*|slow\w*|crash\w*|break\w*|broke\w*|down|error\w*|time\w*|hang\w*|unavailable|degraded|flap\w*)",
    re.IGNORECASE,
)
_GENERIC = frozenset(
    "it this that they we everything anything something things system systems site website app application users user "
    "customers requests request service services traffic page pages api apis production prod calls the there all".split()
)
_AROUND_US = 15 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it was asked. `from_us`/`to_us` bound the incident, `at_us` is the moment of asking.

    Whoever bounds an incident says that there was trouble; with `stated` False they only ask how it was at that time.

    `about` are services that it means without naming them, as its thread or a model says; `guessed` says that this is no
    more than a guess. `run_id` is the run that works on it: of one that is begun again nothing is kept twice. `language` is
    that of the question (ISO 639-1), as far as it is known.
    """

    text: str
    environment: str
    at_us: int
    from_us: int | None = None
    to_us: int | None = None
    thread_id: str = ""
    incident_id: str = ""
    about: tuple[str, ...] = ()
    guessed: bool = False
    language: str = "en"
    run_id: str = ""
    stated: bool = True


@dataclass(frozen=True, slots=True)
class Subject:
    """What a question is about: known services and operations, or a name that nothing here goes by."""

    services: tuple[str, ...] = ()
    operations: tuple[tuple[str, str], ...] = ()
    unknown: str = ""


def find_subject(text: str, services: Sequence[str], operations: Sequence[tuple[str, str]]) -> Subject:
    """Match the question's words to service names and to the words of operation names such as `POST /checkout`."""
    named = named_services(text, services)
    words = {w.lower() for w in re.findall(r"[A-Za-z][\w-]{2,}", text)} - _GENERIC
    matched = tuple(
        (service, name)
        for service, name in operations
        if words
        & {w.lower() for w in re.findall(r"[A-Za-z][\w-]{2,}", name)} - {"get", "post", "put", "delete", "patch"}
    )
    if named or matched:
        return Subject(tuple(named), matched)
    subject = _SUBJECT.search(text)
    name = subject.group(1).strip("./-") if subject else ""
    return Subject(unknown="" if name.lower() in _GENERIC else name)


def find_moment(text: str, at_us: int) -> int | None:
    """Return the moment that a question names ("at 10:42", "20 minutes ago", an RFC 3339 time), or None.

    A clock time without a date is the last such time before the moment of asking, in UTC. Raises QuestionError for a
    time that the calendar does not have.
    """
    if stamp := _STAMP.search(text):
        try:
            return parse_time_us(stamp.group(0).replace(" ", "T"))
        except ValueError as exc:
            raise QuestionError(f"{stamp.group(0)!r} in the question is not a time between 1970 and 2262.") from exc
    if ago := _AGO.search(text):
        unit = {"s": 1_000_000, "m": MINUTE_US, "h": HOUR_US}[ago.group(2)[0].lower()]
        return at_us - int(ago.group(1)) * unit
    if clock := _CLOCK.search(text):
        hour, minute, second = int(clock.group(1)), int(clock.group(2)), int(clock.group(3) or 0)
        if clock.group(4) and 1 <= hour <= 12:
            hour = hour % 12 + (12 if clock.group(4).lower() == "p" else 0)
        moment = to_us(from_us(at_us).replace(hour=hour, minute=minute, second=second, microsecond=0))
        return moment if moment <= at_us else moment - 24 * HOUR_US
    return None


def bounds_of(question: Question) -> tuple[int | None, int]:
    """Return (from, to) of the incident in us: as given, as named in the text, or (None, moment of asking).

    Raises QuestionError where the text names a time that does not exist or that lies after the moment of asking.
    """
    to = min(question.to_us if question.to_us is not None else question.at_us, question.at_us)
    if question.from_us is not None:
        return question.from_us, max(to, question.from_us)
    moment = find_moment(question.text, question.at_us)
    if moment is not None and question.to_us is None:
        if moment - _AROUND_US > question.at_us:
            raise QuestionError(f"The question speaks of {format_us(moment)}, after the moment of asking.")
        return moment - _AROUND_US, min(moment + _AROUND_US, question.at_us)
    return None, to

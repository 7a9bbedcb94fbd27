"""The stretch of time that a question names in words: "between 10:00 and 10:30", "in the last 20 minutes", "yesterday"."""

from __future__ import annotations

import re

from agents.question import find_moment
from domain.times import HOUR_US, MINUTE_US, SECOND_US, Window, from_us, to_us

_MOMENT = r"(?:\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?|\d{1,2}:\d\d(?::\d\d)?\s*(?:[ap]\.?m\b)?)"
_BETWEEN = re.compile(
    rf"\b(?:between|from)\s+({_MOMENT})\s*(?:utc|z)?\s*(?:and|to|until|till|-)\s*({_MOMENT})", re.IGNORECASE
)
_SINCE = re.compile(rf"\b(?:since|after)\s+({_MOMENT})", re.IGNORECASE)
_BEFORE = re.compile(rf"\b(?:before|until|till)\s+({_MOMENT})", re.IGNORECASE)
_LAST = re.compile(
    r"\b(?:last|past|previous)\s+(?:(\d{1,4}|few|couple of)\s+)?(seconds?|secs?|s|minutes?|mins?|m|hours?|hrs?|h|days?|d)\b",
    re.IGNORECASE,
)
_SHIFT = re.compile(
    r"\b(?:(\d{1,4}|an?|half an|few|couple of)\s+)(seconds?|secs?|minutes?|mins?|hours?|hrs?|days?)\s+(earlier|before(?: that| then)?|later|after(?: that| then)?)\W*$",
    re.IGNORECASE,
)
_DAY = re.compile(r"\b(today|yesterday)\b", re.IGNORECASE)
_UNITS = {"s": SECOND_US, "m": MINUTE_US, "h": HOUR_US, "d": 24 * HOUR_US}
_AROUND_US = 15 * MINUTE_US
_FEW = 5


def find_bounds(text: str, at_us: int) -> Window | None:
    """Return the stretch with two stated ends, or None. Raises QuestionError for times that do not exist."""
    found = _BETWEEN.search(text)
    if not found:
        return None
    first, second = (find_moment(part, at_us) for part in found.groups())
    if first is None or second is None:
        return None
    if second < first:  # a clock time that is still to come was read as yesterday's
        second += _UNITS["d"]
    return Window(max(0, first), min(second, at_us)) if first <= min(second, at_us) else None


def find_stretch(text: str, at_us: int) -> Window | None:
    """Return the stretch of time that a text names in any way, up to the moment of asking; None where it names none."""
    if bounds := find_bounds(text, at_us):
        return bounds
    if found := _LAST.search(text):
        number = found.group(1) or "1"
        count = int(number) if number.isdecimal() else _FEW
        return Window(max(0, at_us - count * _UNITS[found.group(2)[0].lower()]), at_us)
    if (found := _SINCE.search(text)) and (moment := find_moment(found.group(1), at_us)) is not None:
        return Window(min(moment, at_us), at_us)
    if (found := _BEFORE.search(text)) and (moment := find_moment(found.group(1), at_us)) is not None:
        return Window(max(0, moment - HOUR_US), min(moment, at_us))
    if found := _DAY.search(text):
        midnight = to_us(from_us(at_us).replace(hour=0, minute=0, second=0, microsecond=0))
        return (
            Window(midnight, at_us) if found.group(1).lower() == "today" else Window(midnight - 24 * HOUR_US, midnight)
        )
    moment = find_moment(text, at_us)
    if moment is None:
        return None
    return Window(max(0, min(moment - _AROUND_US, at_us)), max(0, min(moment + _AROUND_US, at_us)))


def find_shift(text: str) -> int:
    """Return how much later (below 0: earlier) a text such as "and an hour earlier?" looks, in us; 0 where it does not."""
    found = _SHIFT.search(text)
    if not found:
        return 0
    number, unit = found.group(1).lower(), _UNITS[found.group(2)[0].lower()]
    count_us = (
        int(number) * unit if number.isdecimal() else {"a": unit, "an": unit, "half an": unit // 2}.get(number, 0)
    )
    count_us = count_us or _FEW * unit
    return -count_us if found.group(3).lower().startswith(("earlier", "before")) else count_us

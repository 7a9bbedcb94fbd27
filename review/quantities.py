"""Numbers in texts: how much, of what unit, how exactly said. Units are brought to one, so that 1.5 s equals 1500 ms."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from domain.times import SECOND_US, parse_time_us

type Bound = Literal["exact", "about", "above", "below"]
type Unit = Literal["", "s", "B", "%", "x"]

_SCALES: dict[str, tuple[Unit, float]] = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), ("s", 1e-9)),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), ("s", 1e-6)),
    **dict.fromkeys(("ms", "msec", "millisecond", "milliseconds"), ("s", 1e-3)),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), ("s", 1.0)),
    **dict.fromkeys(("min", "mins", "minute", "minutes"), ("s", 60.0)),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), ("s", 3600.0)),
    **dict.fromkeys(("d", "day", "days"), ("s", 86_400.0)),
    **dict.fromkeys(("b", "byte", "bytes"), ("B", 1.0)),
    **dict.fromkeys(("kb", "kilobyte", "kilobytes"), ("B", 1e3)),
    **dict.fromkeys(("mb", "megabyte", "megabytes"), ("B", 1e6)),
    **dict.fromkeys(("gb", "gigabyte", "gigabytes"), ("B", 1e9)),
    **dict.fromkeys(("kib",), ("B", 2.0**10)),
    **dict.fromkeys(("mib",), ("B", 2.0**20)),
    **dict.fromkeys(("gib",), ("B", 2.0**30)),
    **dict.fromkeys(("%", "percent", "per cent", "pct"), ("%", 1.0)),
    **dict.fromkeys(("x", "-fold", "fold", "times"), ("x", 1.0)),
    **dict.fromkeys(("k", "thousand"), ("", 1e3)),
    **dict.fromkeys(("million",), ("", 1e6)),
}
_UNITS = "|".join(sorted(map(re.escape, _SCALES), key=len, reverse=True))
_NUMBER = re.compile(
    r"(?<![\w.,:/#-])(?P<number>[+-]?(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?(?:e[+-]?\d+)?))"
    rf"(?:[ -]?(?P<unit>{_UNITS})(?![\w%]))?(?![\w/])(?!\.\d)",
    re.IGNORECASE,
)
_SPELLED = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
}
# A number that is spelled out counts something only before a noun of what records count.
_SPELLED_NUMBER = re.compile(
    rf"\b(?P<word>{'|'.join(_SPELLED)})\s+(?:\w+\s+)?(?:requests?|calls?|lines?|errors?|times|spans?|failures?|"
    r"entries|messages|restarts?|warnings?|seconds|minutes|milliseconds|percent)\b",
    re.IGNORECASE,
)
_MOMENT = re.compile(
    r"\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\b|"
    r"(?<![\w:.])(?:[01]?\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d+)?)?(?![\w]|:\w)"
)
_BOUNDS: tuple[tuple[Bound, str], ...] = (
    ("above", r"(?:more|longer|greater|higher) than|over|above|at least|exceed(?:s|ed|ing)?|beyond|>=?"),
    ("below", r"(?:less|fewer|lower|shorter) than|under|below|at most|up to|within|<=?"),
    ("about", r"about|around|roughly|approximately|nearly|almost|close to|some|ca\.?|circa|~"),
)
_BEFORE = [(bound, re.compile(rf"(?:{words})\s*(?:a |an )?$", re.IGNORECASE)) for bound, words in _BOUNDS]
_DAY_US = 86_400 * SECOND_US


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount in the base unit (seconds, bytes, percent, factor, or a plain count); `step` is its last digit."""

    value: float
    unit: Unit = ""
    step: float = 0.0
    bound: Bound = "exact"
    text: str = ""


@dataclass(frozen=True, slots=True)
class Moment:
    """A time that a text names: microseconds since 1970, or within its day where no date is given (`clock`)."""

    time_us: int
    precision_us: int
    clock: bool
    text: str = ""


def read_moments(text: str) -> tuple[list[Moment], str]:
    """Return the times that a text names, and the text with blanks in their places."""
    found = [moment for match in _MOMENT.finditer(text) if (moment := _moment(match.group()))]
    return found, _MOMENT.sub(lambda m: " " * len(m.group()), text)


def read_quantities(text: str) -> list[Quantity]:
    """Return the numbers of a text from which times and names were taken out."""
    found = [_quantity(match, text) for match in _NUMBER.finditer(text)]
    for match in _SPELLED_NUMBER.finditer(text):
        value, last = float(_SPELLED[match["word"].lower()]), match.group().split()[-1].lower()
        unit, scale = _SCALES.get(last, ("", 1.0)) if last != "times" else ("", 1.0)
        found.append(Quantity(value * scale, unit, scale, _bound(text[: match.start()]), match.group()))
    return found


def is_quantity(token: str) -> bool:
    """True for a token that is a number with or without a unit, such as `80ms`."""
    return _NUMBER.fullmatch(token) is not None


def holds(claimed: Quantity, held: Iterable[Quantity]) -> bool:
    """True where one of the amounts held is the one claimed, within the precision with which it is said."""
    # "3 times" may count or compare.
    units = ("x", "") if claimed.text.lower().endswith("times") else (claimed.unit,)
    return any(one.unit in units and _fits(claimed, one.value) for one in held)


def holds_moment(claimed: Moment, held_us: Iterable[int]) -> bool:
    """True where one of the times held is the one claimed, within the precision with which it is said."""
    slack = claimed.precision_us + SECOND_US // 2
    for time_us in held_us:
        gap = abs(time_us - claimed.time_us) % _DAY_US if claimed.clock else abs(time_us - claimed.time_us)
        if gap <= slack or (claimed.clock and _DAY_US - gap <= slack):
            return True
    return False


def near(one: float, other: float, slack: float = 0.02) -> bool:
    """True where two amounts are the same within a share of the larger."""
    return abs(one - other) <= slack * max(abs(one), abs(other))


def _fits(claimed: Quantity, value: float) -> bool:
    said = claimed.value
    match claimed.bound:
        case "above":
            return said * 0.98 <= value <= said * 3 or near(said, value)
        case "below":
            return said / 3 <= value <= said * 1.02 or near(said, value)
        case "about":
            return near(said, value, 0.12)
        case "exact":
            return near(said, value) or abs(said - value) <= 0.5001 * claimed.step < abs(said)


def _quantity(match: re.Match[str], text: str) -> Quantity:
    digits = match["number"].replace(",", "")
    unit, scale = _SCALES.get((match["unit"] or "").lower(), ("", 1.0))
    mantissa = digits.lower().partition("e")[0]
    step = 10.0 ** -len(mantissa.partition(".")[2]) if "." in mantissa else 1.0
    # A whole count is not rounded: 34 requests are not 35. A whole amount with a unit may be.
    step = 0.0 if unit in ("", "x") and scale == 1.0 and "." not in mantissa else step
    return Quantity(float(digits) * scale, unit, step * scale, _bound(text[: match.start()]), match.group().strip())


def _bound(before: str) -> Bound:
    tail = before[-24:]
    return next((bound for bound, pattern in _BEFORE if pattern.search(tail)), "exact")


def _moment(text: str) -> Moment | None:
    clock = "-" not in text[:5]
    seconds = text.count(":") - (1 if re.search(r"[+-]\d\d:\d\d$", text) else 0) > 1
    precision = SECOND_US if seconds else 60 * SECOND_US
    try:
        return Moment(parse_time_us(f"1970-01-01T{text.zfill(5)}" if clock else text), precision, clock, text)
    except ValueError:
        return None

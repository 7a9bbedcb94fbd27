"""Timestamps as programs write them at the head of a line, to microseconds since 1970 UTC.

A text without a zone is UTC; one without a year or a date gets the latest that does not lie in the future of `now_us`.
Where day and month cannot be told apart, `/` means month first, `.` means day first.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from functools import lru_cache

import msgspec

from domain.times import LATEST_US, MINUTE_US, SECOND_US, from_us, parse_time_us, to_us

_MONTHS = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)
}  # fmt: skip
# Abbreviations that mean one thing everywhere; a zone that is not here is taken as UTC.
_ZONES = {"z": 0, "utc": 0, "gmt": 0, "cet": 60, "cest": 120, "pst": -480, "pdt": -420, "mst": -420, "mdt": -360,
          "est": -300, "edt": -240, "jst": 540, "msk": 180}  # fmt: skip
_FUTURE = timedelta(days=1)
_AHEAD_US = 5 * MINUTE_US  # how far a clock may be ahead of ours

_CLOCK = r"(?P<H>[0-9]{1,2}):(?P<M>[0-9]{2}):(?P<S>[0-9]{2})(?:[.,:](?P<f>[0-9]{1,9}))?"
_NOON = r"(?:\s?(?P<ampm>[AaPp]\.?[Mm]\.?)(?![A-Za-z]))?"
_ZONE = r"(?:\s?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2}|UTC|GMT|CES?T|[PMEJ][SD]?T|MSK)(?![A-Za-z0-9]))?"
_MONTH = r"(?P<b>Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}"
_DAY = r"(?P<d>[0-9]{1,2})"
_YEAR = r"(?P<Y>(?:19|20|21)[0-9]{2})"
_WEEKDAY = r"(?:(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]{0,6},?\s+)?"

# The first of the formats below as it is usually written; what may be a half of a day, or a zone after a blank, is left to that.
_ISO = re.compile(
    r"((?:19|20|21)[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2})(?![0-9])(?:[.,:]([0-9]{1,9}+))?+"
    r"(?:(Z|[+-][0-9]{2}:?[0-9]{2})(?![A-Za-z0-9])"
    r"|(?!\s?(?:[AaPp]\.?[Mm]|Z|[+-][0-9]|UTC|GMT|CES?T|[PMEJ][SD]?T|MSK)))"
)
# In this order, the more specific first: each at the head of the text.
_FORMATS = tuple(
    re.compile(pattern)
    for pattern in (
        rf"{_YEAR}(?P<sep>[-/.])(?P<m>[0-9]{{1,2}})(?P=sep){_DAY}(?:[T _]|:|,\s?|\s+){_CLOCK}{_NOON}{_ZONE}",
        rf"{_YEAR}-(?P<m>[0-9]{{2}})-{_DAY}-(?P<H>[0-9]{{2}})\.(?P<M>[0-9]{{2}})\.(?P<S>[0-9]{{2}})(?:\.(?P<f>[0-9]{{1,9}}))?",
        rf"{_YEAR}(?P<m>[0-9]{{2}})(?P<d>[0-9]{{2}})(?:T(?P<H>[0-9]{{2}})(?P<M>[0-9]{{2}})(?P<S>[0-9]{{2}})(?:[.,](?P<f>[0-9]{{1,9}}))?{_ZONE}|[-_ T](?P<H2>[0-9]{{1,2}}):(?P<M2>[0-9]{{1,2}}):(?P<S2>[0-9]{{1,2}})(?:[.,:](?P<f2>[0-9]{{1,9}}))?)",
        rf"{_WEEKDAY}{_MONTH}\s+{_DAY},?\s+{_CLOCK}{_ZONE}\s+{_YEAR}(?![0-9])",
        rf"{_MONTH}\s+{_DAY},?\s+{_YEAR},?\s+{_CLOCK}{_NOON}{_ZONE}",
        rf"{_WEEKDAY}{_MONTH}\s+{_DAY}\s+{_CLOCK}{_ZONE}",
        rf"{_WEEKDAY}{_DAY}(?P<sep>[-/ ]){_MONTH}(?P=sep){_YEAR}(?::|,?\s){_CLOCK}{_ZONE}",
        rf"{_WEEKDAY}{_DAY}-{_MONTH}-(?P<y>[0-9]{{2}})\s{_CLOCK}{_ZONE}",
        rf"(?P<one>[0-9]{{1,2}})(?P<sep>[/.-])(?P<two>[0-9]{{1,2}})(?P=sep){_YEAR},?\s+{_CLOCK}{_NOON}{_ZONE}",
        rf"(?P<y>[0-9]{{2}})/(?P<m>[0-9]{{2}})/(?P<d>[0-9]{{2}})\s+{_CLOCK}{_ZONE}",
        r"(?P<y>[0-9]{2})(?P<m>[0-9]{2})(?P<d>[0-9]{2})\s{1,2}(?:(?P<H>[0-9]{2})(?P<M>[0-9]{2})(?P<S>[0-9]{2})(?![0-9:])|(?P<H2>[0-9]{1,2}):(?P<M2>[0-9]{2}):(?P<S2>[0-9]{2})(?P<f2>(?!))?)",
        rf"(?P<m>[0-9]{{2}})[-.](?P<d>[0-9]{{2}})\s+{_CLOCK}",
        rf"{_CLOCK}{_NOON}{_ZONE}(?![\w:])",
        rf"{_YEAR}[-/ ]{_MONTH}[-/ ]\s?{_DAY}\s+{_CLOCK}{_ZONE}",
    )
)
_EPOCH = re.compile(r"(?P<whole>1[0-9]{9})(?:[.,](?P<f>[0-9]{1,9})|(?P<more>[0-9]{3}|[0-9]{6}|[0-9]{9}))?(?![\w.:-])")
_KLOG = re.compile(rf"(?P<level>[IWEF])(?P<m>[0-9]{{2}})(?P<d>[0-9]{{2}})\s{_CLOCK}")
# The end of an ISO 8601 text that names no zone.
_CLOCK_ALONE = re.compile(r"[T ][0-9]{2}:?[0-9]{2}(?::?[0-9]{2}(?:[.,][0-9]+)?)?\s*$")
# Which of them begin with the name of a month or a weekday, and which with a digit.
_NAMES = frozenset((*_MONTHS, "mon", "tue", "wed", "thu", "fri", "sat", "sun"))
_DIGITS = frozenset("0123456789")
_KLOG_LETTERS = frozenset("IWEF")
_LETTERED = tuple((form, p) for form, p in enumerate(_FORMATS) if _WEEKDAY in p.pattern or p.pattern.startswith(_MONTH))
_NUMBERED = tuple(
    (form, p) for form, p in enumerate(_FORMATS) if not p.pattern.startswith(_MONTH) and form not in (3, 5)
)


class Stamp(msgspec.Struct, frozen=True, gc=False):
    """A timestamp that was found: microseconds since 1970 and where it ends in the text.

    `form` is the number of the format, the same for every line that writes its time in the same way. `zoned` is False for a
    text that names no zone, and so was read as if it were UTC.
    """

    time_us: int
    end: int
    form: int
    zoned: bool = True


def read_stamp(text: str, now_us: int, at: int = 0) -> Stamp | None:
    """Return the timestamp that begins at a place of a text, or None. Never raises; looks at 64 characters at most."""
    return _read_iso(text, at) or _read_formats(text, now_us, at)


def _read_iso(text: str, at: int) -> Stamp | None:
    """Return the timestamp that nearly every program writes, in a fraction of the time that trying all formats takes."""
    found = _ISO.match(text, at, min(len(text), at + 64))
    if found is None:
        return None
    base = _second_of(found[1], found[3] or "")
    if base is None:
        return None
    return Stamp(base + int((found[2] or "0")[:6].ljust(6, "0")), found.end(), 0, found[3] is not None)


@lru_cache(1024)
def _second_of(second: str, zone: str) -> int | None:
    """Return the microseconds of a whole second; None where the other formats may make more of it."""
    try:
        moment = to_us(datetime.fromisoformat(second).replace(tzinfo=_zone(zone)))
    except (ValueError, OverflowError):
        return None
    return moment if 0 <= moment < LATEST_US - SECOND_US else None


def _read_formats(text: str, now_us: int, at: int) -> Stamp | None:
    stop = min(len(text), at + 64)
    formats = _LETTERED if text[at : at + 3].lower() in _NAMES else _NUMBERED if text[at : at + 1] in _DIGITS else ()
    for form, pattern in formats:
        found = pattern.match(text, at, stop)
        if found is not None and (moment := _moment(found, now_us)) is not None:
            return Stamp(moment, found.end(), form, bool(found.groupdict().get("zone")))
    if formats is _NUMBERED:
        return _read_epoch(text, at, stop)
    return _read_klog(text, at, stop, now_us) if text[at : at + 1] in _KLOG_LETTERS else None


def parse_any_time(text: str, now_us: int) -> int:
    """Return the time that a whole text says; raises ValueError where it says none."""
    stamp = _read_whole(text, now_us)
    if stamp is None:
        raise ValueError(f"not a time: {text[:64]!r}")
    return stamp.time_us


def _read_whole(text: str, now_us: int) -> Stamp | None:
    text = text.strip().strip("[]")
    stamp = read_stamp(text, now_us)
    return stamp if stamp is not None and stamp.end == len(text) else None


def parse_said_time(value: str | int | float, now_us: int, zone: tzinfo = UTC) -> int:
    """Return the time that a field says: RFC 3339, an epoch number, or a text in any of the formats of this module.

    A text that names no zone is of `zone`. Raises ValueError.
    """
    try:
        moment = parse_time_us(value)
    except OverflowError as exc:
        raise ValueError("not a time (infinite or not a number)") from exc
    except ValueError:
        stamp = _read_whole(value, clock_in(zone, now_us)) if isinstance(value, str) else None
        if stamp is None:
            raise
        return stamp.time_us if stamp.zoned else moment_in(zone, stamp.time_us, now_us)
    if _is_utc(zone) or not isinstance(value, str) or not _CLOCK_ALONE.search(value):
        return moment
    return moment_in(zone, moment, now_us)


# -- times without a zone ----------------------------------------------------------------------------------------------


def clock_in(zone: tzinfo, now_us: int) -> int:
    """Return what a clock in a zone shows, as if it showed UTC: what `read_stamp` needs to fill in a date there."""
    return now_us if _is_utc(zone) else to_us(from_us(now_us).astimezone(zone).replace(tzinfo=UTC))


def moment_in(zone: tzinfo, clock_us: int, now_us: int) -> int:
    """Return the moment at which a clock in a zone showed what was read as if it were UTC.

    Of an hour that comes twice it is the later one, unless that lies in the future of `now_us`.
    """
    if _is_utc(zone):
        return clock_us
    shown = from_us(clock_us).replace(tzinfo=zone)
    one, other = sorted((to_us(shown), to_us(shown.replace(fold=1))))
    return min(max(other if other <= now_us + _AHEAD_US else one, 0), LATEST_US)


def _is_utc(zone: tzinfo) -> bool:
    return zone is UTC or str(zone) == "UTC"


def _read_epoch(text: str, at: int, stop: int) -> Stamp | None:
    found = _EPOCH.match(text, at, stop)
    if found is None:
        return None
    digits = (found["f"] or found["more"] or "")[:6].ljust(6, "0")
    return Stamp(int(found["whole"]) * SECOND_US + int(digits), found.end(), len(_FORMATS))


def _read_klog(text: str, at: int, stop: int, now_us: int) -> Stamp | None:
    found = _KLOG.match(text, at, stop)
    moment = _moment(found, now_us) if found is not None else None
    return None if found is None or moment is None else Stamp(moment, found.end(), len(_FORMATS) + 1, zoned=False)


def _moment(found: re.Match[str], now_us: int) -> int | None:
    part = {key: value for key, value in found.groupdict().items() if value is not None}
    micros = int(_either(part, "f", "0")[:6].ljust(6, "0"))
    hour, minute, second = (int(_either(part, key, "0")) for key in "HMS")
    if noon := part.get("ampm"):
        hour = hour % 12 + (12 if noon[0] in "pP" else 0)
    leap, second = divmod(second, 60) if second == 60 else (0, second)
    try:
        clock = timedelta(hours=hour, minutes=minute, seconds=second + 60 * leap, microseconds=micros)
        if hour > 24 or minute > 59 or second > 59:
            return None
        zone = _zone(part.get("zone", ""))
        now = from_us(min(max(now_us, 0), LATEST_US)).astimezone(zone)
        moment = to_us(_date(part, now, clock, zone) + clock)
    except (ValueError, OverflowError):
        return None
    return moment if 0 <= moment <= LATEST_US else None


def _either(part: dict[str, str], key: str, default: str) -> str:
    return part.get(key) or part.get(f"{key}2") or default


def _date(part: dict[str, str], now: datetime, clock: timedelta, zone: timezone) -> datetime:
    """Return midnight of the date that a match says; what it leaves out is the latest that lies not in the future."""
    month, day = _month_and_day(part)
    if year := part.get("Y"):
        return datetime(int(year), month, day, tzinfo=zone)
    if short := part.get("y"):
        return datetime(2000 + int(short) - (100 if int(short) >= 70 else 0), month, day, tzinfo=zone)
    if day == 0:
        today = datetime(now.year, now.month, now.day, tzinfo=zone)
        return today if today + clock <= now + _FUTURE / 24 else today - timedelta(days=1)
    for back in range(9):  # a leap day may be eight years back
        try:
            date = datetime(now.year + 1 - back, month, day, tzinfo=zone)
        except ValueError:
            continue
        if date + clock <= now + _FUTURE:
            return date
    raise ValueError("no such day")


def _month_and_day(part: dict[str, str]) -> tuple[int, int]:
    if name := part.get("b"):
        return _MONTHS[name.lower()], int(part["d"])
    if one := part.get("one"):
        first, second = int(one), int(part["two"])
        day_first = first > 12 or (part["sep"] != "/" and second <= 12)
        return (second, first) if day_first else (first, second)
    return int(part.get("m", 0)), int(part.get("d", 0))


def _zone(text: str) -> timezone:
    if text[:1] in ("+", "-"):
        digits = text[1:].replace(":", "")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        return timezone(timedelta(minutes=-minutes if text[0] == "-" else minutes))
    minutes = _ZONES.get(text.lower(), 0)
    return timezone(timedelta(minutes=minutes)) if minutes else UTC

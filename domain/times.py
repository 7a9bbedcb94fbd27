"""Times: aware UTC datetimes inside the program, microseconds since 1970 in the database and in arithmetic."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND_US = 1_000_000
MINUTE_US = 60 * SECOND_US
HOUR_US = 60 * MINUTE_US
DAY_US = 24 * HOUR_US

# The counts of log lines, calls and the like are kept per slot of this length. Ten seconds, not a minute: an onset
# order between cause and symptom cannot be read from minutes.
SLOT_US = 10 * SECOND_US

# 2262-04-11, the last moment that OTLP's 64-bit nanoseconds can name.
LATEST_US = 9_223_372_036_854_775

_LEAP = re.compile(r"(.{10}[Tt ]\d\d:\d\d:)60(.*)")


def to_us(moment: datetime) -> int:
    """Return microseconds since 1970 of an aware datetime; a naive one is taken as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    delta = moment - EPOCH
    return (delta.days * 86_400 + delta.seconds) * SECOND_US + delta.microseconds


def from_us(microseconds: int) -> datetime:
    """Return the aware UTC datetime of microseconds since 1970."""
    return EPOCH + timedelta(microseconds=microseconds)


def parse_time_us(value: str | int | float) -> int:
    """Return microseconds since 1970 of an RFC 3339 text or an epoch number in s, ms, us or ns.

    The unit of a number is told by its size: below 1e11 it is seconds, below 1e14 milliseconds, below 1e17
    microseconds, else nanoseconds. A text without a zone is UTC; a leap second is the first one of the next minute.
    Raises ValueError for anything else.
    """
    if isinstance(value, bool):
        raise ValueError("a time cannot be true or false")
    if isinstance(value, int | float):
        return _epoch_us(value)
    if not isinstance(value, str):
        raise ValueError(f"a time cannot be a {type(value).__name__}")
    text = value.strip()
    for read in (int, float):
        try:
            number = read(text)
        except ValueError:
            continue
        return _epoch_us(number)
    leap = _LEAP.fullmatch(text)
    try:
        moment = to_us(datetime.fromisoformat(f"{leap[1]}59{leap[2]}" if leap else text)) + (SECOND_US if leap else 0)
    except (ValueError, OverflowError):
        raise ValueError(f"not a time: {value[:64]!r} (RFC 3339, or an epoch number in s, ms, us or ns)") from None
    return _bounded(moment)


def _epoch_us(number: float) -> int:
    if not math.isfinite(number):
        raise ValueError("a time must be finite")
    size = abs(number)
    if size < 1e11:
        return _bounded(round(number * SECOND_US))
    if size < 1e14:
        return _bounded(round(number * 1000))
    if size < 1e17:
        return _bounded(round(number))
    return _bounded(int(number) // 1000)


def _bounded(microseconds: int) -> int:
    if not 0 <= microseconds <= LATEST_US:
        raise ValueError("a time must lie between 1970 and 2262")
    return microseconds


def format_us(microseconds: int) -> str:
    """Return RFC 3339 text in UTC with microseconds where there are any."""
    return from_us(microseconds).isoformat().replace("+00:00", "Z")


def floor_slot(microseconds: int, slot_us: int = SLOT_US) -> int:
    """Return the start of the slot that holds a moment."""
    return microseconds - microseconds % slot_us


@dataclass(frozen=True, slots=True)
class Window:
    """A half-open span of time [start_us, end_us) in microseconds since 1970."""

    start_us: int
    end_us: int

    def __post_init__(self) -> None:
        if self.end_us < self.start_us:
            raise ValueError("a window must not end before it starts")

    @property
    def seconds(self) -> float:
        return (self.end_us - self.start_us) / SECOND_US

    def holds(self, moment_us: int) -> bool:
        return self.start_us <= moment_us < self.end_us

    def widened(self, before_us: int = 0, after_us: int = 0) -> Window:
        return Window(self.start_us - before_us, self.end_us + after_us)

    def __str__(self) -> str:
        return f"{format_us(self.start_us)} .. {format_us(self.end_us)}"

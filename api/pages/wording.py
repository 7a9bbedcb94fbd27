"""How the screens say what the records hold: words for verdicts and actions, times, durations, values."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from domain.times import format_us, from_us, parse_time_us

OUTCOMES: Mapping[str, str] = {
    "CONFIRMED": "Cause confirmed",
    "LIKELY": "Likely cause",
    "INCONCLUSIVE": "Not enough evidence",
    "HEALTHY": "Healthy",
}
ACTIONS: Mapping[str, str] = {
    "ALLOW_ANSWER": "The answer may be used as it stands.",
    "ALLOW_WITH_WARNING": "The answer may be used, with what is missing in mind.",
    "NEED_CLARIFICATION": "The question has to be made clearer first.",
    "ESCALATE": "A person should look at this.",
    "BLOCK": "The answer must not be used.",
}
ACTION_NAMES: Mapping[str, str] = {
    "ALLOW_ANSWER": "may be used",
    "ALLOW_WITH_WARNING": "use with care",
    "NEED_CLARIFICATION": "ask again",
    "ESCALATE": "needs a person",
    "BLOCK": "blocked",
}
STATES: Mapping[str, str] = {
    "unchanged": "The record reads exactly as it was cited.",
    "changed": "The record has changed since it was cited.",
    "gone": "The record is no longer stored.",
}
WORDS: Mapping[str, object] = {
    "outcomes": OUTCOMES,
    "actions": ACTIONS,
    "action_names": ACTION_NAMES,
    "states": STATES,
}


def tell_when(text: str | None) -> str:
    """Return a time for people: to the second, in UTC."""
    return f"{from_us(parse_time_us(text)):%Y-%m-%d %H:%M:%S} UTC" if text else ""


def tell_us(microseconds: int | None) -> str:
    """Return a moment to the second, without saying that it is UTC."""
    return "" if microseconds is None else f"{from_us(microseconds):%Y-%m-%d %H:%M:%S}"


def tell_clock(microseconds: int) -> str:
    """Return the time of day of a moment, to the millisecond."""
    return f"{from_us(microseconds):%H:%M:%S.%f}"[:-3]


def tell_seconds(seconds: float | None) -> str:
    """Return a duration in the unit that fits it."""
    if seconds is None:
        return "open"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 90:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def tell_value(name: str, value: Any) -> str:
    """Return a field of a record as text; times as times."""
    if name.endswith("_us") and isinstance(value, int) and value > 10**14 and name != "duration_us":
        return format_us(value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str, indent=1)


def _indented(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=str, indent=2)


FILTERS: Mapping[str, Callable[..., Any]] = {
    "when": tell_when,
    "us": tell_us,
    "clock": tell_clock,
    "seconds": tell_seconds,
    "tojson_plain": _indented,
}

"""Single fields as the schema can hold them: cleaned text, names that fit their columns, attributes, levels."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

import msgspec

from domain.telemetry import Attributes, Level, Scalar

MESSAGE_BYTES = 64 * 1024
TEXT_BYTES = 60_000
ENVIRONMENT_CHARS = 64
NAME_CHARS = 128
VALUE_BYTES = 16 * 1024

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_BAD = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
_BREAKS = re.compile(r"[\r\n\t]+")

_LEVELS: dict[str, Level] = {
    **dict.fromkeys(("trace", "trc", "t", "finest", "finer", "verbose", "all"), Level.TRACE),
    **dict.fromkeys(("debug", "dbg", "d", "fine", "config"), Level.DEBUG),
    **dict.fromkeys(
        ("info", "inf", "i", "information", "informational", "notice", "note", "log", "normal"), Level.INFO
    ),
    **dict.fromkeys(("warn", "warning", "wrn", "w"), Level.WARN),
    **dict.fromkeys(("error", "err", "e", "eror", "severe", "failure"), Level.ERROR),
    **dict.fromkeys(
        ("fatal", "ftl", "f", "critical", "crit", "c", "alert", "emerg", "emergency", "panic", "off"), Level.FATAL
    ),
}
_SEVERITIES = (None, *(level for level in Level for _ in range(4)))
_CACHED_NAMES = 4096
_KEY_CHARS = 255
_SYSLOG = (Level.FATAL,) * 3 + (Level.ERROR, Level.WARN, Level.INFO, Level.INFO, Level.DEBUG)
_BUNYAN = {
    10: Level.TRACE, 20: Level.DEBUG, 30: Level.INFO, 40: Level.WARN, 50: Level.ERROR, 60: Level.FATAL,
}  # fmt: skip


def clean_text(text: str, max_bytes: int = TEXT_BYTES) -> str:
    """Return text without terminal colours, with a space for each control character, cut to so many UTF-8 bytes."""
    if not text.isprintable():
        text = _BAD.sub(" ", _ESCAPES.sub("", text) if "\x1b" in text else text)
    if len(text) * 4 <= max_bytes:
        return text
    return text.encode()[:max_bytes].decode(errors="ignore")


def note_cut(attributes: Attributes, text: str, message: str) -> Attributes:
    """Return the attributes of an event whose text became a message, with `log.cut_bytes` where it did not fit."""
    if len(text) <= MESSAGE_BYTES // 4:
        return attributes
    kept = len(message.encode())
    left_out = len(text.encode("utf-8", "replace")) - kept
    return {**attributes, "log.cut_bytes": left_out} if left_out > 0 and kept > MESSAGE_BYTES - 4 else attributes


def clean_name(text: str, max_chars: int = NAME_CHARS) -> str:
    """Return a name on one line, without blanks around it, cut to so many characters."""
    if not text.isprintable():
        text = _BREAKS.sub(" ", _BAD.sub(" ", text))
    text = text.strip()
    return text if len(text) <= max_chars else text[:max_chars].rstrip()


def clean_environment(text: str) -> str:
    """Return an environment's name; raises ValueError where it does not fit, since a cut one could be another's."""
    name = clean_name(text, ENVIRONMENT_CHARS + 1)
    if len(name) > ENVIRONMENT_CHARS:
        raise ValueError(f"longer than {ENVIRONMENT_CHARS} characters")
    return name


def clean_attributes(pairs: Iterable[tuple[str, Any]]) -> dict[str, Scalar]:
    """Return attributes with scalar values: text is cleaned and cut, lists and objects become compact JSON."""
    return {attribute_name(str(key)): clean_scalar(value) for key, value in pairs}


def attribute_name(key: str) -> str:
    """Return an attribute's name on one line, cut to what is stored."""
    return _short_name(key) if len(key) <= _KEY_CHARS else clean_name(key, _KEY_CHARS)


@lru_cache(_CACHED_NAMES)
def _short_name(key: str) -> str:
    return clean_name(key, _KEY_CHARS)


def clean_scalar(value: Any) -> Scalar:
    """Return a value as `clean_attributes` keeps it."""
    if isinstance(value, str):
        return clean_text(value, VALUE_BYTES)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, float):
        return value if value - value == 0 else str(value)
    return clean_text(msgspec.json.encode(value).decode(), VALUE_BYTES)


def parse_level(value: str | int | float | None) -> Level | None:
    """Return the level that a name or a number means, or None.

    Numbers: 0 to 7 are syslog's severities, 10, 20 ... 60 those of bunyan and pino, others up to 24 OpenTelemetry's.
    """
    if value is None or isinstance(value, bool):
        return None
    if isinstance(value, str):
        word = value.strip().strip("[]<>").lower()
        found = _LEVELS.get(word)
        if found is not None:
            return found
        if word.isascii() and word.isdigit() and len(word) <= 2:
            return parse_level(int(word))
        return _LEVELS.get(word.rstrip("0123456789"))  # OpenTelemetry's INFO2, ERROR3
    number = int(value) if value == value and abs(value) < 100 else -1
    if 0 <= number <= 7:
        return _SYSLOG[number]
    return _BUNYAN.get(number) or (severity_level(number) if number <= 24 else None)


def severity_level(number: int) -> Level | None:
    """Return the level of an OpenTelemetry severity number (1 to 24), or None."""
    return _SEVERITIES[number] if 0 <= number <= 24 else None

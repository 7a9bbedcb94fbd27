"""Which words of a text are names that something is called by exactly: ids, error codes, files, what stands in quotes."""

from __future__ import annotations

import re

_QUOTED = re.compile(r"\"([^\"\n]{3,100})\"|`([^`\n]{3,100})`|“([^”\n]{3,100})”")
_WORD = re.compile(r"[A-Za-z0-9_][\w.:/#@-]{3,99}")
_CLOCK = re.compile(r"[\d:.,TZ+/-]+")  # a time, a date or a version: many lines hold it, and none is meant
_LOUD = re.compile(r"[A-Z][A-Z_]{5,}")
_TRACE = re.compile(r"(?<![0-9a-fA-F])[0-9a-fA-F]{32}(?![0-9a-fA-F])")
_FILE = re.compile(r"(?<![\w.])(?:[\w.-]+/)*[\w-]+\.[A-Za-z]{1,5}(?::\d{1,6})?(?![\w.])")


def exact_names(text: str) -> list[str]:
    """Return what only some lines hold: `ord-4c804a93`, `SQLSTATE`, `E1234`, and what stands in quotes. Not times, not words."""
    quoted = [part for match in _QUOTED.findall(text) for part in match if part]
    names = [word.rstrip(".:/-") for word in _WORD.findall(_QUOTED.sub(" ", text))]
    return list(dict.fromkeys((*quoted, *(name for name in names if _tells(name)))))


def _tells(name: str) -> bool:
    if _TRACE.fullmatch(name) or (_CLOCK.fullmatch(name) and not (name.isdecimal() and len(name) >= 5)):
        return False
    has_digit = any(c.isdigit() for c in name)
    return bool(_LOUD.fullmatch(name)) or (has_digit and len(name) >= 4)


def trace_ids(text: str) -> list[str]:
    """Return the ids of request traces in a text, in lower case."""
    return list(dict.fromkeys(found.lower() for found in _TRACE.findall(text)))


def file_names(text: str) -> list[str]:
    """Return the names of files in a text, such as `orders.py`, `src/pay/Bank.java:42`."""
    return list(dict.fromkeys(_FILE.findall(text)))


def stands_in(name: str, text: str) -> bool:
    """Say whether a name stands in a text as a word of its own."""
    return name in text and re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text) is not None

"""One log line as it is shipped, and the level that a raw line names."""

from __future__ import annotations

import msgspec

MAX_LINE_BYTES = 64 * 1024  # what the server keeps of a message

type Attribute = str | int | float | bool | None

_WORDS = {
    "TRACE": "trace",
    "DEBUG": "debug",
    "DBG": "debug",
    "INFO": "info",
    "NOTICE": "info",
    "WARN": "warn",
    "WARNING": "warn",
    "ERROR": "error",
    "ERR": "error",
    "SEVERE": "error",
    "CRITICAL": "fatal",
    "CRIT": "fatal",
    "FATAL": "fatal",
    "PANIC": "fatal",
    "EMERG": "fatal",
    "ALERT": "fatal",
}
_LEVEL_WORDS = 8  # of a line, before its message has surely begun

LEVEL_ORDER = ("trace", "debug", "info", "warn", "error", "fatal")


class Line(msgspec.Struct, frozen=True, omit_defaults=True):
    """A record of `POST /ingest/logs`; `timestamp` is in microseconds since 1970, `level` empty where none was named."""

    timestamp: int
    service: str
    message: str
    level: str = ""
    node: str = ""
    environment: str = ""
    trace_id: str = ""
    span_id: str = ""
    attributes: dict[str, Attribute] = {}


def _spellings() -> dict[str, str]:
    found: dict[str, str] = {}
    for word, level in _WORDS.items():
        forms = (f"[{word}]", f"<{word}>", f"{word}:", f"[{word}]:", f"({word})", f"level={word}", f'level="{word}"')
        for form in forms:
            found |= {form: level, form.lower(): level, form.title(): level}
        # In lower case a bare word is prose: "an error was expected".
        found |= {word: level, f"|{word}|": level, f"severity={word.lower()}": level}
    return found


_SPELLINGS = _spellings()


def guess_level(text: str) -> str:
    """Return the level that the first words of a raw line name, or an empty text."""
    for word in text.split(None, _LEVEL_WORDS)[:_LEVEL_WORDS]:
        level = _SPELLINGS.get(word)
        if level is not None:
            return level
    return ""

"""What the text of a log event says beside its words: error codes, ids of the request trace, its level."""

from __future__ import annotations

import errno
import re

from domain.telemetry import Level, Scalar
from ingest.exceptions import exception_attributes, read_exception
from ingest.fields import parse_level

_READ_CHARS = 8192

_ERRNO = frozenset(errno.errorcode.values())
_ERRNO_NAME = re.compile(r"\bE[A-Z0-9]{2,14}\b")
_CODE = re.compile(
    r"\b(?P<named>ORA-[0-9]{5}|MY-[0-9]{6}|TNS-[0-9]{5}|PLS-[0-9]{5}|SQL[0-9]{4,5}N|AADSTS[0-9]{4,7}|CVE-[0-9]{4}-[0-9]{4,7})\b"
    r"|\bSQLSTATE\W{0,3}(?P<sqlstate>[0-9A-Z]{5})\b"
    r"|\bHRESULT\W{1,4}(?P<hresult>0x[0-9A-Fa-f]{8})\b"
    r"|\b(?:[Ee]rr(?:or|no|)[ _-]?(?:[Cc]ode|[Nn]o|[Nn]umber)?|[Ee]xit(?:ed with)? (?:code|status)|[Ss]tatus[ _-]?[Cc]ode|ERROR)"
    r"(?:\s?[:=#]\s?|\s)[\[(\x22']?(?P<said>-?[0-9]{1,10}|0x[0-9A-Fa-f]{1,16}|[A-Z][A-Z0-9]{1,10}[_-][A-Z0-9_-]{1,30})(?![\w.])"
)
# One of these is in whatever `_CODE` finds.
_CODE_WORDS = ("err", "exit", "status", "sql", "ora-", "my-", "tns-", "pls-", "aadsts", "cve-", "hresult")
_TRACEPARENT = re.compile(r"\b00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}\b")
_TRACE = re.compile(r"\btrace[._-]?id\W{1,4}(?P<id>[0-9a-f]{32}|[0-9a-f]{16})\b", re.IGNORECASE)
_SPAN = re.compile(r"\bspan[._-]?id\W{1,4}(?P<id>[0-9a-f]{16})\b", re.IGNORECASE)
_LEVEL_FIRST = re.compile(r"\W{0,3}(?P<level>[A-Za-z]{4,13})(?:\[[0-9]+\])?\s?[:\]|]")
_LEVEL_SAID = re.compile(r"\b(?:level|severity|lvl)[\x22']?\s?[=:]\s?[\x22']?(?P<level>[A-Za-z]{3,13})\b")


def read_said_fields(message: str) -> dict[str, Scalar]:
    """Return error code, exception and stack frames of a message as attributes; reads its first 8,192 characters."""
    text = message[:_READ_CHARS]
    found: dict[str, Scalar] = {}
    if code := _error_code(text):
        found["error.code"] = code
    if (raised := read_exception(message)) is not None:
        found |= exception_attributes(raised)
    return found


def read_trace_ids(message: str) -> tuple[str, str]:
    """Return the ids of request trace and span that a message names, lower-case hex, or empty texts."""
    text = message[:_READ_CHARS]
    if "00-" in text and (whole := _TRACEPARENT.search(text)) is not None:
        return whole["trace"], whole["span"]
    lower = text.lower()
    trace = _TRACE.search(text) if "trace" in lower else None
    span = _SPAN.search(text) if "span" in lower else None
    return trace["id"].lower() if trace else "", span["id"].lower() if span else ""


def guess_level(message: str) -> Level | None:
    """Return the level that a message without one shows by its first word, a field, or a stack trace; else None."""
    text = message[:512]
    for pattern in (_LEVEL_FIRST.match(text), _LEVEL_SAID.search(text)):
        if pattern is not None and (level := parse_level(pattern["level"])) is not None:
            return level
    if text.lstrip().startswith(("Traceback (most recent", "panic: ", "Exception in thread", "Unhandled exception")):
        return Level.ERROR
    return None


def _error_code(text: str) -> str:
    lower = text.lower()
    found = _CODE.search(text) if any(map(lower.__contains__, _CODE_WORDS)) else None
    if found is not None:
        return next(value for value in found.groups() if value)
    if "E" not in text:
        return ""
    return next((name[0] for name in _ERRNO_NAME.finditer(text) if name[0] in _ERRNO), "")

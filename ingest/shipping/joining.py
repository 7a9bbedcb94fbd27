"""Lines that belong together: a stack trace of Python, Java, Go or Node.js becomes one event.

A line belongs to the one before it if it is indented, or if it is the next part of a trace that has begun. Streams of
one file (stdout and stderr of a container) are kept apart. What is held back is part of the cursor, so that a restart in
the middle of a trace neither loses nor splits it.
"""

from __future__ import annotations

import re

import msgspec

from ingest.shipping.line import MAX_LINE_BYTES

_MAX_LINES = 1000

_TRACEBACK = "Traceback (most recent call last):"
_CHAINED = ("During handling of the above exception", "The above exception was the direct cause")
_JAVA_NEXT = ("Caused by: ", "Suppressed: ")
_GO_HEADS = ("panic: ", "fatal error: ", "SIGSEGV: ", "runtime: ")
_TROUBLE = re.compile(r"WARN|ERR|CRIT|FATAL|SEVERE|EXCEPTION|Exception|PANIC|[Ff]ailed|\b(?:warn|err|fatal|crit)")
_EXCEPTION = re.compile(r"(?:Exception in thread .*|(?:[\w$]+\.)+[\w$]*(?:Exception|Error|Throwable)\b.*)")
_GO_NEXT = re.compile(
    r"goroutine \d+ |\[signal |\[recovered\]|created by |exit status \d|runtime stack:|[\w./*\-]+\(.*\)|"
    r"\.\.\.additional frames|[\w./*\-()\[\]{}]+\(.*\)(?: in goroutine \d+)?$"
)
_NODE_PLACE = re.compile(r"(?:/|file://|node:|[A-Z]:\\).*:\d+$")
_NODE_NEXT = re.compile(r"(?:Uncaught )?[\w.]*(?:Error|Exception)\b|Node\.js v\d|Thrown at:|}$|]$|throw ")


class Held(msgspec.Struct, omit_defaults=True):
    """An event that may go on. `trace` says what kind of trace it is in; `blanks` are empty lines that may belong."""

    time_us: int
    texts: list[str]
    size: int
    trace: str = ""
    blanks: int = 0
    cut: int = 0
    note: str = ""


class Joined(msgspec.Struct, frozen=True):
    """A whole event. `cut` counts bytes that were left out of it; `note` says that it is a part of something larger."""

    time_us: int
    stream: str
    text: str
    is_trace: bool
    cut: int = 0
    note: str = ""


class Joiner:
    """Joins the lines of one file. `held` is its whole state, by stream; set `joins` to False to keep lines apart."""

    def __init__(self, joins: bool = True, held: dict[str, Held] | None = None) -> None:
        self.held = {} if held is None else held
        self._joins = joins

    def add(self, time_us: int, text: str, stream: str = "", cut: int = 0, note: str = "") -> Joined | None:
        """Take the next line; returns the event that it ends, if it ends one. Blank lines alone are no events."""
        held = self.held.get(stream)
        if len(text) > MAX_LINE_BYTES // 4:
            text, more = cut_text(text)
            cut += more
        if not text or text.isspace():
            if held is not None:
                held.blanks += 1
            return None
        if held is None:
            self.held[stream] = _begin(time_us, text, cut, note)
            return None
        if self._joins and not note and _belongs(held, text):
            if held.size + len(text) <= MAX_LINE_BYTES // 2 and len(held.texts) < _MAX_LINES:
                _append(held, text, cut)
                return None
            note = "continued"
        begun = _begin(time_us, text, cut, note)
        if note == "continued" and not begun.trace:
            begun.trace = held.trace
        self.held[stream] = begun
        return _join(stream, held)

    def flush(self) -> list[Joined]:
        """Return every event that is held back; nothing more will be joined to it."""
        done = [_join(stream, held) for stream, held in self.held.items()]
        self.held.clear()
        return done


def cut_text(text: str) -> tuple[str, int]:
    """Return what of a text fits an event, and the number of bytes that were left out."""
    raw = text.encode("utf-8", "backslashreplace")
    if len(raw) <= MAX_LINE_BYTES:
        return text, 0
    return raw[:MAX_LINE_BYTES].decode("utf-8", "ignore"), len(raw) - MAX_LINE_BYTES


def _begin(time_us: int, text: str, cut: int, note: str) -> Held:
    return Held(time_us, [text], len(text), _begun_trace(text), 0, cut, note)


def _append(held: Held, text: str, cut: int) -> None:
    held.texts += [""] * held.blanks
    held.texts.append(text)
    held.size += len(text) + held.blanks + 1
    held.blanks = 0
    held.cut += cut


def _join(stream: str, held: Held) -> Joined:
    return Joined(held.time_us, stream, "\n".join(held.texts), bool(held.trace), held.cut, held.note)


def _begun_trace(text: str) -> str:
    if text.startswith(_TRACEBACK):
        return "python"
    if text.startswith(_GO_HEADS):
        return "go"
    if text[0] in "/fnABCDEFGHIJKLMNOPQRSTUVWXYZ" and _NODE_PLACE.match(text):
        return "node"
    return ""


def _belongs(held: Held, text: str) -> bool:
    """Say whether a line that is not blank goes on with what is held; notes the kind of trace that it shows."""
    if text[0] in " \t":
        if held.blanks and not held.trace:
            return False
        if not held.trace and text.lstrip().startswith(("at ", 'File "', "... ")):
            held.trace = "java"
        elif held.trace == "python-end":
            held.trace = "python"
        return True
    match held.trace:
        case "python":  # what is not indented any more is the exception itself
            held.trace = "python" if text.startswith(_TRACEBACK) else "python-end"
            return True
        case "python-end":
            if text.startswith(_CHAINED):
                held.trace = "python-chain"
                return True
            return False
        case "python-chain":
            held.trace = "python"
            return text.startswith(_TRACEBACK)
        case "go":
            return _GO_NEXT.match(text) is not None
        case "node":
            return _NODE_NEXT.match(text) is not None
    return not held.blanks and _goes_on(held, text)


def _goes_on(held: Held, text: str) -> bool:
    if text.startswith(_JAVA_NEXT):
        held.trace = "java"
        return True
    if text[0] in "}])":  # the end of an object that was printed over several lines
        return held.texts[-1][0] in " \t" and len(text) <= 3
    # A logger prints the exception behind its message; without one it is an event of its own.
    if text.startswith(_TRACEBACK):
        begun = "python"
    elif not held.trace and "." in text and _EXCEPTION.match(text):
        begun = "java"
    else:
        return False
    if _TROUBLE.search(held.texts[0], 0, 300) is None:
        return False
    held.trace = begun
    return True

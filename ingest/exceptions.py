"""Exceptions and stack traces in the text of a log event: type, message and frames, for eight languages."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from domain.telemetry import Scalar

MAX_FRAMES = 30
_LINES = 400
_LINE_CHARS = 600
_TYPE_CHARS = 200


@dataclass(frozen=True, slots=True)
class Frame:
    """One place of a stack trace; `line` is 0 where it is not known."""

    file: str
    line: int
    function: str


@dataclass(frozen=True, slots=True)
class Raised:
    """An exception as a log event tells it. `frames` begin where it was raised; `cause` is the type of its root cause."""

    type: str
    message: str
    frames: tuple[Frame, ...]
    cause: str = ""


_NAME = r"[\w.$<>\[\]`~|/*()-]{1,200}"
_FRAMES = tuple(
    re.compile(pattern)
    for pattern in (
        r'\s{0,40}File "(?P<file>[^"]{1,300})", line (?P<line>[0-9]{1,7})(?:, in (?P<function>.{1,120}))?',  # Python
        r"\s{0,40}at (?P<function>[\w.$<>/@-]{1,250})\((?P<file>[\w.$-]{1,120}):(?P<line>[0-9]{1,7})\)",  # Java
        r"\s{0,40}at (?P<function>[\w.$<>/@-]{1,250})\((?P<file>Native Method|Unknown Source)\)",
        r"\s{0,40}at (?P<function>[^(]{1,200})\([^)]{0,200}\) in (?P<file>.{1,250}):line (?P<line>[0-9]{1,7})",  # .NET
        r"\s{0,40}at (?:(?P<function>[^(]{1,150}) \()?(?P<file>(?:file:///?|node:)?[^\s()]{1,250}):(?P<line>[0-9]{1,7}):[0-9]{1,6}\)?",  # Node, Rust
        r"\s{0,40}#[0-9]{1,3} (?P<file>[^(]{1,250})\((?P<line>[0-9]{1,7})\): (?P<function>[^(]{1,150})",  # PHP
        r"\s{0,40}(?:from |[0-9]{1,3}: )?(?P<file>[^\s:]{1,250}\.rb):(?P<line>[0-9]{1,7}):in [`'](?P<function>[^'`]{1,150})'",  # Ruby
        r"\s{0,40}(?P<file>[^\s:]{1,250}\.(?:go|s)):(?P<line>[0-9]{1,7})(?: \+0x[0-9a-f]{1,16})?$",  # Go
    )
)
_GO_CALL = re.compile(rf"(?:created by )?(?P<function>{_NAME}?)\([^()]{{0,200}}\)$|created by (?P<made>{_NAME})")
_RUST_CALL = re.compile(r"\s{1,40}[0-9]{1,3}: (?:0x[0-9a-f]{1,16} - )?(?P<function>\S.{0,200})")
_TYPE = r"(?:[A-Za-z_][\w$]{0,80}[.\\]|::){0,12}[A-Z][\w$]{0,80}"
_WORD = re.compile(r"[\w.$\\:]++")
_RAISED = re.compile(
    r"(?:[A-Za-z_][\w$]*(?:\.|\\|::))*+(?:[A-Z]\w*)?(?:Error|Exception|Throwable|Fault|Exit|Interrupt|Warning)[\w$]{0,20}:?"
)
_PYTHON_LAST = re.compile(r"(?P<type>[A-Za-z_][\w.]{0,150})(?::\s(?P<message>.{0,300}))?$")
_CAUSE = re.compile(rf"\s{{0,40}}(?:Caused by: |---> )(?P<type>{_TYPE})")
_PANIC = re.compile(
    r"panic: (?P<message>.{1,300})|thread '[^']{0,80}'(?: \([0-9]{1,12}\))? panicked at (?P<place>.{1,300})"
)
_RAISING = ("Error", "Exception", "Throwable", "Fault", "panic", "Traceback")


def read_exception(text: str) -> Raised | None:
    """Return the exception that a text tells of, or None; takes time linear in the text, and reads 400 lines of it."""
    if not _may_raise(text):
        return None
    lines = [line[:_LINE_CHARS] for line in text.split("\n", _LINES)[:_LINES]]
    frames = list(_read_frames(lines))
    python = any(line.lstrip().startswith("Traceback (most recent") for line in lines)
    if python:
        frames.reverse()
    found = _python_type(lines) if python else None
    found = found or _first_type(lines)
    if found is None:
        return None
    kind, message = found
    causes = [match["type"] for line in lines if (match := _CAUSE.match(line))]
    return Raised(kind, message.strip(), tuple(frames[:MAX_FRAMES]), causes[-1] if causes else "")


def _may_raise(text: str) -> bool:
    return any(map(text.__contains__, _RAISING))


def exception_attributes(raised: Raised) -> dict[str, Scalar]:
    """Return an exception as attributes, with OpenTelemetry's names where it has some."""
    found: dict[str, Scalar] = {"exception.type": raised.type}
    if raised.message:
        found["exception.message"] = raised.message
    if raised.cause:
        found["exception.cause"] = raised.cause
    if raised.frames:
        top = raised.frames[0]
        found |= {"code.file.path": top.file, "code.function.name": top.function}
        if top.line:
            found["code.line.number"] = top.line
        found["exception.frames"] = "\n".join(f"{frame.file}:{frame.line} {frame.function}" for frame in raised.frames)
    return found


def _read_frames(lines: list[str]) -> Iterator[Frame]:
    before = ""
    for line in lines:
        found = next((match for pattern in _FRAMES if (match := pattern.match(line))), None)
        if found is not None:
            part = found.groupdict()
            function = part.get("function") or _function_above(before)
            yield Frame(part["file"].strip(), int(part.get("line") or 0), function.strip())
        before = line


def _function_above(line: str) -> str:
    """Return the function that Go and Rust write on the line above its place, or nothing."""
    found = _RUST_CALL.match(line) or _GO_CALL.match(line.strip())
    if found is None:
        return ""
    part = found.groupdict()
    return part.get("function") or part.get("made") or ""


def _python_type(lines: list[str]) -> tuple[str, str] | None:
    """Return the type from the first line that is not indented below the last frame."""
    below: list[str] = []
    for line in reversed(lines):
        if line.startswith((" ", "\t")):
            break
        below.append(line)
    found = next((match for line in reversed(below) if line.strip() and (match := _PYTHON_LAST.match(line))), None)
    return (found["type"], found["message"] or "") if found else None


def _first_type(lines: list[str]) -> tuple[str, str] | None:
    for line in lines:
        if (panic := _PANIC.search(line)) is not None:
            return "panic", panic["message"] or panic["place"]
        if not _may_raise(line):
            continue
        for word in _WORD.finditer(line):
            if len(word[0]) <= _TYPE_CHARS and _RAISED.fullmatch(word[0]):
                said = line[word.end() :] if word[0].endswith(":") else ""
                return word[0].rstrip(":"), said[:300]
    return None

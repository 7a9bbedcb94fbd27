"""Stack traces as text, read into frames. Pure and bounded; text that holds no trace gives no frames.

Read are the traces of Python, Java (with Kotlin and Scala), Go, Node, .NET, Ruby, Rust, PHP, and gdb or a sanitizer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

type FrameLanguage = Literal["python", "java", "go", "node", "dotnet", "ruby", "rust", "php", "c"]

MAX_FRAMES = 256
_MAX_TEXT = 256_000
_MAX_LINE = 2_000


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame as it was written: `file` is a path or a bare name with / between its parts, "" where none is given.

    `line` counts from 1, 0 where none is given. `function` is the bare name; `owner` what it belongs to: the package
    and class of Java and .NET, the package path of Go, the crate path of Rust.
    """

    language: FrameLanguage
    file: str
    line: int
    function: str
    owner: str = ""


_NAME = r"[^\s\"'`()]+"
_PYTHON = re.compile(r"\s*(?:\|\s*)*File \"(?P<file>[^\"]+)\", line (?P<line>\d{1,7})(?:, in (?P<function>.+))?")
_JAVA = re.compile(
    r"\s*at (?:[\w.@-]*/{1,2})*(?P<owner>[\w$.]+)\.(?P<function>[\w$<>-]+)\((?P<file>[\w$ -]+\.[A-Za-z]+)(?::(?P<line>\d{1,7}))?\)"
)
_NODE = re.compile(
    r"\s*at (?:(?:async |new )*(?P<function>[^\s()]+)(?: \[as [^\]\s]+\])? \()?"
    r"(?P<file>(?:[a-z]+://)?[^\s()]*[^\s():]):(?P<line>\d{1,7}):\d{1,7}\)?\s*$"
)
_DOTNET = re.compile(r"\s*at (?P<name>[^\s()]+)\([^()]*\)(?: in (?P<file>.+):line (?P<line>\d{1,7}))?\s*$")
_GO_PLACE = re.compile(r"\t(?P<file>\S.*\.(?:go|s)):(?P<line>\d{1,7})(?: \+0x[0-9a-f]+)?\s*$")
_RUBY = re.compile(
    r"(?:.{0,80}?\s|\s*|)(?P<file>[^\s:\"'(]+\.(?:rb|rake|erb|ru)):(?P<line>\d{1,7}):in [`'](?P<function>[^'`]+)'"
)
_RUST_CALL = re.compile(r"\s*\d{1,4}:\s+(?:0x[0-9a-f]+ - )?(?P<name>[<\w].*)$")
_RUST_PLACE = re.compile(r"\s+at (?P<file>\S+\.rs):(?P<line>\d{1,7})(?::\d{1,5})?\s*$")
_RUST_PANIC = re.compile(r".{0,200}?panicked at (?:'.*', )?(?P<file>[^\s':]+\.rs):(?P<line>\d{1,7})(?::\d{1,5})?")
_PHP = re.compile(r"#\d{1,4} (?P<file>\S.*\.(?:php|phtml|inc))\((?P<line>\d{1,7})\): (?P<name>[^\s(]+)?")
_PHP_THROWN = re.compile(r".{0,400}?\bin (?P<file>/?[^\s:()]+\.(?:php|phtml|inc))(?::| on line )(?P<line>\d{1,7})\s*$")
_C = re.compile(
    r"\s*#\d{1,4}\s+(?:0x[0-9a-f]+ in )?(?P<function>[^\s(]+)(?: ?\(.*\))?(?: at)? (?P<file>\S+\.(?:c|cc|cpp|cxx|h|hh|hpp|m)):(?P<line>\d{1,7})"
)
_NEW_CAUSE = re.compile(r"\s*(?:Caused by:|Suppressed:|\[CIRCULAR REFERENCE)")


def parse_frames(text: str) -> tuple[Frame, ...]:
    """Return the frames of every trace in a text, the innermost first.

    Where one error was caused by another, the frames of the first cause come first.
    """
    if "\n" not in text and "\\n" in text:  # a trace that was written into one line
        text = text.replace("\\n", "\n").replace("\\t", "\t")
    lines = [line[:_MAX_LINE] for line in text[:_MAX_TEXT].split("\n")]
    frames: dict[Frame, None] = {}
    for frame in _ordered(lines):
        frames[frame] = None
        if len(frames) >= MAX_FRAMES:
            break
    return tuple(frames)


def _ordered(lines: list[str]) -> Iterator[Frame]:
    sections: list[list[Frame]] = [[]]
    own_order = True
    previous = ""
    for line in lines:
        if line.lstrip(" |+").startswith("Traceback (most recent call last)"):
            sections.append([])
        elif _NEW_CAUSE.match(line):
            # Of Java's causes the last is the first; what was suppressed beside it is not one.
            sections.insert(len(sections) if line.lstrip().startswith("Suppressed") else 0, [])
            own_order = False
        elif frame := _read_frame(line, previous):
            section = sections[-1] if own_order else sections[0]
            if frame.language == "python":
                section.insert(0, frame)
            else:
                section.append(frame)
        previous = line
    for section in sections:
        yield from section


def _read_frame(line: str, previous: str) -> Frame | None:
    if found := _PYTHON.match(line):
        return Frame("python", _path(found["file"]), int(found["line"]), (found["function"] or "").strip())
    if "at " in line and (frame := _read_at(line, previous)):
        return frame
    if line.startswith("\t") and (found := _GO_PLACE.match(line)):
        return _go_frame(found, previous)
    if "#" in line and (found := _PHP.match(line.lstrip())):
        owner, _, function = re.sub(r"->|::", ".", found["name"] or "").rpartition(".")
        return Frame("php", _path(found["file"]), int(found["line"]), function, owner)
    if "#" in line and (found := _C.match(line)):
        return Frame("c", _path(found["file"]), int(found["line"]), found["function"])
    if ":in " in line and (found := _RUBY.match(line)):
        name = re.sub(r"^(?:(?:block|rescue|ensure)(?: \(\d+ levels\))? in )+", "", found["function"])
        owner, _, function = re.sub(r"#|::", ".", name).rpartition(".")
        return Frame("ruby", _path(found["file"]), int(found["line"]), function, owner)
    if " in " in line and (found := _PHP_THROWN.match(line)):
        return Frame("php", _path(found["file"]), int(found["line"]), "")
    return None


def _read_at(line: str, previous: str) -> Frame | None:
    if "\tat " in line or line.lstrip().startswith("at "):
        if found := _JAVA.match(line):
            owner = found["owner"].rpartition("$$")[0] or found["owner"]
            return Frame("java", found["file"], int(found["line"] or 0), found["function"], owner)
        if found := _RUST_PLACE.match(line):
            return _rust_frame(found, previous)
        if found := _NODE.match(line):
            owner, _, function = (found["function"] or "").rpartition(".")
            return Frame("node", _path(found["file"]), int(found["line"]), function, owner)
        if found := _DOTNET.match(line):
            return _dotnet_frame(found)
    elif "panicked" in line and (found := _RUST_PANIC.match(line)):
        return Frame("rust", _path(found["file"]), int(found["line"]), "")
    elif found := _C.match(line):
        return Frame("c", _path(found["file"]), int(found["line"]), found["function"])
    return None


def _go_frame(place: re.Match[str], previous: str) -> Frame:
    name = previous.strip().removeprefix("created by ").split(" in goroutine ")[0]
    if name.endswith(")"):
        name = name[: name.rindex("(")] if "(" in name else ""
    folder, slash, rest = name.rpartition("/")
    package, _, function = rest.partition(".")
    function = re.sub(r"\(\*?([\w\[\].]+)\)", r"\1", function)
    function = re.sub(r"\.func\d+(?:\.\d+)*$|\[\.\.\.\]", "", function)
    return Frame("go", _path(place["file"]), int(place["line"]), function.rpartition(".")[2], folder + slash + package)


def _rust_frame(place: re.Match[str], previous: str) -> Frame:
    call = _RUST_CALL.match(previous)
    name = re.sub(r"::h[0-9a-f]{16}$|::\{\{closure\}\}|::<[^<>]*>", "", call["name"].strip()) if call else ""
    owner, _, function = name.rpartition("::")
    return Frame("rust", _path(place["file"]), int(place["line"]), function, owner)


def _dotnet_frame(found: re.Match[str]) -> Frame:
    # Async methods run in a class of the compiler: Shop.Cart.<Add>d__7.MoveNext is Add of Shop.Cart.
    name = re.sub(r"\.?<(\w+)>[\w|`]*\.MoveNext$", r".\1", found["name"])
    name = re.sub(r"[+.]<>c[\w<>]*\.?<(\w+)>[\w|]*$", r".\1", name)
    name = re.sub(r"`\d+(?:\[[^\]]*\])?|\[[^\]]*\]", "", name)
    owner, _, function = name.rpartition(".")
    return Frame("dotnet", _path(found["file"] or ""), int(found["line"] or 0), function, owner.rstrip("."))


def _path(written: str) -> str:
    """Return a path with forward slashes and without scheme, query or drive letter."""
    path = re.sub(r"^[a-z-]{2,}:(?://)?", "", written.strip())
    path = re.sub(r"^/?[A-Za-z]:(?=[\\/])", "", path)
    return path.replace("\\", "/").split("?")[0]

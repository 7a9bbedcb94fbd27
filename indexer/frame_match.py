"""Which file of a code base a stack frame speaks of: the longest common end of both paths, whatever they begin with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from domain.frames import Frame
from indexer.code_index import CodeIndex, IndexedFile

_JVM_SUFFIXES = (".java", ".kt", ".scala", ".groovy")


@dataclass(frozen=True, slots=True)
class FramePlace:
    """A frame and a file that it may speak of. `sure` is False where other files fit as well, or little fits.

    `symbol` is the definition around the line, "" where there is none; `parts` how many parts of the paths agree.
    """

    frame: Frame
    file: IndexedFile
    line: int
    symbol: str
    parts: int
    sure: bool


def place_frames(index: CodeIndex, frames: Sequence[Frame]) -> list[FramePlace]:
    """Return the places that frames speak of, the innermost of the project first; foreign frames have none.

    What several files fit equally well is listed with all of them, none of them sure.
    """
    sure: list[FramePlace] = []
    unsure: list[FramePlace] = []
    for frame in frames:
        places = _place(index, frame)
        if len(places) == 1 and places[0].sure:
            sure += places
        else:
            unsure += places
    return [*sure, *unsure]


def _place(index: CodeIndex, frame: Frame) -> list[FramePlace]:
    wanted = _wanted(frame)
    scored: list[tuple[int, bool, IndexedFile]] = []
    for file in _candidates(index, frame, wanted[-1] if wanted else ""):
        have = file.path.lower().split("/")
        parts = _common_end(have, wanted)
        known = _knows(file, frame)
        complete = parts in (len(have), len(wanted))
        if known if not parts else parts > 1 or complete or known:
            scored.append((parts, known, file))
    if not scored:
        return []
    best = max((known, parts) for parts, known, _ in scored)
    fits = [(parts, file) for parts, known, file in scored if (known, parts) == best]
    sure = len(fits) == 1 and (best[0] or best[1] > 1 or best[1] == len(wanted))
    return [_at(frame, file, parts, sure) for parts, file in fits[:5]]


def _wanted(frame: Frame) -> list[str]:
    """Return the parts of the path that the frame names, in lower case."""
    if frame.language == "java":
        package = frame.owner.split("$")[0].split(".")[:-1]
        return [part.lower() for part in (*package, frame.file)]
    if frame.file:
        return [part.lower() for part in frame.file.split("/") if part not in ("", ".", "..")]
    if frame.language == "dotnet":
        return [f"{part}.cs".lower() if last else part.lower() for part, last in _with_last(frame.owner)]
    return []


def _with_last(owner: str) -> list[tuple[str, bool]]:
    parts = owner.replace("+", ".").split(".")
    return [(part, number == len(parts) - 1) for number, part in enumerate(parts)]


def _candidates(index: CodeIndex, frame: Frame, name: str) -> list[IndexedFile]:
    found = list(index.by_name.get(name, []))
    if not found and frame.language in ("java", "dotnet") and frame.owner:
        # A Kotlin or C# class may live in a file of another name.
        bare = frame.owner.replace("+", ".").split("$")[0].rpartition(".")[2]
        suffixes = (".cs",) if frame.language == "dotnet" else _JVM_SUFFIXES
        found = [f for f, s in index.by_symbol.get(bare, []) if s.kind == "class" and f.path.endswith(suffixes)]
    return found


def _common_end(have: Sequence[str], wanted: Sequence[str]) -> int:
    parts = 0
    for left, right in zip(reversed(have), reversed(wanted), strict=False):
        if left != right:
            break
        parts += 1
    return parts


def _knows(file: IndexedFile, frame: Frame) -> bool:
    """Tell whether the file has the frame's function around the frame's line."""
    name = frame.function.split(".")[-1]
    if name in ("", "<module>", "<main>", "<top (required)>"):
        return False
    if not frame.line:
        return any(symbol.name == name for symbol in file.facts.symbols)
    return any(s.name == name and s.start_line <= frame.line <= s.end_line for s in file.facts.symbols)


def _at(frame: Frame, file: IndexedFile, parts: int, sure: bool) -> FramePlace:
    symbol = file.symbol_at(frame.line) if frame.line else None
    if symbol is None and not frame.line:
        named = [s for s in file.facts.symbols if s.name == frame.function]
        symbol = named[0] if len(named) == 1 else None
    line = frame.line or (symbol.start_line if symbol else 0)
    return FramePlace(frame, file, line, symbol.qualified if symbol else "", parts, sure)

"""The facts of a whole code base side by side, with what is looked up in them most: paths, symbols, lines."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from domain.code import Chunk, FileFacts, LogStatement, Symbol


@dataclass(frozen=True, slots=True)
class IndexedFile:
    """A file of a root: its path with / between the parts, the hash of its content, and what is known of it."""

    root: str
    path: str
    content_hash: str
    facts: FileFacts

    def symbol_at(self, line: int) -> Symbol | None:
        """Return the innermost definition around a line."""
        around = [s for s in self.facts.symbols if s.start_line <= line <= s.end_line]
        return min(around, key=lambda s: (s.end_line - s.start_line, -len(s.qualified)), default=None)

    def chunk_at(self, line: int) -> Chunk | None:
        """Return the chunk that holds a line."""
        return next((c for c in self.facts.chunks if c.start_line <= line <= c.end_line), None)


class CodeIndex:
    """The files of one state of one or several roots. Never changed: a new state is a new index."""

    def __init__(self, files: Iterable[IndexedFile]) -> None:
        self.files = tuple(sorted(files, key=lambda file: (file.root, file.path)))

    @cached_property
    def by_name(self) -> dict[str, list[IndexedFile]]:
        """The files by their last part, in lower case."""
        found: defaultdict[str, list[IndexedFile]] = defaultdict(list)
        for file in self.files:
            found[file.path.rpartition("/")[2].lower()].append(file)
        return dict(found)

    @cached_property
    def by_symbol(self) -> dict[str, list[tuple[IndexedFile, Symbol]]]:
        """The definitions by their bare name."""
        found: defaultdict[str, list[tuple[IndexedFile, Symbol]]] = defaultdict(list)
        for file in self.files:
            for symbol in file.facts.symbols:
                found[symbol.name].append((file, symbol))
        return dict(found)

    @cached_property
    def statements(self) -> list[tuple[IndexedFile, LogStatement]]:
        """Every log statement."""
        return [(file, statement) for file in self.files for statement in file.facts.log_statements]

    @cached_property
    def lowered(self) -> list[tuple[IndexedFile, Chunk, str]]:
        """Every chunk with its text in lower case."""
        return [(file, chunk, chunk.text.lower()) for file in self.files for chunk in file.facts.chunks]

    @cached_property
    def by_chunk(self) -> dict[str, tuple[IndexedFile, Chunk]]:
        """Every chunk by its id, in the first file that holds it."""
        found: dict[str, tuple[IndexedFile, Chunk]] = {}
        for file in self.files:
            for chunk in file.facts.chunks:
                found.setdefault(chunk.id, (file, chunk))
        return found

    def file(self, path: str, root: str = "") -> IndexedFile | None:
        """Return a file by its exact path (of one root, where several have it)."""
        named = self.by_name.get(path.rpartition("/")[2].lower(), [])
        return next((f for f in named if f.path == path and (not root or f.root == root)), None)

"""What is known of a source file from its content alone: chunks, symbols, calls, imports and log statements.

Facts are a function of the content and the language, never of the path, so that equal files share them. Lines count
from 1 and both ends are included. A scope is the dotted path of the definitions around something ("" at the top).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

type ChunkKind = Literal["function", "class", "block", "code", "text"]
type SymbolKind = Literal["function", "method", "class", "block"]
type StatementKind = Literal["log", "print", "raise"]


@dataclass(frozen=True, slots=True)
class Chunk:
    """A stretch of whole lines. The chunks of a file cover it without gaps and without overlaps.

    `id` is a hash of language, scope and text: moving code up or down, or to another file, does not change it.
    `signature` and `doc` are those of the innermost definition around it (of the first one, where there are several).
    """

    id: str
    kind: ChunkKind
    scope: str
    start_line: int
    end_line: int
    text: str
    signature: str = ""
    doc: str = ""


@dataclass(frozen=True, slots=True)
class Symbol:
    """A definition. `qualified` is its scope and name, dotted; `bases` are the names that a class inherits from."""

    name: str
    qualified: str
    kind: SymbolKind
    start_line: int
    end_line: int
    signature: str = ""
    doc: str = ""
    bases: tuple[str, ...] = ()

    @property
    def scope(self) -> str:
        return self.qualified[: -len(self.name) - 1]


@dataclass(frozen=True, slots=True)
class CallSite:
    """A call: `name` is what is called, `receiver` the text before the dot ("" for a bare call), `caller` the scope."""

    name: str
    receiver: str
    line: int
    caller: str


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name. `name` is "" where the module itself comes in, "*" for all of it; `alias` is how it is called here."""

    module: str
    name: str
    alias: str
    line: int


@dataclass(frozen=True, slots=True)
class LogStatement:
    """A place that writes (or raises) a message. `template` is its text with `<*>` where a value goes in.

    `level` is a lower-case word where the statement says it, else "". `callee` is what is called, as written.
    """

    kind: StatementKind
    level: str
    callee: str
    template: str
    line: int
    end_line: int
    symbol: str


@dataclass(frozen=True, slots=True)
class FileFacts:
    """Everything read from one content. `problems` are sentences on what could not be read, and why."""

    language: str
    chunks: tuple[Chunk, ...] = ()
    symbols: tuple[Symbol, ...] = ()
    calls: tuple[CallSite, ...] = ()
    imports: tuple[Import, ...] = ()
    log_statements: tuple[LogStatement, ...] = ()
    problems: tuple[str, ...] = ()

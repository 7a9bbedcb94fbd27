"""Parsers and patterns, one `queries/*.scm` per language, and a parse that ends in time whatever the content is."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import cast

from tree_sitter import Node, Parser, Query, QueryCursor
from tree_sitter_language_pack import SupportedLanguage, get_language

type Match = dict[str, list[Node]]

_FOLDER = Path(__file__).parent / "queries"
_PARSE_SECONDS = 2.0
_SLICE = 1 << 16
_MAX_MATCHES = 100_000


@dataclass(frozen=True, slots=True)
class Syntax:
    """A parsed file: the root of its tree, and the matches of its language's patterns in the order of the text."""

    root: Node
    matches: list[Match]
    problems: tuple[str, ...]


def has_grammar(language: str) -> bool:
    """Tell whether there are patterns for a language."""
    return language in _languages()


def parse(language: str, content: bytes) -> Syntax | None:
    """Parse a file and find the patterns in it; None where that takes too long."""
    parser, query = _load(language)
    deadline = time.monotonic() + _PARSE_SECONDS

    def read(offset: int, _point: object) -> bytes:
        # The parser has no clock of its own: a file that "ends" at the deadline ends the parse.
        return content[offset : offset + _SLICE] if time.monotonic() < deadline else b""

    tree = parser.parse(read)
    if time.monotonic() >= deadline:
        return None
    # Once more from the bytes: unchanged parts are taken over, and reading the text of a node needs no call back.
    tree = parser.parse(content, tree)
    cursor = QueryCursor(query, match_limit=4096)
    found = cursor.matches(tree.root_node)
    matches = [match for _, match in found[:_MAX_MATCHES]]
    problems: tuple[str, ...] = ()
    if len(found) > _MAX_MATCHES:
        problems = (f"only the first {_MAX_MATCHES:,} of {len(found):,} definitions and calls were read",)
    return Syntax(tree.root_node, matches, problems)


@cache
def _languages() -> frozenset[str]:
    return frozenset(path.stem for path in _FOLDER.glob("*.scm"))


@cache
def _load(language: str) -> tuple[Parser, Query]:
    grammar = get_language(cast(SupportedLanguage, language))
    return Parser(grammar), Query(grammar, (_FOLDER / f"{language}.scm").read_text(encoding="utf-8"))

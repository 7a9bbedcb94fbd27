"""Reads the facts of a file from its content: pure, and bounded in time and memory whatever the content is."""

from __future__ import annotations

from itertools import accumulate

from domain.code import FileFacts
from indexer.languages import TEXT, language_of
from indexer.text_chunks import chunk_text, split_lines

FACTS_VERSION = 2
"""Grows with every change that reads other facts from the same content."""
UNREAD = 0
"""The version of a code base of which not every file has been read yet."""

MAX_FILE_BYTES = 4 << 20
_MAX_PARSED_BYTES = 2 << 20
_MINIFIED_LINE = 400
_MAX_NESTING = 400
_PRINTABLE = bytes(code for code in range(256) if code >= 32 or code in b"\t\n\r\f")
_NO_BRACKET = bytes(code for code in range(256) if code not in b"()[]{}")


def read_facts(path: str, content: bytes) -> FileFacts:
    """Return what a file holds; what cannot be parsed is cut into chunks of text, with a line that says why."""
    language = language_of(path)
    problems = []
    if len(content) > MAX_FILE_BYTES:
        problems.append(f"only the first {MAX_FILE_BYTES >> 20} MiB of {len(content) >> 20} were read")
        content = content[:MAX_FILE_BYTES]
    text = content.decode("utf-8", "replace")
    lines = split_lines(text)
    if language != TEXT:
        if reason := _why_unread(content):
            problems.append(f"read as text: {reason}")
        else:
            # Broken bytes are replaced before the parse, so that both count the same places.
            facts = _parsed(language, text.encode("utf-8", "replace"), lines, problems)
            if facts is not None:
                return facts
            problems.append("read as text: parsing it took too long")
    return FileFacts(language, chunks=chunk_text(lines, language), problems=tuple(problems))


def _why_unread(content: bytes) -> str:
    if len(content) > _MAX_PARSED_BYTES:
        return f"{len(content) >> 10} KiB are more than is parsed ({_MAX_PARSED_BYTES >> 10} KiB)"
    if len(content) > 20_000 and len(content) / (1 + content.count(b"\n")) > _MINIFIED_LINE:
        return "its lines are too long to be written by people (minified or generated)"
    if len(content.translate(None, _PRINTABLE)) > len(content) // 50:
        return "it holds control characters"
    if _depth(content) > _MAX_NESTING:
        return f"its brackets are nested more than {_MAX_NESTING} deep"
    return ""


def _depth(content: bytes) -> int:
    """Return how deep the brackets are nested, those in texts and comments included."""
    brackets = content.translate(None, _NO_BRACKET)
    return max(accumulate(1 if bracket in b"([{" else -1 for bracket in brackets), default=0)


def _parsed(language: str, content: bytes, lines: list[str], problems: list[str]) -> FileFacts | None:
    # What parses takes tens of milliseconds to load: not before there is something to parse.
    from indexer.code_chunks import chunk_code
    from indexer.grammar import parse
    from indexer.imports import read_imports
    from indexer.statements import read_statements
    from indexer.syntax import read_calls, read_outline, read_symbols

    syntax = parse(language, content)
    if syntax is None:
        return None
    outline = read_outline(syntax.matches)
    return FileFacts(
        language=language,
        chunks=chunk_code(lines, language, syntax.root, outline),
        symbols=read_symbols(outline),
        calls=read_calls(syntax.matches, outline),
        imports=read_imports(language, syntax.matches),
        log_statements=read_statements(language, syntax.matches, outline),
        problems=(*problems, *syntax.problems),
    )

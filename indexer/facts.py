"""Reads the facts of a file from its content: pure, and bounded in time and memory whatever the content is."""

from __future__ import annotations

from domain.code import FileFacts
from indexer.languages import language_of
from indexer.text_chunks import chunk_text, split_lines

FACTS_VERSION = 1
"""Grows with every change that reads other facts from the same content."""

MAX_FILE_BYTES = 4 << 20


def read_facts(path: str, content: bytes) -> FileFacts:
    """Return what a file holds; what cannot be parsed is cut into chunks of text, with a line that says why."""
    language = language_of(path)
    problems = []
    if len(content) > MAX_FILE_BYTES:
        problems.append(f"only the first {MAX_FILE_BYTES >> 20} MiB of {len(content) >> 20} were read")
        content = content[:MAX_FILE_BYTES]
    text = content.decode("utf-8", "replace")
    return FileFacts(language, chunks=chunk_text(split_lines(text), language), problems=tuple(problems))

"""Chunks of a file without a grammar: paragraphs, merged while they are small and cut where they are large."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from blake3 import blake3

from domain.code import Chunk

BUDGET = 900
"""How many bytes that are not blank a chunk may hold; only a single line can be longer."""

MAX_LINE = 2_000


def chunk_id(language: str, scope: str, text: str) -> str:
    """Return the id of a chunk: a pure function of what it says, not of where it stands."""
    return blake3("\0".join((language, scope, text)).encode("utf-8", "surrogatepass")).hexdigest(length=16)


def split_lines(text: str) -> list[str]:
    """Return the lines with their ends, as editors, compilers and stack traces count them: by line feeds alone.

    A line longer than MAX_LINE is cut: what is written by machines is not read by people.
    """
    lines = [line + "\n" for line in text.split("\n")]
    lines[-1] = lines[-1][:-1]
    if not lines[-1]:
        lines.pop()
    if len(text) > MAX_LINE:
        lines = [line if len(line) <= MAX_LINE else line[: MAX_LINE - 1] + "\n" for line in lines]
    return lines


def weigh(line: str) -> int:
    """Return how many characters of a line are not blank."""
    return len("".join(line.split()))


def chunk_text(lines: Sequence[str], language: str) -> tuple[Chunk, ...]:
    """Return chunks that cover the lines (with their line ends) without gaps."""
    chunks = []
    for start, end in _paragraphs(lines):
        text = "".join(lines[start:end])
        chunks.append(Chunk(chunk_id(language, "", text), "text", "", start + 1, end, text))
    return tuple(chunks)


def _paragraphs(lines: Sequence[str]) -> Iterator[tuple[int, int]]:
    start, blank, weight = 0, 0, 0
    for number, line in enumerate(lines):
        size = weigh(line)
        if weight and weight + size > BUDGET:
            # Break behind the last blank line, where there is one in the second half.
            end = blank if blank > start + (number - start) // 2 else number
            yield start, end
            start, weight = end, sum(weigh(text) for text in lines[end:number])
        weight += size
        if not size:
            blank = number + 1
    if start < len(lines):
        yield start, len(lines)

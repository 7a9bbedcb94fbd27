"""Chunks of text: they cover the file, stay within the budget, and are named by what they say."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from indexer.facts import read_facts
from indexer.model import pack_facts, unpack_facts
from indexer.text_chunks import BUDGET, weigh

_LINES = st.lists(st.text(alphabet="ab c", max_size=120), max_size=200)


@given(_LINES)
def test_chunks_cover_the_text_without_gaps(lines: list[str]) -> None:
    text = "\n".join(lines)
    facts = read_facts("notes.txt", text.encode())
    assert "".join(chunk.text for chunk in facts.chunks) == text
    assert all(weigh(chunk.text) <= BUDGET for chunk in facts.chunks)
    ends = [(chunk.start_line, chunk.end_line) for chunk in facts.chunks]
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ends))


def test_a_chunk_is_named_by_its_text_and_not_by_its_place() -> None:
    paragraph = "the first words\nof a paragraph\n"
    filler = "filler " * 150 + "\n\n"
    above = read_facts("a.txt", (paragraph + "\n" + filler).encode())
    alone = read_facts("b.txt", (filler + paragraph).encode())
    assert alone.chunks[-1].text == paragraph
    assert alone.chunks[-1].id != above.chunks[0].id
    assert read_facts("c.txt", paragraph.encode()).chunks[0].id == alone.chunks[-1].id


def test_a_line_of_a_megabyte_is_cut() -> None:
    facts = read_facts("bundle.txt", b"first\n" + b"x" * 1_000_000)
    assert sum(len(chunk.text) for chunk in facts.chunks) < 5_000
    assert facts.chunks[-1].end_line == 2


def test_facts_survive_packing() -> None:
    facts = read_facts("a.txt", b"some words\n")
    assert unpack_facts(pack_facts(facts)) == facts

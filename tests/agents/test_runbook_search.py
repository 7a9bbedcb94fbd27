"""Runbooks are found by what their sections say and mean."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from agents.runbook_search import RunbookSearch
from inference.minilm import MiniLM
from runbooks.library import load_library
from runbooks.sections import split_runbook
from storage.database import Database
from storage.migrate import migrate
from storage.vectors import VectorStore

# Said as somebody on call would; none repeats the `words` of the runbook that is meant.
ASKED = {
    "the server cannot write any more because the volume has no room": "disk-full",
    "browsers warn that the site's TLS identity ran out last night": "expired-certificate",
    "the process keeps being killed because it eats more and more RAM": "memory-leak-restarts",
    "one bad job blocks everything behind it in the queue": "poisoned-queue-message",
    "undo the release that went out an hour ago": "bad-deploy-roll-back",
}


@pytest.fixture
async def vectors(fresh_url: Callable[[], str]) -> AsyncIterator[VectorStore]:
    opened = Database(fresh_url())
    await migrate(opened)
    yield VectorStore(opened)
    await opened.close()


async def test_sections_are_found_by_words_and_meaning(vectors: VectorStore) -> None:
    search = RunbookSearch(load_library(), vectors, MiniLM())
    worded, note = await search.find("no space left on device")
    assert worded[0].section.runbook.id == "disk-full" and worded[0].by == ("words",)
    assert "no section has a vector" in note
    while await search.advance():
        pass
    for question, runbook in ASKED.items():
        hits, note = await search.find(question, 3)
        assert note == ""
        assert runbook in {hit.section.runbook.id for hit in hits}, (question, hits)
    assert await vectors.count("runbook") == sum(len(split_runbook(one)) for one in load_library())


async def test_without_an_embedder_words_are_searched_and_said_so() -> None:
    hits, note = await RunbookSearch(load_library(), None, None).find("poison message in the queue")
    assert hits[0].section.runbook.id == "poisoned-queue-message"
    assert "CAUSEGRAPH_EMBEDDER is `none`" in note


def test_a_runbook_is_split_into_what_it_is_for_its_steps_and_its_text() -> None:
    runbook = load_library().get("connection-pool-exhausted")
    sections = split_runbook(runbook)
    assert [section.heading for section in sections] == [
        "",
        "Find who holds the connections",
        "Restart the instances that leak connections",
        "Put the size of the pool right",
        "What happens",
        "Tell it apart",
        "Lasting repair",
    ]
    assert all(section.searched.startswith(runbook.title) for section in sections)
    assert "Requests fail or wait" in sections[0].text and "transaction" in sections[6].text

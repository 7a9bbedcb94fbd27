"""What a model was asked can be read again from the trace of its run, as it was asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from agents.explainer import write_headline
from agents.wording import word_answer
from storage.objects import FolderObjects
from storage.prompt_keeper import PromptKeeper
from storage.prompts import PromptStore
from tests.agents.cases import desk_for, settled
from tests.inference.fake_ollama import FakeOllama, running
from tracing import Event, start_trace


class Nowhere:
    async def write(self, events: Sequence[Event]) -> None:
        pass


@pytest.fixture
def server() -> Iterator[FakeOllama]:
    with running() as found:
        yield found


async def test_a_model_call_names_the_prompt_that_was_sent(server: FakeOllama, tmp_path: Path) -> None:
    server.responder = lambda body: {"headline": "", "sentences": []}
    keeper = PromptKeeper(lambda: PromptStore(FolderObjects(tmp_path)))
    case = settled([])
    with desk_for(server.url) as desk:
        desk._keep = keeper.keep  # as the investigator builds it
        async with start_trace("why?", "e", Nowhere()) as trace:
            headline = write_headline(case.verdict, case.plan)
            await word_answer(desk, case.verdict, case.plan, case.claims, case.found, headline, "en")
    await keeper.flush()
    call = trace.view().model_calls[0]
    kept = json.loads(PromptStore(FolderObjects(tmp_path)).get(call.prompt))
    assert [message["role"] for message in kept][:2] == ["system", "user"]
    assert "payment" in kept[1]["content"] and len(kept) >= 2

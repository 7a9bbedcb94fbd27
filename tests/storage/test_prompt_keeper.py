"""The prompts of runs are kept in the background, and a store that fails is no trouble to anybody."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path

import pytest

from domain.errors import StorageError, StorageFull
from storage.objects import FolderObjects
from storage.prompt_keeper import PromptKeeper
from storage.prompts import PromptStore

ASKED = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "why?"}]


async def test_what_is_kept_is_durable_soon_and_at_the_end(tmp_path: Path) -> None:
    def open_store() -> PromptStore:
        return PromptStore(FolderObjects(tmp_path))

    keeper, stop = PromptKeeper(open_store, flush_seconds=0.01), asyncio.Event()
    running = asyncio.create_task(keeper.run(stop))
    first = await keeper.keep(ASKED)
    async with asyncio.timeout(30):
        while not list(tmp_path.glob("blobs/*.pack")):
            await asyncio.sleep(0.01)
    second = await keeper.keep([*ASKED, {"role": "assistant", "content": "so"}])
    stop.set()
    await running
    opened = open_store()
    assert json.loads(opened.get(first)) == ASKED and opened.first_difference(first, second) == 2
    assert len(list(tmp_path.glob("blobs/*.pack"))) == 2


async def test_a_store_that_fails_costs_only_its_prompts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Failing(FolderObjects):
        broken = True

        def put(self, name: str, content: bytes) -> None:
            if self.broken:
                raise StorageFull
            super().put(name, content)

    objects = Failing(tmp_path)
    keeper = PromptKeeper(lambda: PromptStore(objects))
    with caplog.at_level(logging.WARNING):
        kept = await keeper.keep(ASKED)
        await keeper.flush()
        await keeper.flush()
        assert len(caplog.records) == 1 and not list(tmp_path.glob("blobs/*.pack"))
        objects.broken = False
        await keeper.flush()
    assert json.loads(PromptStore(FolderObjects(tmp_path)).get(kept)) == ASKED

    def refuse() -> PromptStore:
        raise StorageError("damaged")

    assert await PromptKeeper(refuse).keep(ASKED) == ""

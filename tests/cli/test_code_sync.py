"""While the server runs, the indexed code is synced by itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cli.code_sync import syncing_code
from domain.settings import Settings
from indexer.roots import make_root
from indexer.sync import Syncer
from storage.code import CodeStore
from storage.database import Database


async def test_a_change_is_found_without_being_asked_for(database: Database, data_dir: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=data_dir, index_sync_minutes=0.01)
    tree = tmp_path / "tree"
    tree.mkdir()
    (tree / "a.py").write_text("x = 1\n")
    store = CodeStore(database)
    root = await store.add_root(make_root(str(tree)))
    await Syncer(store, settings).sync(root.id)
    (tree / "b.py").write_text("y = 1\n")
    async with syncing_code(settings, database), asyncio.timeout(120):
        while (await store.root(root.id)).files != 2:
            await asyncio.sleep(0.1)
    await store.remove_root(root.id)

"""The code graph on a real FalkorDB follows the index, knows the past, and comes back when it was emptied."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from domain.settings import Settings
from graph.code import CodeGraph, symbol_id
from graph.topology import TopologyGraph
from indexer.code_graph import CodeGraphUpdate
from indexer.roots import make_root
from indexer.search import CodeSearch
from indexer.sync import Syncer
from storage.code import CodeService, CodeStore
from storage.code_links import CodeLinkStore
from storage.database import Database, Transaction
from storage.migrate import migrate

BANK = "def debit(card):\n    log.warning('debit of %s is slow', card)\n"
SHOP = "import bank\n\ndef pay():\n    bank.debit(1)\n\ndef sell():\n    pay()\n"
FAR_US = 1 << 62


@dataclass(frozen=True)
class Setting:
    database: Database
    folder: Path
    syncer: Syncer
    update: CodeGraphUpdate
    graph: CodeGraph
    root: str

    async def sync(self) -> None:
        await self.syncer.sync(self.root)

    async def callers(self, name: str, moment_us: int = FAR_US, hops: int = 1) -> list[tuple[str, int, bool]]:
        found = await self.graph.callers(self.root, symbol_id("bank.py", name), moment_us, hops)
        return [(caller.symbol, caller.hops, caller.sure) for caller in found]

    async def rebuilt(self) -> bool:
        """Whether a graph that is written anew holds what this one does."""
        before = await self.graph.edges(self.root)
        await self.graph.drop(self.root)
        report = await self.update.update(self.root)
        return report.anew and report.written == len(before) and await self.graph.edges(self.root) == before


@pytest.fixture
async def setting(fresh_url: Callable[[], str], topology: TopologyGraph, tmp_path: Path) -> AsyncIterator[Setting]:
    database = Database(fresh_url())
    await migrate(database)
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "bank.py").write_text(BANK)
    (folder / "shop.py").write_text(SHOP)
    store = CodeStore(database)
    syncer = Syncer(store, Settings(data_dir=tmp_path / "data"))
    root = await store.add_root(make_root(str(folder)))
    await store.set_services(root.id, [CodeService(root.id, "", "payment")])
    graph = CodeGraph(topology.connection)
    search = CodeSearch(store, tmp_path)
    update = CodeGraphUpdate(store, CodeLinkStore(database), search, lambda: graph)
    yield Setting(database, folder, syncer, update, graph, root.id)
    await graph.drop(root.id)
    await database.close()


async def test_the_graph_follows_the_code_and_knows_its_past(setting: Setting) -> None:
    await setting.sync()
    first = await setting.update.update(setting.root)
    assert first.anew and first.edges == first.written > 0 and first.problem == ""
    assert await setting.callers("debit") == [("pay", 1, True)]
    assert await setting.callers("debit", hops=2) == [("pay", 1, True), ("sell", 2, True)]
    assert (await setting.update.update(setting.root)).written == 0
    began = max(edge.valid_from_us for edge in await setting.graph.edges(setting.root))

    (setting.folder / "shop.py").write_text(SHOP.replace("    bank.debit(1)", "    bank.refund(1)"))
    (setting.folder / "bank.py").write_text(BANK + "\ndef refund(card):\n    pass\n")
    await setting.sync()
    second = await setting.update.update(setting.root)
    assert not second.anew and second.written == 3  # a call ended, a call and a definition began
    assert await setting.callers("debit") == [] and await setting.callers("refund") == [("pay", 1, True)]
    assert await setting.callers("debit", began) == [("pay", 1, True)]
    assert await setting.rebuilt()


async def test_a_graph_that_was_emptied_or_is_of_another_state_is_written_anew(setting: Setting) -> None:
    await setting.sync()
    await setting.update.update(setting.root)
    assert await setting.rebuilt()
    await setting.graph.write_anew(setting.root, [], "from an old copy")
    assert (await setting.update.update(setting.root, check_graph=False)).written == 0
    assert (await setting.update.update(setting.root)).anew
    assert await setting.callers("debit") == [("pay", 1, True)]


async def test_new_templates_are_linked_to_the_lines_that_write_them(setting: Setting) -> None:
    await setting.sync()
    await setting.update.update(setting.root)
    assert await setting.graph.writers(setting.root, 77, FAR_US) == []

    def emit(tx: Transaction) -> None:
        tx.execute_many("ingest_add_templates", [(77, 1, "debit of <*> is slow")])
        tx.execute("topology_put_interval", ("test", "EMITTED", "payment", "77", "logs", 1, 2, 1, 0, 9, 1))

    await setting.database.transaction(emit)
    report = await setting.update.update(setting.root)
    assert report.written == 1 and not report.anew
    assert await setting.graph.writers(setting.root, 77, FAR_US) == [("bank.py::debit", 2, True)]
    assert await setting.graph.templates(setting.root, "bank.py::debit", FAR_US) == [(77, 2, True)]


async def test_a_graph_that_is_away_is_said_and_written_later(setting: Setting, tmp_path: Path) -> None:
    await setting.sync()
    away = TopologyGraph(f"unix://{tmp_path}/none.sock")
    setting.update._open_graph = lambda: CodeGraph(away.connection)
    report = await setting.update.update(setting.root)
    assert "was not written" in report.problem and report.written == 0
    setting.update._open_graph = lambda: setting.graph
    assert (await setting.update.update(setting.root)).anew
    await away.close()

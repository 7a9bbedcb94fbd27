"""Pieces of code get their vectors in a queue that can be stopped anywhere, each content once, and are found by meaning."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from agents.code_meaning import find_code
from agents.services import Services
from cli.services import build_services
from domain.errors import EmbeddingError, QuestionError
from domain.settings import Settings
from graph.topology import TopologyGraph
from indexer.roots import make_root
from indexer.sync import Syncer
from inference.minilm import MiniLM
from retrieval.chunk_embedding import ChunkEmbedder, ChunkEmbedding, backfill_chunks, view_chunk
from retrieval.embedding import prepare_space
from storage.code import CodeStore, PendingChunk
from storage.database import Database
from storage.migrate import migrate
from storage.vectors import VectorStore

FILES = {
    "pay/card.py": '''def charge(card, amount):
    """Take money from a credit card."""
    if card.expired:
        raise ValueError("the card has expired")
    return bank.debit(card.number, amount)
''',
    "store/disk.py": '''def write_block(device, block):
    """Write a block to the disk, and fail where no space is left."""
    if device.free < len(block):
        raise OSError("device is full")
    device.append(block)
''',
    "web/login.py": '''def sign_in(user, password):
    """Check who somebody is before letting them in."""
    return verify_hash(password, user.password_hash)
''',
}


@dataclass
class Counting:
    """The built-in embedder, with what it was given."""

    inner: MiniLM
    seen: list[str] = field(default_factory=list)
    name: str = "counting/1"
    dimension: int = 384

    async def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.seen += texts
        return await self.inner.embed(texts)


@dataclass(frozen=True)
class Setting:
    services: Services
    store: CodeStore
    vectors: VectorStore
    folder: Path
    syncer: Syncer
    root: str


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


@pytest.fixture
async def setting(fresh_url: Callable[[], str], topology: TopologyGraph, tmp_path: Path) -> AsyncIterator[Setting]:
    """A database that holds the code of three files."""
    database = Database(fresh_url())
    await migrate(database)
    folder = tmp_path / "code"
    for path, text in FILES.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    store = CodeStore(database)
    settings = Settings(data_dir=tmp_path / "data")
    syncer = Syncer(store, settings)
    root = await store.add_root(make_root(str(folder)))
    await syncer.sync(root.id)
    services = build_services(settings, database, topology)
    yield Setting(services, store, VectorStore(database), folder, syncer, root.id)
    await database.close()


async def _embed_all(embedding: ChunkEmbedding) -> int:
    return await backfill_chunks(embedding, batch=2, delay_s=0, told=lambda done: None)


async def test_code_is_found_by_what_it_does(setting: Setting) -> None:
    services = setting.services
    assert services.embedder is not None
    hits, note = await find_code(services, "device is full", 5)
    assert hits[0].file.path == "store/disk.py" and hits[0].by == ("words",) and "3 of 3" in note
    with pytest.raises(QuestionError, match="backfill"):
        await find_code(services, "no room on the hard drive", 5, by="meaning")
    assert await _embed_all(ChunkEmbedding(setting.store, setting.vectors, services.embedder)) == 3
    for question, path in [
        ("no room on the hard drive", "store/disk.py"),
        ("authentication of users", "web/login.py"),
        ("a customer's payment", "pay/card.py"),
    ]:
        hits, note = await find_code(services, question, 5, by="meaning")
        assert (hits[0].file.path, hits[0].by, note) == (path, ("meaning",), ""), question
    hits, _ = await find_code(services, "sign_in", 5)
    assert hits[0].file.path == "web/login.py" and hits[0].by == ("words", "meaning")
    hits, _ = await find_code(services, "sign_in", 5, by="words")
    assert {hit.by for hit in hits} == {("words",)}
    with pytest.raises(QuestionError, match="both, words and meaning"):
        await find_code(services, "sign_in", 5, by="smell")


async def test_only_what_changed_is_embedded_again(setting: Setting, minilm: MiniLM) -> None:
    embedder = Counting(minilm)
    embedding = ChunkEmbedding(setting.store, setting.vectors, embedder)
    assert (await embedding.advance(2))[1] == 2  # interrupted here
    assert await _embed_all(ChunkEmbedding(setting.store, setting.vectors, embedder)) == 1
    assert len(embedder.seen) == 3

    (setting.folder / "pay" / "card.py").rename(setting.folder / "card.py")
    (setting.folder / "copy.py").write_text(FILES["web/login.py"])
    disk = setting.folder / "store" / "disk.py"
    disk.write_text("# moved down\n" * 3 + FILES["store/disk.py"].replace("is full", "has no space"))
    await setting.syncer.sync(setting.root)
    assert await _embed_all(embedding) == 1
    assert len(embedder.seen) == 4 and "has no space" in embedder.seen[-1]
    assert await embedding.advance() == (0, 0)


async def test_vectors_of_another_embedder_stay_until_they_are_replaced(setting: Setting, minilm: MiniLM) -> None:
    await _embed_all(ChunkEmbedding(setting.store, setting.vectors, minilm))
    other = ChunkEmbedder(Counting(minilm))
    with pytest.raises(EmbeddingError, match="--move"):
        await prepare_space(setting.vectors, "chunk", other, move=False)
    await prepare_space(setting.vectors, "chunk", other, move=True)
    assert await setting.store.count_chunks() == (3, 0)


async def test_the_follower_embeds_what_is_indexed_while_it_runs(setting: Setting, minilm: MiniLM) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(ChunkEmbedding(setting.store, setting.vectors, minilm).run(stop))
    async with asyncio.timeout(60):
        while (await setting.store.count_chunks())[1] < 3:
            await asyncio.sleep(0.05)
    stop.set()
    await asyncio.wait_for(running, 10)


def test_a_view_is_short_and_says_where_the_code_stands() -> None:
    text = "def chargeCard(card):\n    '''Take money.'''\n    return 1\n" + "x = 1\n" * 500
    view = view_chunk(
        PendingChunk(0, "1", "Payment.chargeCard", "def chargeCard(card):", "Take money.", text, "a/pay.py")
    )
    assert (
        view.startswith("a pay py Payment charge Card def charge Card card Take money return 1 x = 1")
        and len(view) <= 330
    )
    assert view.count("def charge Card") == 1
    assert view_chunk(PendingChunk(0, "2", "", "", "", "\n", "")) == "empty"

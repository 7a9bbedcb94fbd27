from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable

import numpy as np

from domain.code import Chunk, FileFacts, LogStatement
from storage.code import CodeFile, CodeRoot, CodeStore, StoredFacts, Tree
from storage.database import Database
from storage.migrate import migrate
from storage.vectors import Space, VectorStore


def stored(*, logs: bool) -> StoredFacts:
    text = uuid.uuid4().hex
    chunk = Chunk(text, "code", "", 1, 1, text)
    statements = (LogStatement("log", "error", "log.error", "failed <*>", 1, 1, ""),) if logs else ()
    return StoredFacts(text, text * 2, 1, FileFacts("text", (chunk,), log_statements=statements), b"")


async def test_chunks_wait_for_their_vectors_and_those_of_logging_files_come_first(
    fresh_url: Callable[[], str], open_database: Callable[[str], Awaitable[Database]]
) -> None:
    database = await open_database(fresh_url())
    await migrate(database)
    code, vectors = CodeStore(database), VectorStore(database)
    plain, logging = [stored(logs=False) for _ in range(3)], [stored(logs=True) for _ in range(3)]
    await code.put_facts([*plain, *logging])
    assert await code.pending_chunks() == []  # no file holds them
    root = await code.add_root(CodeRoot("r" * 16, "folder", "/nowhere"))
    files = [CodeFile(f"{one.key}.py", one.content_hash, one.key, 1) for one in (*plain, *logging)]
    assert await code.commit_tree(root, Tree(files, [], "", "", 6, 6, 1, []))
    waiting = [chunk.id for chunk in await code.pending_chunks()]
    assert max(waiting.index(one.key) for one in logging) < min(waiting.index(one.key) for one in plain)
    space = Space("test", 384)
    done = [logging[0].key, plain[0].key]
    await vectors.store("chunk", space, done, np.eye(2, space.dimension, dtype=np.float32))
    assert await code.count_chunks() == (6, 2)
    first, *rest = await code.pending_chunks()
    assert await code.pending_chunks(first.place) == rest and first.path == f"{first.id}.py"
    left = [chunk.id for chunk in await code.pending_chunks()]
    assert sorted(left) == sorted(one.key for one in (*plain[1:], *logging[1:]))
    before = await code.state()
    await code.remove_root(root.id)
    assert await code.state() != before
    assert await code.forget_unused(older_than_us=-1) == 6
    assert await code.pending_chunks() == [] and await vectors.count("chunk") == 0

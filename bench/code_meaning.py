"""How well code is found by what it is for: by words, by MariaDB's full text, by meaning, and by words and meaning fused.

    python -m bench.code_meaning [--packages httpx,starlette] [--cases 100] [--seed 1]

A case is the first sentence of a function's docstring; the function has to be found with that docstring taken out of what
is searched. The functions are those of installed packages. Latencies are medians of one caller.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import re
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command sets it: more threads only wait for each other

from bench.code_search import read_index
from cli.stack import ensure_stack, stop_stack
from domain.code import Chunk
from indexer.code_index import CodeIndex, IndexedFile
from indexer.text_search import search_text
from inference.minilm import MiniLM
from retrieval.chunk_embedding import ChunkEmbedder, view_chunk
from storage.code import PendingChunk
from storage.database import QUERIES, Database
from storage.migrate import migrate
from storage.vectors import Space, VectorStore

_DEPTH = 60
_SENTENCE = re.compile(r"(.{25,300}?[.])(?:\s|$)", re.DOTALL)
_DOCSTRING = re.compile(r'[rRuU]?"""(?:.|\n)*?"""')
QUERIES["bench_text_table"] = (
    "CREATE TABLE bench_text (id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin PRIMARY KEY, text MEDIUMTEXT NOT NULL, "
    "FULLTEXT KEY by_text (text)) ENGINE=InnoDB"
)
QUERIES["bench_text_put"] = "INSERT IGNORE INTO bench_text (id, text) VALUES (?, ?)"
QUERIES["bench_text_find"] = (
    "SELECT id, MATCH (text) AGAINST (?) AS score FROM bench_text WHERE MATCH (text) AGAINST (?) "
    "ORDER BY score DESC LIMIT 60"
)


@dataclass(frozen=True, slots=True)
class Case:
    """A sentence, and the chunk that it was taken from."""

    query: str
    chunk: str


type Search = Callable[[str], Awaitable[list[str]]]


def strip_docs(index: CodeIndex) -> CodeIndex:
    """Return the code without its docstrings."""
    return CodeIndex(_stripped(file) for file in index.files)


def _stripped(file: IndexedFile) -> IndexedFile:
    chunks = tuple(replace(c, text=_DOCSTRING.sub('""', c.text), doc="") for c in file.facts.chunks)
    return replace(file, facts=replace(file.facts, chunks=chunks))


def make_cases(index: CodeIndex, count: int, dice: random.Random) -> list[Case]:
    """Draw sentences of docstrings, each of one function only."""
    found: dict[str, list[str]] = {}
    for file in index.files:
        for chunk in file.facts.chunks:
            if chunk.kind == "function" and (sentence := _SENTENCE.match(chunk.doc)):
                found.setdefault(" ".join(sentence[1].split()), []).append(chunk.id)
    cases = [Case(query, ids[0]) for query, ids in found.items() if len(ids) == 1]
    dice.shuffle(cases)
    return cases[:count]


async def embed_all(index: CodeIndex, vectors: VectorStore, embedder: ChunkEmbedder) -> float:
    """Give every chunk its vector; return how many that were per second."""
    space, chunks = Space(embedder.name, embedder.dimension), list(index.by_chunk.values())
    began = time.perf_counter()
    for at in range(0, len(chunks), 32):
        part = chunks[at : at + 32]
        views = [view_chunk(_pending(file, chunk)) for file, chunk in part]
        await vectors.store("chunk", space, [chunk.id for _, chunk in part], await embedder.embed(views))
    return len(chunks) / (time.perf_counter() - began)


def _pending(file: IndexedFile, chunk: Chunk) -> PendingChunk:
    return PendingChunk(1, chunk.id, chunk.scope, chunk.signature, chunk.doc, chunk.text[:2000], file.path)


def fuse(words: Sequence[str], meaning: Sequence[str]) -> list[str]:
    """Fuse two rankings as `causegraph code search` does."""
    scores: dict[str, float] = {}
    for weight, ranked in ((1.0, words), (0.5, meaning)):
        for rank, key in enumerate(ranked, 1):
            scores[key] = scores.get(key, 0.0) + weight / (60 + rank)
    return sorted(scores, key=lambda key: -scores[key])


async def report(name: str, search: Search, cases: Sequence[Case]) -> None:
    """Print how often the right chunk came first, among the first five and ten, and how long a search took."""
    ranks, seconds = [], []
    for case in cases:
        began = time.perf_counter()
        found = await search(case.query)
        seconds.append(time.perf_counter() - began)
        ranks.append(found.index(case.chunk) + 1 if case.chunk in found else 0)
    shares = "  ".join(f"@{depth} {sum(0 < r <= depth for r in ranks) / len(ranks):.3f}" for depth in (1, 5, 10))
    mrr = sum(1 / r for r in ranks if r) / len(ranks)
    print(f"{name:<24} {shares}  MRR {mrr:.3f}  {1000 * statistics.median(seconds):7.1f} ms", flush=True)


async def run(packages: Sequence[str], count: int, seed: int) -> None:
    whole = read_index(Path(sysconfig.get_paths()["purelib"]), packages)
    cases, index = make_cases(whole, count, random.Random(seed)), strip_docs(whole)
    print(
        f"{len(index.files)} files, {len(index.by_chunk):,} chunks, {len(cases)} cases; load {os.getloadavg()[0]:.1f}"
    )
    with tempfile.TemporaryDirectory(prefix="causegraph-bench-") as folder:
        stack = ensure_stack(Path(folder))
        database = Database(stack.database_url)
        try:
            await migrate(database)
            await measure(index, cases, database)
        finally:
            await database.close()
            stop_stack(Path(folder))


async def measure(index: CodeIndex, cases: Sequence[Case], database: Database) -> None:
    """Search the same code in four ways."""
    rows = [(chunk.id, chunk.text) for _, chunk in index.by_chunk.values()]
    await database.execute("bench_text_table")
    await database.transaction(lambda tx: tx.execute_many("bench_text_put", rows))
    vectors, embedder = VectorStore(database), ChunkEmbedder(MiniLM())
    print(f"embedded at {await embed_all(index, vectors, embedder):.0f} chunks/s")

    async def by_words(query: str) -> list[str]:
        return [hit.chunk.id for hit in await asyncio.to_thread(search_text, index, query, _DEPTH)]

    async def by_full_text(query: str) -> list[str]:
        return [str(row[0]) for row in await database.fetch("bench_text_find", (query, query))]

    async def by_meaning(query: str) -> list[str]:
        found = await vectors.nearest("chunk", (await embedder.embed([query]))[0], _DEPTH)
        return [near.id for near in found]

    async def fused(query: str) -> list[str]:
        return fuse(await by_words(query), await by_meaning(query))

    await by_words("warm")
    await report("words (BM25), ours", by_words, cases)
    await report("MariaDB full text", by_full_text, cases)
    await report("meaning", by_meaning, cases)
    await report("words and meaning, ours", fused, cases)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", default="httpx,starlette,jinja2", help="comma separated")
    parser.add_argument("--cases", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    asyncio.run(run(arguments.packages.split(","), arguments.cases, arguments.seed))


if __name__ == "__main__":
    main()

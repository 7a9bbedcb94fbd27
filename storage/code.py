"""Code bases in MariaDB: the roots, their files by content, and what was read from each content.

Facts belong to a content, not to a file, so they may be written before the tree that needs them: a tree is committed in
one transaction, and only if nobody else has committed one of the same root since it was read.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from blake3 import blake3

from domain.code import FileFacts
from domain.errors import NotFound
from domain.times import HOUR_US
from storage.database import Database, Row, Transaction

type RootKind = Literal["folder", "git"]

KEEP_UNUSED_US = 7 * 24 * HOUR_US
"""How long facts stay that no file has: a branch that is checked out again soon costs nothing."""

QUEUE_BEGIN = (-1, "")
"""The place before the first chunk that waits for its vector."""

_KEYS = 5_000
_NAME, _QUALIFIED, _TEXT = 255, 700, 8_000


@dataclass(frozen=True, slots=True)
class CodeRoot:
    """A code base that is indexed. `location` is a path or an address, `tree_hash` the hash of its Merkle tree.

    `generation` grows with each committed tree and is 0 before the first.
    """

    id: str
    kind: RootKind
    location: str
    branch: str = ""
    generation: int = 0
    facts_version: int = 0
    tree_hash: str = ""
    commit: str = ""
    files: int = 0
    bytes: int = 0
    added_us: int = 0
    changed_us: int = 0
    checked_us: int = 0
    problems: tuple[str, ...] = ()

    @classmethod
    def from_row(cls, row: Row) -> CodeRoot:
        return cls(
            id=str(row[0]),
            kind=cast(RootKind, row[1]),
            location=str(row[2]),
            branch=str(row[3]),
            generation=int(row[4]),
            facts_version=int(row[5]),
            tree_hash=str(row[6]),
            commit=str(row[7]),
            files=int(row[8]),
            bytes=int(row[9]),
            added_us=int(row[10]),
            changed_us=int(row[11]),
            checked_us=int(row[12]),
            problems=tuple(json.loads(row[13])),
        )


@dataclass(frozen=True, slots=True)
class CodeFile:
    """A file of a root. `facts_key` finds what was read from it."""

    path: str
    content_hash: str
    facts_key: str
    bytes: int

    @classmethod
    def from_row(cls, row: Row) -> CodeFile:
        return cls(str(row[0]), str(row[1]), str(row[2]), int(row[3]))


@dataclass(frozen=True, slots=True)
class CodeService:
    """That a service runs what is in a folder of a root; "" is the whole root."""

    root_id: str
    folder: str
    service: str


@dataclass(frozen=True, slots=True)
class StoredFacts:
    """The facts of one content: as they are, and `packed` as they are kept."""

    key: str
    content_hash: str
    version: int
    facts: FileFacts
    packed: bytes


@dataclass(frozen=True, slots=True)
class PendingChunk:
    """A chunk that is to be embedded: its place in the queue, and what a view of it is made of.

    `path` is one of the files that hold it, `text` its beginning.
    """

    urgency: int
    id: str
    scope: str
    signature: str
    doc: str
    text: str
    path: str

    @property
    def place(self) -> tuple[int, str]:
        """Where it stands in the queue."""
        return self.urgency, self.id

    @classmethod
    def from_row(cls, row: Row) -> PendingChunk:
        return cls(int(row[0]), *map(str, row[1:]))


@dataclass(frozen=True, slots=True)
class Tree:
    """What a root is to hold from now on, as the difference to what it holds."""

    put: Sequence[CodeFile]
    removed: Sequence[str]
    tree_hash: str
    commit: str
    files: int
    bytes: int
    facts_version: int
    problems: Sequence[str]


def facts_key(content_hash: bytes, language: str, version: int) -> str:
    """Return the key under which the facts of a content are kept."""
    return blake3(content_hash + f"{version} {language}".encode()).hexdigest(length=16)


class CodeStore:
    """Reads and writes code bases. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- roots ---------------------------------------------------------------------------------------------------------

    async def add_root(self, root: CodeRoot) -> CodeRoot:
        """Add a root, empty as yet, and return it; one that is there stays as it is."""
        row = (root.id, root.kind, root.location, root.branch, _now_us())
        await self._database.execute("code_add_root", row)
        return await self.root(root.id)

    async def root(self, root_id: str) -> CodeRoot:
        """Return a root; raises NotFound."""
        rows = await self._database.fetch("code_root", (root_id,))
        if not rows:
            raise NotFound(f"No code base {root_id[:40]} is indexed: see `causegraph index list`.")
        return CodeRoot.from_row(rows[0])

    async def roots(self) -> list[CodeRoot]:
        """Return all roots."""
        return [CodeRoot.from_row(row) for row in await self._database.fetch("code_roots")]

    async def remove_root(self, root_id: str) -> None:
        """Remove a root; what was read from its contents goes with `forget_unused`."""

        def work(tx: Transaction) -> None:
            for name in (
                "code_remove_root_files",
                "code_remove_root_services",
                "code_links_remove",
                "code_remove_root",
            ):
                tx.execute(name, (root_id,))

        await self._database.transaction(work)

    async def services(self) -> list[CodeService]:
        """Return which services run which folders."""
        return [CodeService(*map(str, row)) for row in await self._database.fetch("code_services")]

    async def set_services(self, root_id: str, services: Iterable[CodeService]) -> None:
        """State anew which services run a root."""
        rows = [(root_id, service.folder, service.service) for service in services]

        def work(tx: Transaction) -> None:
            tx.execute("code_remove_root_services", (root_id,))
            tx.execute_many("code_add_service", rows)

        await self._database.transaction(work)

    # -- trees ---------------------------------------------------------------------------------------------------------

    async def files(self, root_id: str) -> list[CodeFile]:
        """Return the files of a root by path."""
        return [CodeFile.from_row(row) for row in await self._database.fetch("code_files", (root_id,))]

    async def file(self, root_id: str, path: str) -> CodeFile | None:
        """Return one file of a root, None if the root does not hold it."""
        rows = await self._database.fetch("code_file", (root_id, path))
        return CodeFile.from_row(rows[0]) if rows else None

    async def commit_tree(self, root: CodeRoot, tree: Tree) -> bool:
        """Make a tree the root's in one step; False, and nothing is changed, if another was committed meanwhile."""
        now = _now_us()
        state = (
            tree.facts_version,
            tree.tree_hash,
            tree.commit,
            tree.files,
            tree.bytes,
            now,
            now,
            _told(tree.problems),
        )

        def work(tx: Transaction) -> bool:
            if not tx.execute("code_advance_root", (*state, root.id, root.generation)):
                return False
            tx.execute_many("code_remove_file", [(root.id, path) for path in tree.removed])
            rows = [(root.id, file.path, file.content_hash, file.facts_key, file.bytes) for file in tree.put]
            tx.execute_many("code_put_file", rows)
            return True

        return await self._database.transaction(work)

    async def mark_checked(self, root: CodeRoot, commit: str, problems: Sequence[str]) -> None:
        """Say that a root was looked at and holds what it held."""
        row = (_now_us(), commit, _told(problems), root.id, root.generation)
        await self._database.execute("code_mark_checked", row)

    # -- facts ---------------------------------------------------------------------------------------------------------

    async def use_known_facts(self, keys: Iterable[str]) -> set[str]:
        """Return which of the keys are there, and keep those from being forgotten as unused."""
        wanted = sorted(set(keys))
        now = _now_us()

        def work(tx: Transaction) -> set[str]:
            found: set[str] = set()
            for part in _parts(wanted):
                found |= {str(row[0]) for row in tx.fetch("code_known_facts", (json.dumps(part),))}
            tx.execute_many("code_use_facts", [(now, key) for key in sorted(found)])
            return found

        return await self._database.transaction(work)

    async def put_facts(self, stored: Sequence[StoredFacts]) -> None:
        """Keep the facts of contents; those that are there already stay."""
        now = _now_us()

        def work(tx: Transaction) -> None:
            tx.execute_many(
                "code_put_chunk", sorted({row[0]: row for one in stored for row in _chunk_rows(one)}.values())
            )
            tx.execute_many("code_put_chunk_place", (row for one in stored for row in _place_rows(one)))
            tx.execute_many("code_put_symbol", (row for one in stored for row in _symbol_rows(one)))
            rows = [(one.key, one.content_hash, one.facts.language, one.version, now, one.packed) for one in stored]
            tx.execute_many("code_put_facts", rows)  # last: what has facts has all of them

        await self._database.transaction(work)

    async def packed_facts(self, keys: Iterable[str]) -> dict[str, bytes]:
        """Return packed facts by their keys; those that are not there are left out."""
        found: dict[str, bytes] = {}
        for part in _parts(sorted(set(keys))):
            rows = await self._database.fetch("code_load_facts", (json.dumps(part),))
            found |= {str(key): bytes(packed) for key, packed in rows}
        return found

    async def pending_chunks(self, after: tuple[int, str] = QUEUE_BEGIN, limit: int = 256) -> list[PendingChunk]:
        """Return chunks of present files that have no vector yet, behind a place in the queue.

        The vectors go to `VectorStore.store("chunk", ...)`: a queue that is a difference of two tables goes on where it
        stopped.
        """
        urgency, key = after
        rows = await self._database.fetch("code_pending_chunks", (urgency, urgency, key, limit))
        return [PendingChunk.from_row(row) for row in rows]

    async def count_chunks(self) -> tuple[int, int]:
        """Return how many chunks the present files hold, and how many of them have a vector."""
        row = (await self._database.fetch("code_count_chunks"))[0]
        return int(row[0]), int(row[1])

    async def state(self) -> tuple[int, ...]:
        """Return numbers of which one is another whenever the files of a root have changed."""
        return tuple(int(value) for value in (await self._database.fetch("code_generations"))[0])

    async def forget_unused(self, older_than_us: int = KEEP_UNUSED_US) -> int:
        """Remove what was read from contents that no file has had for a while; return how many contents that were."""
        forgotten = await self._database.execute("code_forget_facts", (_now_us() - older_than_us,))
        if forgotten:
            for name in ("code_forget_symbols", "code_forget_places", "code_forget_chunks", "code_forget_vectors"):
                await self._database.execute(name)
        return forgotten


def _chunk_rows(stored: StoredFacts) -> Iterator[tuple[object, ...]]:
    urgency = 0 if stored.facts.log_statements else 1
    for chunk in stored.facts.chunks:
        yield (
            chunk.id, stored.facts.language, chunk.kind, urgency, chunk.scope[:_QUALIFIED], chunk.signature[:_TEXT],
            chunk.doc[:_TEXT], chunk.text,
        )  # fmt: skip


def _place_rows(stored: StoredFacts) -> Iterator[tuple[object, ...]]:
    for number, chunk in enumerate(stored.facts.chunks):
        yield stored.key, number, chunk.id, chunk.start_line, chunk.end_line


def _symbol_rows(stored: StoredFacts) -> Iterator[tuple[object, ...]]:
    for number, symbol in enumerate(stored.facts.symbols):
        yield (
            stored.key, number, symbol.name[:_NAME], symbol.qualified[:_QUALIFIED], symbol.kind, symbol.start_line,
            symbol.end_line,
        )  # fmt: skip


def _parts(keys: list[str]) -> Iterator[list[str]]:
    return (keys[at : at + _KEYS] for at in range(0, len(keys), _KEYS))


def _told(problems: Sequence[str]) -> str:
    return json.dumps([problem[:500] for problem in problems], ensure_ascii=False)


def _now_us() -> int:
    return time.time_ns() // 1000

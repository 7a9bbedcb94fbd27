"""Brings the index of a root in line with its files, reading and parsing only what is new.

The order makes any crash harmless: facts first (they belong to contents, nobody sees them yet), then the tree in one
transaction, then the manifest, which counts only if it is of the tree's generation. The tree of a large new root comes
before its facts, marked UNREAD, so that what is read so far can be searched; a sync that broke off goes on there.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from domain.errors import IndexingError
from domain.settings import Settings
from indexer.facts import FACTS_VERSION, UNREAD
from indexer.git import current_commit, is_checkout
from indexer.languages import language_of
from indexer.manifest import Manifest, forget_manifest, load_manifest, save_manifest
from indexer.merkle import Change, build_tree, name_changes, unchanged_folders
from indexer.parsing import Parsed, Source, parse_files
from indexer.reading import CHANGING
from indexer.roots import folder_of, update_clone
from indexer.scan import Scan, scan_root
from indexer.walk import WalkLimits
from storage.code import CodeFile, CodeRoot, CodeStore, StoredFacts, Tree, facts_key

type Step = Literal["clone", "scan", "parse", "link"]
type OnStep = Callable[[Step, int, int], None]
"""Told the step and how much of it is done, of how much (0 where that is not known)."""

_SHOWN_FIRST = 500
"""So many new files make it worth showing the tree of a new root before they are read."""

_BATCH_FILES = 200
_BATCH_BYTES = 4 << 20
_MOST_PROBLEMS = 200


class Busy(IndexingError):
    """Another process is indexing this code base: wait for it."""


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a sync found and did. `parsed` counts contents; the other new ones were known from elsewhere."""

    root: CodeRoot
    changes: tuple[Change, ...]
    parsed: int
    read: int
    skipped: Mapping[str, int]
    problems: tuple[str, ...]
    seconds: float

    @property
    def changed(self) -> bool:
        """Whether the index is another than before."""
        return bool(self.changes) or self.parsed > 0


@dataclass(slots=True)
class _Parsing:
    """What is collected while files are parsed, and written in batches."""

    store: CodeStore
    total: int
    on_step: OnStep
    done: int = 0
    gone: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    _batch: list[StoredFacts] = field(default_factory=list)
    _size: int = 0

    async def take(self, parsed: Parsed) -> None:
        self.done += 1
        self.on_step("parse", self.done, self.total)
        if parsed.stored is None:
            self.gone.append(parsed.source.path)
            return
        self.problems += [f"{parsed.source.path}: {problem}" for problem in parsed.stored.facts.problems]
        self._batch.append(parsed.stored)
        self._size += len(parsed.stored.packed)
        if len(self._batch) >= _BATCH_FILES or self._size >= _BATCH_BYTES:
            await self.flush()

    async def flush(self) -> None:
        batch, self._batch, self._size = self._batch, [], 0
        if batch:
            await self.store.put_facts(batch)


class Syncer:
    """Syncs roots. Clones, manifests and locks are kept in `<data>/code`."""

    def __init__(self, store: CodeStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._folder = settings.data_dir / "code"
        self._limits = WalkLimits(settings.index_max_files, settings.index_max_folder_files)

    @property
    def clones(self) -> Path:
        """Where repositories are cloned to."""
        return self._folder / "clones"

    async def sync(
        self, root_id: str, on_step: OnStep = lambda step, done, total: None, *, fresh: bool = False
    ) -> SyncReport:
        """Sync a root and say what changed; `fresh` reads every file again and looks up what is known of each.

        Raises Busy if another process is at it, IndexingError if the root cannot be read (then the index stays as it
        was), NotFound, StorageError.
        """
        began = time.perf_counter()
        with _owning(self._folder / f"{root_id}.lock"):
            root = await self._store.root(root_id)
            folder = await self._provide(root, on_step)
            file = self._manifest_file(root)
            known = None if fresh else await asyncio.to_thread(load_manifest, file, root.generation)
            looking = asyncio.to_thread(self._scan, folder, known, on_step)
            scan, commit = await asyncio.gather(looking, asyncio.to_thread(_commit_of, folder))
            commit = commit if scan.by_git else ""
            return await self._settle(root, folder, known, scan, commit, on_step, began, fresh=fresh)

    async def remove(self, root: CodeRoot) -> None:
        """Remove a root with its clone and manifest; raises Busy, StorageError."""
        with _owning(self._folder / f"{root.id}.lock"):
            await self._store.remove_root(root.id)
            forget_manifest(self._manifest_file(root))
            if root.kind == "git":
                await asyncio.to_thread(shutil.rmtree, folder_of(root, self.clones), ignore_errors=True)

    async def look(self, root: CodeRoot) -> Scan:
        """Look at the files of a root as they are now, and change nothing; raises IndexingError, StorageError.

        Of a repository that was cloned, that is the clone as it was last fetched.
        """
        known = await asyncio.to_thread(load_manifest, self._manifest_file(root), root.generation)
        folder = folder_of(root, self.clones)
        return await asyncio.to_thread(self._scan, folder, known, lambda step, done, total: None)

    def _manifest_file(self, root: CodeRoot) -> Path:
        return self._folder / f"{root.id}.manifest"

    async def _provide(self, root: CodeRoot, on_step: OnStep) -> Path:
        if root.kind == "folder":
            return Path(root.location)
        on_step("clone", 0, 0)
        depth, seconds = self._settings.index_clone_depth, self._settings.index_clone_seconds
        return await asyncio.to_thread(update_clone, root, self.clones, depth, seconds)

    def _scan(self, folder: Path, known: Manifest | None, on_step: OnStep) -> Scan:
        def tell(done: int, total: int) -> None:
            on_step("scan", done, total)

        return scan_root(folder, known, self._settings.index_max_file_bytes, self._limits, tell)

    async def _settle(
        self, root: CodeRoot, folder: Path, known: Manifest | None, scan: Scan, commit: str, on_step: OnStep,
        began: float, *, fresh: bool,
    ) -> SyncReport:  # fmt: skip
        before = old = await self._held(root) if known is None else known.leaves() if scan.touched else scan.leaves
        renewed = fresh or root.facts_version != FACTS_VERSION
        new = [path for path, content in scan.leaves.items() if renewed or old.get(path) != content]
        if not root.generation and len(new) > _SHOWN_FIRST:
            shown = _compare({}, scan.leaves)
            root = await self._commit(root, None, scan, shown, [], commit, scan.problems, unread=True)
            old = dict(scan.leaves)
        parsing = await self._parse(folder, [Source(path, scan.leaves[path]) for path in new], on_step)
        for path in parsing.gone:
            _keep_as_it_was(path, before.get(path), scan)
        changes = _compare(old, scan.leaves)
        problems = _bound([*scan.problems, *parsing.problems, *_carried(root, scan.leaves, new)])
        if changes or renewed or not root.generation:
            root = await self._commit(root, known, scan, changes, new if renewed else [], commit, problems)
        else:
            await self._store.mark_checked(root, commit, problems)
            scan.manifest.generation = root.generation
            scan.manifest.folders = known.folders if known else {}
            if scan.touched:
                await asyncio.to_thread(save_manifest, self._manifest_file(root), scan.manifest)
        seconds = time.perf_counter() - began
        if old is not before:
            changes = _compare(before, scan.leaves)
        return SyncReport(root, tuple(changes), parsing.done, scan.read, scan.skipped, tuple(problems), seconds)

    async def _held(self, root: CodeRoot) -> dict[str, bytes]:
        return {file.path: bytes.fromhex(file.content_hash) for file in await self._store.files(root.id)}

    async def _parse(self, folder: Path, sources: list[Source], on_step: OnStep) -> _Parsing:
        """Read the facts of the contents that nobody has read yet, each once."""
        by_key = {source.key: source for source in sources}
        known = await self._store.use_known_facts(by_key) if by_key else set()
        unknown = [source for key, source in by_key.items() if key not in known]
        parsing = _Parsing(self._store, len(unknown), on_step)
        if unknown:
            on_step("parse", 0, len(unknown))
            await parse_files(folder, unknown, parsing.take)
            await parsing.flush()
        return parsing

    async def _commit(
        self, root: CodeRoot, known: Manifest | None, scan: Scan, changes: list[Change], renewed: list[str], commit: str,
        problems: list[str], *, unread: bool = False,
    ) -> CodeRoot:  # fmt: skip
        put = {change.path for change in changes if change.kind != "removed"} | {p for p in renewed if p in scan.leaves}
        gone = [change.before for change in changes if change.kind in ("moved", "removed")]
        touched = [path for change in changes for path in (change.path, change.before)]
        tree = build_tree(scan.leaves, unchanged_folders(known.folders, touched) if known else None)
        state = Tree(
            put=[_file(path, scan) for path in sorted(put)],
            removed=gone,
            tree_hash=tree.hash.hex(),
            commit=commit,
            files=len(scan.leaves),
            bytes=sum(scan.sizes.get(path, 0) for path in scan.leaves),
            facts_version=UNREAD if unread else FACTS_VERSION,
            problems=problems,
        )
        if not await self._store.commit_tree(root, state):
            raise Busy("Another process has changed the index of this code base meanwhile: run it again.")
        root = await self._store.root(root.id)
        scan.manifest.generation, scan.manifest.folders = root.generation, tree.hashes()
        await asyncio.to_thread(save_manifest, self._manifest_file(root), scan.manifest)
        return root


def _commit_of(folder: Path) -> str:
    return current_commit(folder) if is_checkout(folder) else ""


def _keep_as_it_was(path: str, content: bytes | None, scan: Scan) -> None:
    """Take a file that is not quiet as it was known, and make sure that the next scan reads it."""
    del scan.leaves[path], scan.manifest.entries[path]
    if content is not None:
        scan.leaves[path] = content
        scan.manifest.entries[path] = (0, scan.sizes[path], 0, 0, content)  # no file has these times
    scan.problems.append(f"{path}: {CHANGING}")


def _file(path: str, scan: Scan) -> CodeFile:
    content = scan.leaves[path]
    key = facts_key(content, language_of(path), FACTS_VERSION)
    return CodeFile(path, content.hex(), key, scan.sizes.get(path, 0))


def _compare(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> list[Change]:
    if old is new or old == new:
        return []
    added = {path: content for path, content in new.items() if path not in old}
    removed = {path: content for path, content in old.items() if path not in new}
    changed = [path for path, content in new.items() if path in old and old[path] != content]
    return name_changes(added, removed, changed)


def _carried(root: CodeRoot, leaves: Mapping[str, bytes], read: list[str]) -> list[str]:
    """Return what was said before of the contents of files that were not read again."""
    again = set(read)
    named = ((problem.partition(": ")[0], problem) for problem in root.problems)
    return [problem for path, problem in named if path in leaves and path not in again and CHANGING not in problem]


def _bound(problems: list[str]) -> list[str]:
    unique = list(dict.fromkeys(problems))
    if len(unique) > _MOST_PROBLEMS:
        return [*unique[:_MOST_PROBLEMS], f"and {len(unique) - _MOST_PROBLEMS:,} more such lines"]
    return unique


@contextmanager
def _owning(lock: Path) -> Iterator[None]:
    """Hold a root's lock; it is the process's, so a crash frees it."""
    lock.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise Busy from exc
        yield
    finally:
        os.close(handle)

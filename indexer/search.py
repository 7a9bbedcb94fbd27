"""Asking the code index: by symbol, text, stack trace, log line and change. Reads the store; changes nothing."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from domain.code import FileFacts, Symbol
from domain.errors import NotFound
from domain.frames import Frame
from indexer.code_index import CodeIndex, IndexedFile
from indexer.facts import FACTS_VERSION, UNREAD
from indexer.frame_match import FramePlace, place_frames
from indexer.git import GitError
from indexer.history import Commit, blame_lines, commits_between, commits_of_lines, find_commit
from indexer.linking import Reference, link_calls
from indexer.manifest import collecting_later
from indexer.parsing import unpack_stored
from indexer.roots import folder_of
from indexer.statement_match import StatementIndex, StatementMatch
from indexer.text_search import ChunkHit, search_text
from storage.code import CodeRoot, CodeService, CodeStore

_CONTEXT = 2
_LINE = 300
_LOOK_AGAIN_SECONDS = 10
_UNCLAIMED = "\0"  # no service is called so


@dataclass(frozen=True, slots=True)
class Change:
    """A commit to what runs in a service."""

    root: CodeRoot
    commit: Commit


@dataclass(frozen=True)
class Loaded:
    """One state of the indexed code bases, with what is worked out from it once: the links and the log statements."""

    roots: Mapping[str, CodeRoot]
    services: tuple[CodeService, ...]
    index: CodeIndex
    parts: dict[str, tuple[CodeIndex, StatementIndex]] = field(default_factory=dict)

    @property
    def unread(self) -> tuple[CodeRoot, ...]:
        """The code bases that are being read for the first time: not all of their files are in the index yet."""
        return tuple(root for root in self.roots.values() if _is_unread(root))

    @cached_property
    def statements(self) -> StatementIndex:
        """Every log statement, to be matched."""
        return StatementIndex(self.index.statements)

    @cached_property
    def references(self) -> tuple[Reference, ...]:
        """Every call between definitions."""
        return tuple(link_calls(self.index))

    @cached_property
    def callers(self) -> Mapping[tuple[str, str, str], tuple[Reference, ...]]:
        """The calls by what is called: root, path and definition; the certain ones first."""
        callers: defaultdict[tuple[str, str, str], list[Reference]] = defaultdict(list)
        for reference in sorted(self.references, key=lambda r: (not r.sure, r.caller_path, r.line)):
            callers[reference.callee_root, reference.callee_path, reference.callee].append(reference)
        return {callee: tuple(found) for callee, found in callers.items()}

    def part(self, service: str) -> tuple[CodeIndex, StatementIndex]:
        """Return the files that a service runs, with their log statements; all of them for ""."""
        if not service:
            return self.index, self.statements
        if service not in self.parts:
            index = CodeIndex(file for file in self.index.files if service in self.services_of(file))
            self.parts[service] = index, StatementIndex(index.statements)
        return self.parts[service]

    def written_by(self, service: str) -> StatementIndex:
        """Return the log statements of what a service runs; where nobody says what it does, of the roots without a service."""
        if any(one.service == service for one in self.services):
            return self.part(service)[1]
        if _UNCLAIMED not in self.parts:
            claimed = {one.root_id for one in self.services}
            index = CodeIndex(file for file in self.index.files if file.root not in claimed)
            self.parts[_UNCLAIMED] = index, StatementIndex(index.statements)
        return self.parts[_UNCLAIMED][1]

    def services_of(self, file: IndexedFile) -> tuple[str, ...]:
        """Return the services that run a file."""
        runs = (
            one.service
            for one in self.services
            if one.root_id == file.root and (not one.folder or file.path.startswith(f"{one.folder.rstrip('/')}/"))
        )
        return tuple(dict.fromkeys(runs))

    def callers_of(self, file: IndexedFile, symbol: str) -> tuple[Reference, ...]:
        """Return the calls of a definition, the certain ones first."""
        return self.callers.get((file.root, file.path, symbol), ())

    def calls_of(self, file: IndexedFile, symbol: str) -> list[Reference]:
        """Return the calls that a definition makes."""
        return [
            r for r in self.references if (r.caller_root, r.caller_path, r.caller) == (file.root, file.path, symbol)
        ]


class CodeSearch:
    """Searches the indexed code bases. What was loaded is kept until a root changes. Raises StorageError."""

    def __init__(self, store: CodeStore, clones: Path) -> None:
        self._store = store
        self._clones = clones
        self._loaded: Loaded | None = None
        self._state: tuple[object, ...] = ()
        self._files: dict[str, tuple[tuple[int, int], tuple[IndexedFile, ...]]] = {}
        self._loading = asyncio.Lock()

    async def load(self, *, linked: bool = True) -> Loaded:
        """Return the present state of the code bases, with who calls whom already worked out, or without (much faster)."""
        async with self._loading:
            roots, services = await self._store.roots(), await self._store.services()
            state = (*((root.id, root.generation, _progress(root)) for root in roots), *services)
            if self._loaded is None or state != self._state:
                files = [file for root in roots for file in await self._files_of(root)]
                self._files = {root.id: self._files[root.id] for root in roots}
                index = await asyncio.to_thread(CodeIndex, files)
                self._loaded = Loaded({root.id: root for root in roots}, tuple(services), index)
                self._state = state
            await asyncio.to_thread(_work_out, self._loaded, linked)
            return self._loaded

    async def by_symbol(self, name: str, limit: int = 20) -> list[tuple[IndexedFile, Symbol]]:
        """Return the definitions of a name: `charge`, `Payment.charge`, or a beginning of one."""
        loaded = await self.load(linked=False)
        bare = name.replace("::", ".").replace("#", ".").rpartition(".")[2]
        found = [t for t in loaded.index.by_symbol.get(bare, []) if f".{t[1].qualified}".endswith(f".{name}")]
        if not found:
            wanted = bare.lower()
            named = sorted(known for known in loaded.index.by_symbol if known.lower().startswith(wanted))
            found = [target for known in named for target in loaded.index.by_symbol[known]]
        return found[:limit]

    async def by_text(self, query: str, limit: int = 10, service: str = "") -> list[ChunkHit]:
        """Return the chunks that hold the words of a query."""
        loaded = await self.load(linked=False)
        return await asyncio.to_thread(search_text, loaded.part(service)[0], query, limit)

    async def count_chunks(self) -> tuple[int, int]:
        """Return how many chunks the indexed files hold, and how many of them have a vector."""
        return await self._store.count_chunks()

    async def by_frames(self, frames: Sequence[Frame], service: str = "") -> list[FramePlace]:
        """Return the places that stack frames speak of, the innermost of the project first."""
        return place_frames((await self.load(linked=False)).part(service)[0], frames)

    async def by_log(self, message: str, limit: int = 5, service: str = "") -> list[StatementMatch]:
        """Return the statements that may have written a log line or the template of one."""
        return (await self.load(linked=False)).part(service)[1].match(message, limit)

    async def changes(self, service: str, since_us: int, until_us: int | None = None) -> tuple[list[Change], list[str]]:
        """Return the commits to what a service runs ("" is everything), newest first, and what has no history."""
        loaded = await self.load(linked=False)
        folders: defaultdict[str, list[str]] = defaultdict(list)
        for one in loaded.services if service else ():
            if one.service == service:
                folders[one.root_id].append(one.folder)
        if service and not folders:
            raise NotFound(f"No code is indexed for {service}: `causegraph index PATH --service {service}`.")
        changes: list[Change] = []
        blind: list[str] = []
        for root in loaded.roots.values():
            if service and root.id not in folders:
                continue
            paths = tuple(folder for folder in folders[root.id] if folder) if service else ()
            try:
                place = folder_of(root, self._clones)
                commits = await asyncio.to_thread(commits_between, place, since_us, until_us, paths)
                changes += [Change(root, commit) for commit in commits]
            except GitError as exc:
                blind.append(f"{root.location}: {exc}")
        return sorted(changes, key=lambda change: -change.commit.time_us), blind

    async def last_commits(self, root_id: str, path: str, line: int, end_line: int = 0, limit: int = 3) -> list[Commit]:
        """Return the commits that last touched lines of a file, newest first; none where there is no history."""
        root = (await self.load(linked=False)).roots[root_id]
        folder = folder_of(root, self._clones)
        try:
            if (end_line or line) == line:
                origins = await asyncio.to_thread(blame_lines, folder, path, line, line)
                return [origin.commit for origin in origins if origin.committed][:limit]
            return await asyncio.to_thread(commits_of_lines, folder, path, line, end_line, limit)
        except GitError:
            return []

    async def read_code(self, key: Mapping[str, Any]) -> dict[str, Any]:
        """Return the record of a line of code: the line with its surroundings, its file's hash, its last commit.

        `key` holds root, path and line; or root and commit, for the record of a commit. Raises NotFound where they are
        no longer there.
        """
        loaded = await self.load(linked=False)
        if "commit" in key:
            return await self._read_commit(loaded, str(key["root"]), str(key["commit"]), str(key.get("service", "")))
        root_id, path, line = str(key["root"]), str(key["path"]), int(key["line"])
        file = loaded.index.file(path, root_id)
        if file is None:
            raise NotFound(f"{path[:200]} is no longer in the code index.")
        symbol = file.symbol_at(line)
        commits = await self.last_commits(root_id, path, line)
        return {
            "kind_of_record": "code",
            "root": root_id,
            "location": loaded.roots[root_id].location,
            "path": path,
            "line": line,
            "symbol": symbol.qualified if symbol else "",
            "text": line_text(file, line),
            "around": [line_text(file, number) for number in range(max(1, line - _CONTEXT), line + _CONTEXT + 1)],
            "content_hash": file.content_hash,
            "service": str(key.get("service", "")),
            "commit": _commit_record(commits[0]) if commits else None,
        }

    async def _read_commit(self, loaded: Loaded, root_id: str, commit: str, service: str) -> dict[str, Any]:
        root = loaded.roots.get(root_id)
        if root is None:
            raise NotFound("The code base of this commit is no longer indexed.")
        try:
            found = await asyncio.to_thread(find_commit, folder_of(root, self._clones), commit)
        except GitError as exc:
            raise NotFound(f"Commit {commit[:12]} cannot be read: {exc}") from exc
        record = {"kind_of_record": "commit", "root": root_id, "location": root.location, "service": service}
        return record | {"commit": _commit_record(found), "files": list(found.files)}

    async def _files_of(self, root: CodeRoot) -> tuple[IndexedFile, ...]:
        known = self._files.get(root.id)
        if known is not None and known[0] == (root.generation, _progress(root)):
            return known[1]
        if root.facts_version not in (UNREAD, FACTS_VERSION):  # another version of the program read them: sync again
            files: tuple[IndexedFile, ...] = ()
        else:
            rows = await self._store.files(root.id)
            packed = await self._store.packed_facts(row.facts_key for row in rows)
            unpacked = await asyncio.to_thread(_unpack, packed)
            files = tuple(
                IndexedFile(root.id, row.path, row.content_hash, unpacked[row.facts_key])
                for row in rows
                if row.facts_key in unpacked
            )
        self._files[root.id] = (root.generation, _progress(root)), files
        return files


def _progress(root: CodeRoot) -> int:
    """Return a number that grows every few seconds while the files of a new root are being read for the first time."""
    return int(time.monotonic() // _LOOK_AGAIN_SECONDS) if _is_unread(root) else 0


def _is_unread(root: CodeRoot) -> bool:
    return root.generation > 0 and root.facts_version == UNREAD


def _work_out(loaded: Loaded, linked: bool) -> None:
    """Make what takes long in a thread, not where others wait for it."""
    with collecting_later():
        loaded.statements  # noqa: B018 - kept once it was asked for
        if linked:
            loaded.callers  # noqa: B018


def _unpack(packed: Mapping[str, bytes]) -> dict[str, FileFacts]:
    with collecting_later():
        return {key: unpack_stored(value) for key, value in packed.items()}


def line_text(file: IndexedFile, line: int) -> str:
    """Return the text of a line, "" behind the end."""
    chunk = file.chunk_at(line)
    return chunk.text.split("\n")[line - chunk.start_line][:_LINE] if chunk else ""


def _commit_record(commit: Commit) -> dict[str, Any]:
    return {"id": commit.id, "time_us": commit.time_us, "author": commit.author, "subject": commit.subject}

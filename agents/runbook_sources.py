"""Where runbooks come from: the built-in library, a folder of yours, and git repositories that are kept up to date.

Whoever can write to such a repository writes what people read; nothing of it is ever run by itself.
"""

from __future__ import annotations

import asyncio
import logging
import re
from dataclasses import replace
from pathlib import Path

from domain.errors import CausegraphError, IndexingError, SettingsError
from domain.settings import Settings
from domain.times import MINUTE_US, SECOND_US
from indexer.git import current_commit
from indexer.roots import folder_of, make_root, update_clone
from runbooks.library import BUILT_IN, Library, Source, load_library
from storage.code import CodeRoot

logger = logging.getLogger(__name__)

_DEPTH = 1
_LOOK_SECONDS = 10 * MINUTE_US / SECOND_US
_COMMIT = re.compile(r"[0-9a-f]{40}")


class RunbookSources:
    """Reads the runbooks that the settings name, and keeps `library` as they are. Raises SettingsError for bad addresses."""

    def __init__(self, settings: Settings) -> None:
        self._own = [Source(settings.runbook_dir)] if settings.runbook_dir else []
        try:
            self._repositories = read_repositories(settings.runbook_git)
        except IndexingError as exc:
            raise SettingsError(f"CAUSEGRAPH_RUNBOOK_GIT: {exc}") from exc
        self._clones = settings.data_dir / "runbooks"
        self._seconds = settings.index_clone_seconds
        self._failed: dict[str, str] = {}
        self.library = Library({})
        self.read()

    def read(self) -> bool:
        """Read what is there, without asking anybody; return whether it is different from before."""
        fresh = load_library([Source(BUILT_IN), *(self._source(one) for one in self._repositories), *self._own])
        fresh = Library(fresh.runbooks, (*fresh.problems, *self._failed.values()))
        changed = (fresh.runbooks, fresh.problems) != (self.library.runbooks, self.library.problems)
        self.library.take(fresh)
        return changed

    async def fetch(self) -> bool:
        """Bring every repository up to date and read again; what cannot be fetched is one of the library's problems."""
        for root, _ in self._repositories:
            try:
                await asyncio.to_thread(_update, root, self._clones, self._seconds)
                self._failed.pop(root.id, None)
            except CausegraphError as exc:
                self._failed[root.id] = f"{root.location}: {exc}"
                logger.warning("Runbooks cannot be fetched", extra={"reason": str(exc)})
        return await asyncio.to_thread(self.read)

    async def run(self, stop: asyncio.Event) -> None:
        """Fetch now and every ten minutes until `stop` is set (a `Follower`)."""
        while not stop.is_set():
            if await self.fetch():
                logger.info("The runbooks have changed", extra={"runbooks": len(self.library)})
            try:
                await asyncio.wait_for(stop.wait(), _LOOK_SECONDS)
            except TimeoutError:
                continue

    def _source(self, repository: tuple[CodeRoot, str]) -> Source:
        root, folder = repository
        clone = folder_of(root, self._clones)
        commit = current_commit(clone) if (clone / ".git").is_dir() else ""
        return Source(clone / folder, f"{root.location}@{commit[:12] or 'not fetched'}", clone)


def read_repositories(text: str) -> list[tuple[CodeRoot, str]]:
    """Read `ADDRESS`, `ADDRESS#BRANCH` or `ADDRESS#COMMIT:FOLDER`, several separated by blanks, as (root, folder).

    Raises IndexingError for an address that is not cloned, or a folder that leads out of the repository.
    """
    found = []
    for piece in text.split():
        address, _, place = piece.partition("#")
        reference, _, folder = place.partition(":")
        root = make_root(address, reference)
        if root.kind != "git":
            raise IndexingError(f"{address!r} is no address of a git repository.")
        if Path(folder).is_absolute() or ".." in Path(folder).parts:
            raise IndexingError(f"{folder!r} is no folder of the repository.")
        found.append((root, folder))
    return found


def _update(root: CodeRoot, clones: Path, seconds: float) -> None:
    """Bring a clone to its branch, or to the one commit that it is pinned to."""
    cloned = (folder_of(root, clones) / ".git").is_dir()
    if _COMMIT.fullmatch(root.branch):
        if cloned and current_commit(folder_of(root, clones)) == root.branch:
            return
        if not cloned:  # a commit cannot be cloned, only fetched
            update_clone(replace(root, branch=""), clones, _DEPTH, seconds)
    update_clone(root, clones, _DEPTH, seconds)

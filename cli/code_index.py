"""What the commands of the code index share: the open index, finding a root by what a person calls it, its JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.screen import make_console, styled
from domain.errors import CausegraphError, GraphError, IndexingError, NotFound
from domain.times import format_us

if TYPE_CHECKING:
    from domain.settings import Settings
    from graph.code import CodeGraph
    from graph.connection import GraphConnection
    from indexer.code_graph import CodeGraphUpdate, LinkReport
    from indexer.merkle import Change
    from indexer.sync import OnStep, Syncer, SyncReport
    from storage.code import CodeRoot, CodeService, CodeStore
    from storage.database import Database

_SHORTEST_ID = 4


@dataclass(frozen=True)
class CodeIndex:
    """The store and the syncer of one data folder, and what links the code that they hold."""

    settings: Settings
    database: Database
    store: CodeStore
    syncer: Syncer
    graph: GraphOpener

    async def find_root(self, called: str) -> CodeRoot:
        """Return the root that is meant by a path, an address, an id or the beginning of one; raises NotFound."""
        roots = await self.store.roots()
        path = _absolute(called)
        found = [root for root in roots if called in (root.id, root.location) or root.location == path]
        if not found and len(called) >= _SHORTEST_ID:
            found = [root for root in roots if root.id.startswith(called)]
        if len(found) > 1:
            raise NotFound(f"{called} may mean {len(found)} code bases: name it by its id (`causegraph index list`).")
        if not found:
            raise NotFound(f"{called} is not indexed: see `causegraph index list`, or run `causegraph index {called}`.")
        return found[0]

    async def add(self, root: CodeRoot, services: Sequence[CodeService], on_step: OnStep) -> SyncReport:
        """Add a root and sync it; a new one that cannot be read, or holds nothing to index, is not kept."""
        root = await self.store.add_root(root)
        try:
            if services:
                await self.store.set_services(root.id, services)
            report = await self.syncer.sync(root.id, on_step)
            if not report.root.files and not root.generation:
                why = ", ".join(f"{count:,} {name}" for name, count in report.skipped.items())
                told = [f"files left out: {why}"] if why else []
                reason = "; ".join([*told, *report.problems[:3]]) or "it is empty"
                raise IndexingError(f"{root.location} holds nothing to index: {reason}.")
        except CausegraphError:
            if not root.generation and (await self.store.root(root.id)).files == 0:
                await self.syncer.remove(root)
            raise
        return report

    async def link(self, root_id: str, *, check_graph: bool) -> LinkReport:
        """Link the code of a root and bring its graph up to date; `check_graph` looks even where nothing changed."""
        return await self._links.update(root_id, check_graph=check_graph)

    @cached_property
    def _links(self) -> CodeGraphUpdate:
        """One for all roots: it keeps what it has read of them."""
        from indexer.code_graph import CodeGraphUpdate
        from indexer.search import CodeSearch
        from storage.code_links import CodeLinkStore

        search = CodeSearch(self.store, self.syncer.clones)
        return CodeGraphUpdate(self.store, CodeLinkStore(self.database), search, self.graph)

    async def remove(self, root: CodeRoot) -> str:
        """Remove a root and its graph; return what could not be removed, "" if nothing is left."""
        await self.syncer.remove(root)
        try:
            await self.graph().drop(root.id)
        except GraphError as exc:
            return f"its code graph is still there: {exc}"
        return ""


class GraphOpener:
    """Opens the code graphs when they are first asked for: most syncs find nothing to write, and end before."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: GraphConnection | None = None

    def __call__(self) -> CodeGraph:
        from graph.code import CodeGraph
        from graph.connection import GraphConnection

        self._connection = self._connection or GraphConnection(self._url)
        return CodeGraph(self._connection)

    async def close(self) -> None:
        """Close what was opened."""
        if self._connection is not None:
            await self._connection.close()


def _absolute(called: str) -> str:
    return str(Path(called).expanduser().resolve()) if called and "\0" not in called else ""


@asynccontextmanager
async def open_index() -> AsyncIterator[CodeIndex]:
    """Open the index on the servers of the settings."""
    from cli.services import open_servers
    from domain.settings import load_settings
    from indexer.sync import Syncer
    from storage.code import CodeStore

    settings = load_settings()
    notes = make_console(stderr=True)
    async with open_servers(settings, lambda line: notes.print(styled(line, "dim"))) as (database, graph_url):
        store, graph = CodeStore(database), GraphOpener(graph_url)
        syncer = Syncer(store, settings)
        try:
            yield CodeIndex(settings, database, store, syncer, graph)
        finally:
            await graph.close()


def read_services(given: Sequence[str]) -> list[CodeService]:
    """Read `NAME` or `NAME=FOLDER` of the command line; raises IndexingError."""
    from storage.code import CodeService

    services = []
    for text in given:
        name, _, folder = text.partition("=")
        folder = folder.strip("/").removeprefix("./")
        if not name.strip() or len(name) > 128 or len(folder) > 500 or ".." in folder.split("/"):
            raise IndexingError(f"--service {text!r}: write NAME, or NAME=FOLDER with a folder inside the code base.")
        services.append(CodeService("", "" if folder == "." else folder, name.strip()))
    return services


def root_body(root: CodeRoot, services: Sequence[CodeService] = ()) -> dict[str, Any]:
    """Return a root as JSON."""
    return {
        "id": root.id,
        "kind": root.kind,
        "location": root.location,
        "branch": root.branch or None,
        "services": [{"service": s.service, "folder": s.folder} for s in services if s.root_id == root.id],
        "files": root.files,
        "bytes": root.bytes,
        "tree_hash": root.tree_hash or None,
        "commit": root.commit or None,
        "generation": root.generation,
        "changed_at": format_us(root.changed_us) if root.changed_us else None,
        "checked_at": format_us(root.checked_us) if root.checked_us else None,
        "problems": list(root.problems),
    }


def report_body(report: SyncReport) -> dict[str, Any]:
    """Return what a sync did as JSON."""
    kinds = Counter(change.kind for change in report.changes)
    body = root_body(report.root)
    del body["services"]  # a sync knows nothing of them
    return body | {
        "changes": {kind: kinds[kind] for kind in ("added", "changed", "removed", "moved")},
        "parsed": report.parsed,
        "read": report.read,
        "skipped": dict(report.skipped),
        "problems": list(report.problems),
        "seconds": round(report.seconds, 3),
    }


def links_body(report: LinkReport) -> dict[str, Any]:
    """Return what linking did as JSON."""
    return {
        "edges": report.edges,
        "written": report.written,
        "anew": report.anew,
        "problem": report.problem or None,
        "seconds": round(report.seconds, 3),
    }


def change_body(change: Change) -> dict[str, str]:
    """Return a changed path as JSON."""
    return {"kind": change.kind, "path": change.path} | ({"from": change.before} if change.kind == "moved" else {})

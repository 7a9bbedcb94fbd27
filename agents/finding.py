"""Finding evidence for a text: candidates of every kind side by side, fused, spread over the graph, ranked, packed.

What comes out was written by strangers: it is shown and cited, and never becomes a query, a command or markup.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from agents.code_candidates import code_candidates, code_links
from agents.runbook_search import RunbookSearch
from diagnosis.wording import named_services
from domain.errors import CausegraphError, GraphError
from domain.terms import rank_texts
from retrieval.embedding import FARTHEST, QueryEmbedder
from retrieval.fusion import Fused
from retrieval.items import Candidates, Item, Link, Wanted, item_key
from retrieval.neighbourhood import read_neighbourhood
from retrieval.pack import EvidencePack, make_pack
from retrieval.page_rank import spread_rank
from retrieval.ranking import choose_seeds, fuse_all, fuse_texts, look_again, rank_graph
from retrieval.store_items import service_item
from retrieval.store_sources import DEPTH, StoreSources
from storage.search import SearchStore

if TYPE_CHECKING:
    from domain.embedding import Embedder
    from graph.topology import TopologyGraph
    from indexer.search import CodeSearch
    from storage.vectors import VectorStore

_AROUND = 10  # of the first that were found, the services are looked around
_SECTIONS = 20
_ENDS = 80  # of one kind, that the graph brings


@dataclass(frozen=True, slots=True)
class _Searched:
    code: CodeSearch
    vectors: VectorStore | None
    embedder: Embedder | None


class Finder:
    """Finds evidence of every kind in one set of stores. A store that fails is a note, and the others' hits count."""

    def __init__(
        self,
        *,
        store: SearchStore,
        graph: TopologyGraph,
        code: CodeSearch,
        runbooks: RunbookSearch,
        vectors: VectorStore | None,
        embedder: Embedder | None,
    ) -> None:
        self._store = store
        self._graph = graph
        self._code = code
        self._runbooks = runbooks
        self._vectors = vectors
        self._embedder = embedder

    async def find(
        self,
        wanted: Wanted,
        *,
        limit: int = 10,
        tokens: int = 4_000,
        timed: bool = False,
    ) -> EvidencePack:
        """Return what fits a text best, at most `limit` within a budget of tokens.

        `timed` says that the text is about `wanted.moment_us`; otherwise the graph is looked at as of the newest thing
        that was found.
        """
        wanted, candidates = await self.gather(wanted, timed=timed)
        fused = fuse_texts(wanted, candidates)
        if not timed:
            wanted = replace(wanted, moment_us=newest_us(wanted, candidates, fused))
        links = await self.look_around(wanted, candidates, fused)
        graph = rank_graph(wanted, candidates, links, choose_seeds(wanted, candidates, fused))
        hits = look_again(wanted, candidates, fuse_all(wanted, candidates, fused, graph), timed=timed)
        shown = hits[:limit]
        items = await StoreSources(self._store, None, None).with_newest_lines(wanted, [hit.item for hit in shown])
        shown = [replace(hit, item=item) for hit, item in zip(shown, items, strict=True)]
        return make_pack(wanted, candidates, [*shown, *hits[limit:]], links, limit=limit, tokens=tokens, timed=timed)

    async def gather(self, wanted: Wanted, *, timed: bool = False) -> tuple[Wanted, Candidates]:
        """Return the text with the services that it names and those with trouble then, and the candidates of all sources."""
        embedder = QueryEmbedder(self._embedder) if self._embedder else None
        stores = StoreSources(self._store, self._vectors, embedder)
        known, note = await self._known_services(wanted.environment)
        named = tuple(dict.fromkeys((*wanted.named, *named_services(wanted.text, known))))
        unwell = wanted.unwell or (await stores.unwell(wanted) if timed else {})
        wanted = replace(wanted, named=named, unwell=unwell)
        sources: list[tuple[str, Awaitable[Candidates]]] = []
        for kinds, what, source in (
            (("template",), "log templates", stores.templates),
            (("line",), "lines", stores.lines),
            (("line", "request"), "request traces", stores.requests),
            (("incident",), "incidents", stores.incidents),
            (("change",), "changes", stores.changes),
            (("event",), "orchestrator events", stores.events),
            (("run",), "agent runs", stores.runs),
        ):
            if any(wanted.wants(kind) for kind in kinds):  # type: ignore[arg-type]
                sources.append((what, source(wanted)))
        if wanted.wants("code"):
            sources.append(("code", code_candidates(_Searched(self._code, self._vectors, embedder), wanted)))
        if wanted.wants("runbook"):
            sources.append(("runbooks", self._find_runbooks(wanted, embedder)))
        found = await asyncio.gather(*(_tried(what, source) for what, source in sources))
        return wanted, _services(wanted, known, note).join(found)

    async def look_around(self, wanted: Wanted, candidates: Candidates, fused: Sequence[Fused]) -> list[Link]:
        """Return the links around what was found; templates and changes at their ends become candidates."""
        first = [candidates.items[one.key].services for one in fused[:_AROUND]]
        services = dict.fromkeys((*wanted.named, *wanted.unwell, *(name for some in first for name in some)))
        links: list[Link] = []
        try:
            around = (wanted.environment, list(services), wanted.moment_us, wanted.window)
            links += await read_neighbourhood(self._graph, *around)
        except GraphError as exc:
            candidates.notes.append(f"The topology was not looked at: {exc}")
        try:
            await self._add_ends(wanted, candidates, fused, links)
            if wanted.wants("code"):
                links += await code_links(_Searched(self._code, self._vectors, None), wanted, candidates)
        except CausegraphError as exc:
            candidates.notes.append(f"What is around was not looked at: {exc}")
        return _with_own(links, candidates)

    async def _add_ends(
        self, wanted: Wanted, candidates: Candidates, fused: Sequence[Fused], links: Sequence[Link]
    ) -> None:
        """Make candidates of the templates and changes around, those that the graph ranks first."""
        stores = StoreSources(self._store, None, None)
        ranks = spread_rank(_with_own(links, candidates), choose_seeds(wanted, candidates, fused), wanted.moment_us)
        by_kind: dict[str, list[str]] = {"template": [], "change": []}
        for end in sorted(ranks, key=lambda key: (-ranks[key], key)):
            kind, _, identifier = end.partition(":")
            if end not in candidates.items and len(by_kind.setdefault(kind, [])) < _ENDS:
                by_kind[kind].append(identifier)
        items: list[Item] = []
        if wanted.wants("template") and by_kind["template"]:
            items += await stores.templates_of(wanted.environment, wanted.window, map(int, by_kind["template"]))
        if wanted.wants("change") and by_kind["change"]:
            items += await stores.changes_of(wanted.environment, wanted.window, by_kind["change"])
        for item in items:
            candidates.add(item)

    async def _known_services(self, environment: str) -> tuple[list[str], str]:
        try:
            return await self._graph.services(environment), ""
        except GraphError as exc:
            return [], f"The names of the services are not known: {exc}"

    async def _find_runbooks(self, wanted: Wanted, embedder: Embedder | None) -> Candidates:
        found = Candidates()
        hits, note = await self._runbooks.find(wanted.text, _SECTIONS, embedder)
        for hit in hits:
            runbook = hit.section.runbook
            heading = f": {hit.section.heading}" if hit.section.heading else ""
            own = item_key("runbook", runbook.id)
            named = [name for name in wanted.named if name in runbook.services]
            item = Item(
                kind="runbook",
                id=runbook.id,
                title=f"{runbook.title}{heading}"[:300],
                text=hit.section.searched,
                opens=f"/runbooks/{runbook.id}",
                services=tuple(named),
                links=tuple(Link(own, item_key("service", name), "RELATED_RUNBOOK") for name in named),
            )
            if "words" in hit.by:
                found.add_worded([item])
            if hit.distance is not None and hit.distance < FARTHEST and own not in found.near:
                found.add_near(item, hit.distance)
            if runbook.id in wanted.text:
                found.add_exact(item, runbook.id)
        found.notes += [note] if note else []
        return found


def newest_us(wanted: Wanted, candidates: Candidates, fused: Sequence[Fused]) -> int:
    """Return the newest time among the first that were found; the end of the window where none has a time."""
    times = [candidates.items[one.key].time_us for one in fused[:_AROUND]]
    return min(wanted.window.end_us, max((time for time in times if time is not None), default=wanted.moment_us))


def _with_own(links: Iterable[Link], candidates: Candidates) -> list[Link]:
    """Return links with those that the candidates bring, each once."""
    own = (link for item in candidates.items.values() for link in item.links)
    return list({(link.source, link.target, link.kind): link for link in (*links, *own)}.values())


async def _tried(what: str, source: Awaitable[Candidates]) -> Candidates:
    try:
        return await source
    except CausegraphError as exc:
        return Candidates(notes=[f"Not searched: {what}: {exc}"])


def _services(wanted: Wanted, known: Sequence[str], note: str) -> Candidates:
    found = Candidates(notes=[note] if note else [])
    if wanted.wants("service"):
        items = {name: service_item(wanted.environment, name, wanted.moment_us) for name in known}
        found.add_worded(
            items[name] for name in rank_texts(((n, i.text) for n, i in items.items()), wanted.text, DEPTH)
        )
        for name in wanted.named:
            if name in items:
                found.add_exact(items[name], name)
    return found

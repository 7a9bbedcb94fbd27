"""Keeps the code graphs in line with MariaDB: after each sync every file is linked anew, and what differs is written.

The links with their times are kept in MariaDB; a graph is a projection of them. It notes in itself which state it holds:
one that was emptied, or restored from an old copy, is written anew.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from blake3 import blake3

from domain.errors import GraphError
from graph.code import CodeEdge, CodeGraph
from indexer.code_edges import LINKS_VERSION, Step, list_edges, pack_edges, take_step, unpack_edges
from indexer.facts import FACTS_VERSION
from indexer.search import CodeSearch
from storage.code import CodeRoot, CodeService, CodeStore
from storage.code_links import CodeLinkStore, Emission


@dataclass(frozen=True, slots=True)
class LinkReport:
    """What an update did: how many edges hold, how many were written (`anew`: all of them), and what went wrong."""

    root: CodeRoot
    edges: int = 0
    written: int = 0
    anew: bool = False
    problem: str = ""
    seconds: float = 0.0


class CodeGraphUpdate:
    """Links roots and writes their graphs. `open_graph` is called only where there is something to write or to check."""

    def __init__(
        self, store: CodeStore, links: CodeLinkStore, search: CodeSearch, open_graph: Callable[[], CodeGraph]
    ) -> None:
        self._store = store
        self._links = links
        self._search = search
        self._open_graph = open_graph

    async def update(self, root_id: str, *, check_graph: bool = True) -> LinkReport:
        """Bring a root's links and its graph up to date; without `check_graph` the graph is trusted where nothing changed.

        A graph that is away is a `problem` of the report: it is written the next time. Raises NotFound, StorageError.
        """
        began = time.perf_counter()
        root = await self._store.root(root_id)
        if root.facts_version != FACTS_VERSION:  # to be read again first: nothing is known of it
            return LinkReport(root)
        emissions = await self._links.emissions()
        state = _state_of(root, await self._store.services(), emissions)
        before, packed = await self._links.load(root_id)
        if before == state and not check_graph:
            return LinkReport(root)
        held = await asyncio.to_thread(unpack_edges, packed) if _same_version(before) else ()
        step = Step(held, (), ())
        if before != state:
            step = await self._link(root, held, emissions)
            if not await self._links.save(root_id, before, state, await asyncio.to_thread(pack_edges, step.edges)):
                return LinkReport(root, problem="another process has linked this code meanwhile")
        try:
            written, anew = await self._project(root_id, before, state, step)
        except GraphError as exc:
            return LinkReport(root, problem=f"the code graph was not written: {exc}")
        holding = sum(edge.valid_to_us is None for edge in step.edges)
        return LinkReport(root, holding, written, anew, seconds=time.perf_counter() - began)

    async def _link(self, root: CodeRoot, held: Sequence[CodeEdge], emissions: Sequence[Emission]) -> Step:
        loaded = await self._search.load()
        wanted = await asyncio.to_thread(list_edges, loaded, root.id, emissions)
        return await asyncio.to_thread(take_step, held, wanted, time.time_ns() // 1000)

    async def _project(self, root_id: str, before: str, state: str, step: Step) -> tuple[int, bool]:
        """Write what the graph of a root lacks; return how many edges that were, and whether it was written anew."""
        graph = self._open_graph()
        found = await graph.state(root_id)
        if found == state:
            return 0, False
        if found == before and _same_version(before):
            await graph.write_step(root_id, step.written, step.forgotten, state)
            return len(step.written), False
        await graph.write_anew(root_id, step.edges, state)
        return len(step.edges), True


def holds_generation(state: str, root: CodeRoot) -> bool:
    """Say whether a state is of a root's present files (perhaps without the newest log templates)."""
    return state.startswith(f"{LINKS_VERSION}.{root.added_us}.{root.generation}.")


def _same_version(state: str) -> bool:
    return state.startswith(f"{LINKS_VERSION}.")


def _state_of(root: CodeRoot, services: Sequence[CodeService], emissions: Sequence[Emission]) -> str:
    digest = blake3()
    for one in services:
        digest.update(f"{one.root_id}\0{one.folder}\0{one.service}\n".encode())
    for emission in emissions:
        digest.update(f"{emission.service}\0{emission.template_id}\n".encode())
    return f"{LINKS_VERSION}.{root.added_us}.{root.generation}.{digest.hexdigest(length=12)}"

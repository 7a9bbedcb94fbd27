"""The projection of ingested telemetry into the topology graph. It follows the ingest; the ingest never waits for it.

1. `topology`: the batches after its place are joined into calls, sightings and emissions, and these into intervals, all
   in the MariaDB transaction that moves its place. A pair of spans counts when the later of the two is stored, and a
   call that nobody took (to a database, a host outside) until the span comes that took it, so the order in which
   they come does not matter.
2. `graph`: what changed in MariaDB is written to each environment's graph as absolute values. How far a graph has come
   is noted in that graph itself: a FalkorDB that is restored, emptied or cut short by a crash is written again from
   there, which is looked at whenever the server turns out to be another run than the one seen last.

While the graph is down step 1 goes on; step 2 catches up when it returns.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterator, Sequence

from domain.errors import GraphError, StorageError
from domain.telemetry import StatedEdge
from domain.times import HOUR_US, SLOT_US
from graph.intervals import Interval, unite
from graph.ontology import ChangeNode, Edge, EdgeFamily, EdgeKind, ServiceNode
from graph.topology import TopologyGraph
from ingest import said_addresses
from ingest.peers import name_peer
from storage.database import Database
from storage.topology import ChangeRow, Observation, TopologyStore

logger = logging.getLogger(__name__)

_BATCHES = 64
_POLL_SECONDS = 0.3
_PAUSE_SECONDS = 1.0  # after a failure
_WAIT_SECONDS = 0.03

_KINDS: dict[str, EdgeKind] = {"CALLS": "CALLS", "RUNS_ON": "RUNS_ON", "EMITTED": "EMITTED"}


class TopologyProjection:
    """Keeps the graphs of all environments up to date. Any number of processes may run one: they take turns.

    `lifetime_us` is how long an observed edge holds after it was last seen, in microseconds, at least a slot.
    """

    def __init__(self, database: Database, graph: TopologyGraph, lifetime_us: int, *, batches: int = _BATCHES) -> None:
        if lifetime_us < SLOT_US:
            raise ValueError("an edge's lifetime cannot be shorter than a slot")
        self._store = TopologyStore(database, said_addresses)
        self._graph = graph
        self._lifetime_us = lifetime_us
        self._batches = batches
        self._checked_run = ""
        self._woken = asyncio.Event()

    async def advance(self) -> int:
        """Take one step and return the number of the last ingest batch that the graph now holds.

        Raises StorageError, or GraphError once MariaDB's part of the step is done. A crash anywhere loses nothing and
        counts nothing twice.
        """
        places = await self._store.positions()
        if places.topology < places.head:
            # Coarser than a slot for what has no slots, but never so coarse as to bridge a gap between two intervals.
            window_us = min(self._lifetime_us, HOUR_US)
            await self._store.follow(self._batches, window_us, self._merge, name_peer)
            places = await self._store.positions()
        run = await self._graph.incarnation()
        if run == self._checked_run and places.graph >= places.topology:
            return places.graph
        reached = await self._store.hold("graph", lambda place: self._write_graphs(place, run))
        return places.graph if reached is None else reached

    async def run(self, stop: asyncio.Event) -> None:
        """Take steps until `stop` is set: at once after `notify`, else every 0.3 s. Outlives failures of both servers.

        Ends within a second of being told; `stop.set()` and then `notify()` ends it at once.
        """
        failing = ""
        while not stop.is_set():
            pause = _POLL_SECONDS
            try:
                reached = await self.advance()
                # A step costs the same for one delivery as for many: under load they are let come together.
                if reached + self._batches <= (await self._store.positions()).head:
                    pause = _WAIT_SECONDS
                if failing:
                    logger.info("the topology is being followed again", extra={"seq": reached})
                failing = ""
            except (StorageError, GraphError) as exc:
                pause = _PAUSE_SECONDS
                if type(exc).__name__ != failing:
                    failing = type(exc).__name__
                    logger.warning("the topology is not up to date", extra={"reason": str(exc)})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            self._woken.clear()

    def notify(self) -> None:
        """Say that something was ingested: `run` looks at once."""
        self._woken.set()

    async def wait_for(self, seq: int, timeout: float) -> bool:
        """Wait until the graph holds everything up to an ingest batch, whichever process writes it.

        Returns False after `timeout` seconds without that. Raises StorageError.
        """
        deadline = asyncio.get_running_loop().time() + timeout
        while (await self._store.positions()).graph < seq:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                return False
            self.notify()
            await asyncio.sleep(min(_WAIT_SECONDS, left))
        return True

    async def rebuild(self, environment: str | None = None) -> None:
        """Write the graph of one environment, or of all, anew from MariaDB; it is empty meanwhile.

        Do so after the lifetime of edges was changed: a longer one joins intervals (a shorter one cannot part those
        that were joined, but lets each end sooner).
        """

        async def write(place: int) -> int:
            target = (await self._store.positions()).topology
            every = await self._store.environments_since(0)
            for name in every if environment is None else [environment]:
                await self._graph.drop(name)
                await self._write_graph(name, target)
            return place if environment is not None else target

        await self._store.hold("graph", write, wait=True)

    # -- MariaDB to graph ----------------------------------------------------------------------------------------------

    async def _write_graphs(self, place: int, run: str) -> int:
        """Bring every graph up to date that is behind. Called by one process at a time."""
        target = (await self._store.positions()).topology
        for name in await self._store.environments_since(place if run == self._checked_run else 0):
            await self._write_graph(name, target)
        self._checked_run = run
        return target

    async def _write_graph(self, environment: str, target: int) -> None:
        done = await self._graph.followed_to(environment)
        if done == target:
            return
        if done is not None and done > target:
            logger.warning("a graph is ahead of its database and is written anew", extra={"environment": environment})
            await self._graph.drop(environment)
            done = None
        if done is None:
            await self._graph.ensure_indexes(environment)
            done = 0
        observed = await self._store.observed_since(environment, done)
        changes = await self._store.changes_since(environment, done)
        await self._graph.write_nodes(environment, _nodes(observed, changes))
        edges = [
            *self._observed_edges(observed),
            *map(_stated_edge, await self._store.stated_since(environment, done)),
            *(_change_edge(change) for change in changes if change.service),
        ]
        await self._graph.write_edges(environment, edges)
        gone = _gone_families(observed)
        await self._graph.remove_edges(environment, gone)
        if names := {family.target for family in gone}:
            await self._graph.remove_lone_services(environment, names - await self._store.reporting(environment, names))
        await self._graph.follow_to(environment, target)

    def _observed_edges(self, observed: Sequence[Observation]) -> Iterator[Edge]:
        by_family: dict[object, list[Observation]] = {}
        for seen in observed:
            if seen.count:
                by_family.setdefault(seen.family, []).append(seen)
        for group in by_family.values():
            # Again: the lifetime may be longer now than it was when the rows were written.
            yield from (self._observed_edge(seen) for seen in self._merge(group) if seen.family.target)

    def _observed_edge(self, seen: Observation) -> Edge:
        return Edge(
            source=seen.family.source,
            target=seen.family.target,
            kind=_KINDS[seen.family.kind],
            observed_by=seen.family.observed_by,
            valid_from_us=seen.first_us,
            valid_to_us=seen.last_us + self._lifetime_us,
            last_seen_us=seen.last_us,
            count=seen.count,
            errors=seen.errors,
            level=seen.level,
        )

    def _merge(self, observations: Sequence[Observation]) -> list[Observation]:
        family = observations[0].family
        seen = (Interval(o.first_us, o.last_us, o.count, o.errors, o.level) for o in observations)
        return [
            Observation(family, interval.first_us, interval.last_us, interval.count, interval.errors, interval.level)
            for interval in unite(seen, self._lifetime_us)
        ]


def _gone_families(observed: Sequence[Observation]) -> list[EdgeFamily]:
    """Return the edges of which nothing is left: peers that turned out to be services of ours."""
    standing = {seen.family for seen in observed if seen.count}
    return [
        EdgeFamily(_KINDS[family.kind], family.source, family.target, family.observed_by, stated=False)
        for family in dict.fromkeys(seen.family for seen in observed)
        if family not in standing
    ]


def _nodes(observed: Sequence[Observation], changes: Sequence[ChangeRow]) -> Iterator[ServiceNode | ChangeNode]:
    """Yield the nodes that may have no edge: a service whose host is not known, a change of no service."""
    for name in sorted({seen.family.source for seen in observed if not seen.family.target}):
        yield ServiceNode(name)
    for change in changes:
        yield ChangeNode(change.id, change.time_us, change.kind, change.version)


def _stated_edge(stated: StatedEdge) -> Edge:
    return Edge(
        source=stated.source,
        target=stated.target,
        kind=stated.kind,
        observed_by=stated.observed_by,
        valid_from_us=stated.valid_from_us,
        valid_to_us=stated.valid_to_us,
        last_seen_us=stated.valid_from_us,
        stated=True,
    )


def _change_edge(change: ChangeRow) -> Edge:
    return Edge(
        source=change.id,
        target=change.service,
        kind="CHANGED",
        observed_by="changes",
        valid_from_us=change.time_us,
        valid_to_us=None,
        last_seen_us=change.time_us,
        count=1,
    )

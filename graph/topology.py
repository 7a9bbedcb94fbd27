"""The one door to FalkorDB: the topology of an environment as it was at any moment.

Every statement is a named query (`connection.py`). Writes carry absolute values, so a statement that ran twice did no harm.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import batched
from typing import Any

from graph.connection import GraphConnection
from graph.ontology import (
    BATCH,
    EDGE_KINDS,
    ChangeNode,
    Edge,
    EdgeFamily,
    EdgeKind,
    Emission,
    ServiceNode,
    graph_name,
)
from graph.view import as_networkx, find_paths

_MAX_HOPS = 6
_MOST_EDGES = 50_000  # looked at from either end of a path
_INDEXES = (
    *("index_services", "index_nodes", "index_templates", "index_changes"),
    *("index_calls_begin", "index_calls_end"),
)


class TopologyGraph:
    """The topology graphs of one FalkorDB, one per environment. Close it when done.

    `url` is `redis://host:port`, `rediss://host:port` or `unix:///path`. Nothing is connected before the first query.
    Every method raises GraphUnavailable where FalkorDB cannot be reached and GraphError for anything else it refuses;
    an environment that was never written to reads as empty. Times are microseconds since 1970.
    """

    def __init__(self, url: str) -> None:
        self.connection = GraphConnection(url)

    # -- writing -------------------------------------------------------------------------------------------------------

    async def ensure_indexes(self, environment: str) -> None:
        """Create the indexes of an environment's graph where they are missing."""
        await self.connection.ensure_indexes(graph_name(environment), _INDEXES)

    async def write_nodes(self, environment: str, nodes: Iterable[ServiceNode | ChangeNode]) -> None:
        """Add services and changes, or bring what is known of them up to date."""
        services: list[dict[str, object]] = []
        changes: list[dict[str, object]] = []
        for node in nodes:
            match node:
                case ServiceNode(name):
                    services.append({"name": name})
                case ChangeNode(key, time_us, kind, version):
                    changes.append({"id": key, "time_us": time_us, "kind": kind, "version": version})
        for query, rows in (("write_services", services), ("write_changes", changes)):
            for part in batched(rows, BATCH):
                await self._write(environment, query, {"nodes": part})

    async def write_edges(self, environment: str, edges: Iterable[Edge]) -> None:
        """Write all intervals of the families (Edge.family) that the edges belong to; their ends are added as needed.

        An interval of such a family that is in the graph and not among the edges has been merged into another one: it
        is removed, after the others are written, so that a reader in between sees an edge twice rather than not at all.
        """
        by_kind: defaultdict[EdgeKind, list[Edge]] = defaultdict(list)
        for edge in edges:
            by_kind[edge.kind].append(edge)
        for kind, group in by_kind.items():
            for part in batched(group, BATCH):
                await self._write(environment, _query("write", kind), {"edges": [_edge_row(edge) for edge in part]})
            kept: defaultdict[EdgeFamily, list[int]] = defaultdict(list)
            for edge in group:
                kept[edge.family].append(edge.valid_from_us)
            await self._prune(environment, kept)

    async def remove_edges(self, environment: str, families: Iterable[EdgeFamily]) -> None:
        """Remove all intervals of some families. The services at their ends stay (see `remove_lone_services`)."""
        await self._prune(environment, {family: [] for family in families})

    async def _prune(self, environment: str, kept: Mapping[EdgeFamily, Sequence[int]]) -> None:
        by_kind: defaultdict[EdgeKind, list[dict[str, object]]] = defaultdict(list)
        for family, moments in kept.items():
            by_kind[family.kind].append(_family_row(family, moments))
        for kind, rows in by_kind.items():
            for part in batched(rows, BATCH):
                await self._write(environment, _query("prune", kind), {"families": part})

    async def remove_lone_services(self, environment: str, names: Iterable[str]) -> None:
        """Remove those of these services that have no edge."""
        for part in batched(sorted(names), BATCH):
            await self._write(environment, "remove_lone_services", {"names": part})

    async def follow_to(self, environment: str, seq: int) -> None:
        """Note in the graph itself that it holds everything up to an ingest batch's number."""
        await self._write(environment, "follow_to", {"seq": seq})

    async def drop(self, environment: str) -> None:
        """Delete the whole graph of an environment, if there is one."""
        await self.connection.drop(graph_name(environment))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def edges_as_of(
        self, environment: str, moment_us: int, kinds: Sequence[EdgeKind] = ("CALLS",), slack_us: int = 0
    ) -> list[Edge]:
        """Return the edges that were valid at a moment, or at some moment within `slack_us` before or after it."""
        window = {"since_us": moment_us - slack_us, "until_us": moment_us + slack_us}
        return _ordered(
            [edge for kind in kinds for edge in await self._edges(environment, _query("as_of", kind), kind, window)]
        )

    async def edges_between(
        self, environment: str, source: str, target: str, kinds: Sequence[EdgeKind] = EDGE_KINDS
    ) -> list[Edge]:
        """Return every interval of every edge from one thing to another: calls first, then by time."""
        ends = {"source": source, "target": target}
        return _ordered(
            [edge for kind in kinds for edge in await self._edges(environment, _query("between", kind), kind, ends)]
        )

    async def neighbourhood(
        self, environment: str, service: str, moment_us: int, hops: int = 2, limit: int = 200
    ) -> list[Edge]:
        """Return the calls within `hops` (at most 6) of a service, in both directions, and the nodes those services ran on.

        At most `limit` edges, the nearest first: a hub does not drown the rest.
        """
        found, reached = await self._within(environment, [service], moment_us, hops, limit)
        hosts = {"services": sorted(reached), "moment_us": moment_us, "limit": limit}
        hosted = _ordered(await self._edges(environment, "runs_on_from", "RUNS_ON", hosts))
        return list(found | dict.fromkeys(hosted))[:limit]

    async def surroundings(
        self, environment: str, services: Sequence[str], moment_us: int, hops: int = 2, limit: int = 5_000
    ) -> list[Edge]:
        """Return the calls within `hops` of any of some services, in both directions; about `limit` at most, the nearest first."""
        found, _ = await self._within(environment, services, moment_us, hops, limit)
        return list(found)

    async def _within(
        self, environment: str, services: Sequence[str], moment_us: int, hops: int, limit: int
    ) -> tuple[dict[Edge, None], set[str]]:
        """Return the calls within `hops` of some services, the nearest first, and the services that they reach."""
        found: dict[Edge, None] = {}
        reached, frontier = set(services), list(services)
        for _ in range(min(hops, _MAX_HOPS)):
            if not frontier or len(found) >= limit:
                break
            near = {"services": frontier, "since_us": moment_us, "until_us": moment_us, "limit": limit}
            edges = await self._edges(environment, "calls_from", "CALLS", near)
            edges += await self._edges(environment, "calls_to", "CALLS", near)
            found |= dict.fromkeys(_ordered(edges))
            frontier = sorted({end for edge in edges for end in (edge.source, edge.target)} - reached)
            reached.update(frontier)
        return found, reached

    async def belongings(
        self, environment: str, services: Sequence[str], since_us: int, until_us: int, limit: int
    ) -> list[Edge]:
        """Return what belongs to each of some services within a window: where they ran, and at most `limit` each of the
        gravest templates that they wrote and of their newest changes."""
        within = {"services": services, "since_us": since_us, "until_us": until_us, "limit": limit}
        hosts = {"services": services, "moment_us": until_us - 1, "limit": limit * len(services)}
        edges = await self._edges(environment, "runs_on_from", "RUNS_ON", hosts)
        edges += await self._edges(environment, "emitted_from", "EMITTED", within)
        edges += await self._edges(environment, "changed_to", "CHANGED", within)
        return edges

    async def paths(
        self,
        environment: str,
        cause: str,
        symptom: str,
        moment_us: int,
        max_hops: int = 6,
        limit: int = 5,
        slack_us: int = 0,
    ) -> list[list[str]]:
        """Return the shortest chains of services by which the symptom called the cause then: cause first, symptom last.

        Looked for from both ends at once: in a graph of a million calls, only those near either are read.
        """
        window = {"since_us": moment_us - slack_us, "until_us": moment_us + slack_us}
        near = await self._spread(environment, "calls_from", symptom, (max_hops + 1) // 2, window)
        near |= await self._spread(environment, "calls_to", cause, max_hops // 2, window)
        return await asyncio.to_thread(find_paths, as_networkx(near), cause, symptom, max_hops, limit)

    async def _spread(
        self, environment: str, query: str, service: str, hops: int, window: Mapping[str, int]
    ) -> dict[Edge, None]:
        """Return the calls within some hops of a service in one direction."""
        found: dict[Edge, None] = {}
        reached, frontier = {service}, [service]
        for _ in range(hops):
            if not frontier or len(found) >= _MOST_EDGES:
                break
            edges = await self._edges(
                environment, query, "CALLS", {"services": frontier, "limit": _MOST_EDGES, **window}
            )
            found |= dict.fromkeys(_ordered(edges))
            frontier = sorted({end for edge in edges for end in (edge.source, edge.target)} - reached)
            reached.update(frontier)
        return found

    async def diff(self, environment: str, earlier_us: int, later_us: int) -> tuple[list[Edge], list[Edge]]:
        """Return (added, removed): the calls between pairs that were connected at one moment only."""
        first_us, last_us = sorted((earlier_us, later_us))
        came = await self._unless_at(environment, "calls_came", first_us, last_us, first_us)
        went = await self._unless_at(environment, "calls_went", first_us, last_us, last_us)
        return (came, went) if earlier_us <= later_us else (went, came)

    async def _unless_at(
        self, environment: str, query: str, earlier_us: int, later_us: int, other_us: int
    ) -> list[Edge]:
        """Return the calls that a query finds, but those of pairs that another call connected at the other moment."""
        edges = await self._edges(environment, query, "CALLS", {"earlier_us": earlier_us, "later_us": later_us})
        still: set[tuple[str, str]] = set()
        for pairs in batched(sorted({(edge.source, edge.target) for edge in edges}), BATCH):
            rows = await self._read(environment, "pairs_at", {"pairs": pairs, "moment_us": other_us})
            still |= {(str(source), str(target)) for source, target in rows}
        return _ordered([edge for edge in edges if (edge.source, edge.target) not in still])

    async def templates_of(self, environment: str, service: str) -> list[Emission]:
        """Return the log templates that a service ever wrote, by id."""
        rows = await self._read(environment, "templates_of", {"service": service})
        return sorted(
            (Emission(row[0], int(row[1]), *(int(value) for value in row[2:])) for row in rows),
            key=lambda emission: emission.template_id,
        )

    async def services(self, environment: str) -> list[str]:
        """Return the names of all services ever seen, sorted."""
        return [str(row[0]) for row in await self._read(environment, "services", {})]

    async def followed_to(self, environment: str) -> int | None:
        """Return the number of the last ingest batch that the graph holds, None if it holds nothing."""
        rows = await self._read(environment, "followed_to", {})
        return int(rows[0][0]) if rows else None

    async def incarnation(self) -> str:
        """Return a name for the server's present run: after a restart or a fail-over it is another one."""
        return await self.connection.incarnation()

    async def ping(self) -> str:
        """Return FalkorDB's version."""
        return await self.connection.ping()

    async def close(self) -> None:
        """Close every connection."""
        await self.connection.close()

    # -- the driver ----------------------------------------------------------------------------------------------------

    async def _edges(self, environment: str, query: str, kind: EdgeKind, values: Mapping[str, object]) -> list[Edge]:
        return [_edge_from_row(kind, row) for row in await self._read(environment, query, values)]

    async def _read(self, environment: str, query: str, values: Mapping[str, object]) -> list[list[Any]]:
        return await self.connection.read(graph_name(environment), query, values)

    async def _write(self, environment: str, query: str, values: Mapping[str, object]) -> None:
        await self.connection.write(graph_name(environment), query, values)


def _query(verb: str, kind: EdgeKind) -> str:
    return f"{kind.lower()}_{verb}" if verb in ("as_of", "between") else f"{verb}_{kind.lower()}"


def _edge_row(edge: Edge) -> dict[str, object]:
    return {
        "source": edge.source,
        "target": edge.target,
        "observed_by": edge.observed_by,
        "stated": edge.stated,
        "valid_from_us": edge.valid_from_us,
        "valid_to_us": edge.valid_to_us,
        "last_seen_us": edge.last_seen_us,
        "count": edge.count,
        "errors": edge.errors,
        "level": edge.level,
    }


def _family_row(family: EdgeFamily, kept: Sequence[int]) -> dict[str, object]:
    return {
        "source": family.source,
        "target": family.target,
        "observed_by": family.observed_by,
        "stated": family.stated,
        "kept": kept,
    }


def _edge_from_row(kind: EdgeKind, row: Sequence[Any]) -> Edge:
    source, target, observed_by, valid_from_us, valid_to_us, last_seen_us, count, errors, stated, level = row
    return Edge(
        source=source,
        target=target,
        kind=kind,
        observed_by=observed_by,
        valid_from_us=valid_from_us,
        valid_to_us=valid_to_us,
        last_seen_us=last_seen_us,
        count=count,
        errors=errors,
        stated=stated,
        level=level,
    )


def _ordered(edges: Iterable[Edge]) -> list[Edge]:
    return sorted(edges, key=_rank)


def _rank(edge: Edge) -> tuple[int, str, str, bool, int, str]:
    kind = EDGE_KINDS.index(edge.kind)
    return (kind, edge.source, edge.target, edge.stated, edge.valid_from_us, edge.observed_by)

"""The capped, typed neighbourhood of some services as of a moment, as links between things that can be found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from domain.telemetry import Level
from domain.times import Window
from graph.ontology import ENDS, Edge, Label
from graph.topology import TopologyGraph
from retrieval.items import GRAVE, ItemKind, Link, item_key

HOPS = 2
CALLS = 400
SERVICES = 40
PER_SERVICE = 20

_KINDS: dict[Label, ItemKind | str] = {
    Label.SERVICE: "service",
    Label.NODE: "node",
    Label.LOG_TEMPLATE: "template",
    Label.CHANGE: "change",
}


async def read_neighbourhood(
    graph: TopologyGraph, environment: str, services: Sequence[str], moment_us: int, window: Window
) -> list[Link]:
    """Return what is around some services: calls within two hops that held at the moment, their hosts, and the gravest
    templates and newest changes of each within the window. Raises GraphError."""
    if not services:
        return []
    calls = await graph.surroundings(environment, services, moment_us, HOPS, CALLS)
    # In the order in which they were reached: those that are asked about first, then the nearest.
    reached = list(dict.fromkeys((*services, *(end for edge in calls for end in (edge.source, edge.target)))))[
        :SERVICES
    ]
    more = await graph.belongings(environment, reached, window.start_us, window.end_us, PER_SERVICE)
    return [_link(edge) for edge in (*calls, *more)]


class CallChains:
    """The shortest chains of calls from some services to all others, by their keys.

    Whoever calls whom; with `directed` only from callers to those whom they call.
    """

    def __init__(self, links: Iterable[Link], start: Sequence[str], *, directed: bool = False) -> None:
        around: defaultdict[str, list[str]] = defaultdict(list)
        for link in links if start else ():
            if link.kind == "CALLS":
                around[link.source].append(link.target)
                if not directed:
                    around[link.target].append(link.source)
        self._before: dict[str, str] = dict.fromkeys(start, "")
        frontier = list(start)
        while frontier:
            following = []
            for name in frontier:
                for other in sorted(around[name]):
                    if other not in self._before:
                        self._before[other] = name
                        following.append(other)
            frontier = following

    def to(self, end: str) -> list[str]:
        """Return the chain that leads to `end`; empty where none does."""
        chain = [end] if end in self._before else []
        while chain and self._before[chain[-1]]:
            chain.append(self._before[chain[-1]])
        return chain[::-1]


def _link(edge: Edge) -> Link:
    weight = GRAVE if edge.kind == "EMITTED" and edge.level >= Level.ERROR else 1.0
    source, target = (
        item_key(_KINDS[label], end) for label, end in zip(ENDS[edge.kind], (edge.source, edge.target), strict=True)
    )
    return Link(source, target, edge.kind, None if edge.kind in ("CALLS", "RUNS_ON") else edge.last_seen_us, weight)

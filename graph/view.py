"""The calls between services as a networkx graph. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice, takewhile

import networkx as nx

from graph.ontology import Edge


def as_networkx(edges: Iterable[Edge]) -> nx.DiGraph:
    """Return the edges as a directed graph from caller to callee; several edges of a pair become one.

    Edge attributes: `count` and `errors` (totals), `observed_by` (names, sorted), `stated` (nobody saw it in
    telemetry), `valid_from_us` (earliest), `valid_to_us` (latest, None if open), `last_seen_us` (latest).
    """
    view = nx.DiGraph()
    for edge in sorted(edges, key=lambda edge: (edge.source, edge.target, edge.valid_from_us, edge.observed_by)):
        if not view.has_edge(edge.source, edge.target):
            view.add_edge(edge.source, edge.target, **_attributes(edge))
            continue
        known = view.edges[edge.source, edge.target]
        ends = (known["valid_to_us"], edge.valid_to_us)
        known["count"] += edge.count
        known["errors"] += edge.errors
        known["observed_by"] = tuple(sorted({*known["observed_by"], edge.observed_by}))
        known["stated"] = known["stated"] and edge.stated
        known["valid_to_us"] = None if None in ends else max(ends)
        known["last_seen_us"] = max(known["last_seen_us"], edge.last_seen_us)
    return view


def _attributes(edge: Edge) -> dict[str, object]:
    return {
        "count": edge.count,
        "errors": edge.errors,
        "observed_by": (edge.observed_by,),
        "stated": edge.stated,
        "valid_from_us": edge.valid_from_us,
        "valid_to_us": edge.valid_to_us,
        "last_seen_us": edge.last_seen_us,
    }


def find_paths(view: nx.DiGraph, cause: str, symptom: str, max_hops: int, limit: int) -> list[list[str]]:
    """Return up to `limit` simple paths along which the symptom's service calls the cause's, cause first.

    Shortest first, none with more than `max_hops` calls; [[cause]] where both are the same. Yen's algorithm as in
    networkx.shortest_simple_paths.
    """
    if cause not in view or symptom not in view:
        return []
    if cause == symptom:
        return [[cause]]
    found = takewhile(lambda path: len(path) <= max_hops + 1, nx.shortest_simple_paths(view, symptom, cause))
    try:
        return [path[::-1] for path in islice(found, limit)]
    except nx.NetworkXNoPath:
        return []

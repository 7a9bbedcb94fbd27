"""Where users meet a system that sends no request traces: at the top of what calls what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import networkx as nx

from diagnosis.symptom import Symptom
from domain.telemetry import INGRESS_PREFIX


def choose_entry(calls: Iterable[tuple[str, str]], among: Sequence[str] = ()) -> str:
    """Return the service that nobody calls and that reaches most others, of `among` where any of them is known."""
    graph = _graph(calls)
    candidates = [name for name in among if name in graph] or sorted(graph)
    return min(candidates, key=lambda name: (graph.in_degree(name) > 0, -_reach(graph, name), name), default="")


def climb(symptom: Symptom, symptoms: Sequence[Symptom], calls: Iterable[tuple[str, str]]) -> Symptom:
    """Return the symptom of the troubled service farthest above a service in trouble; that one itself if there is none.

    The loudest log is seldom where users meet the trouble. Only trouble of the same time counts.
    """
    graph = _graph(calls)
    held = [s for s in symptoms if s.start_us < symptom.end_us and s.end_us > symptom.start_us and s.service in graph]
    troubled = {s.service for s in held}
    above = [s for s in held if symptom.service in nx.descendants(graph, s.service)]
    return min(
        [symptom, *above],
        key=lambda s: (
            -len(nx.descendants(graph, s.service) & troubled) if s.service in graph else 0,
            -s.evidence,
            s.service,
        ),
    )


def services_below(services: Iterable[str], calls: Iterable[tuple[str, str]]) -> set[str]:
    """Return everything that services call, directly or through others."""
    graph = _graph(calls)
    return {name for service in services if service in graph for name in nx.descendants(graph, service)}


def _graph(calls: Iterable[tuple[str, str]]) -> nx.DiGraph:
    graph: nx.DiGraph = nx.DiGraph()
    # Users meet the service behind an ingress: that one tells of itself.
    felt = {(a, b) for a, b in calls if a != b and not a.startswith(INGRESS_PREFIX)}
    graph.add_edges_from(sorted(felt))
    return graph


def _reach(graph: nx.DiGraph, name: str) -> int:
    return len(nx.descendants(graph, name))

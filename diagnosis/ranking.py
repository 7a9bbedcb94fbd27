"""Causal ranking: which service is the cause of a symptom, which are its victims, which merely stand by.

For every service three numbers in 0..1 are multiplied, so that a reader can follow each score:

- own: what is wrong with the service itself. Signals are weighed and combined as independent hints (noisy or).
- reach: can trouble there reach the symptom? 1 where request traces were walked from the symptom to it; less where
  only the topology of the time leads there; next to nothing where nothing leads there (a loud bystander).
- unexplained: the part of its trouble that none of its dependencies explains (a victim's is small).

An onset later than the symptom's makes a service an effect, not a cause, whatever it says.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import networkx as nx

from diagnosis.blames import UNWALKED, culprit, walk_signals
from diagnosis.case import Candidate, Case
from diagnosis.explaining import share_unexplained
from diagnosis.fault_class import vote_fault_class
from diagnosis.signals import Signal, SignalName
from diagnosis.suspicion import CIRCUMSTANCE, WEIGHTS, as_hearsay, disbelieve, strongest_of_each, weigh_own
from diagnosis.walks import Blame
from domain.times import MINUTE_US, SECOND_US

__all__ = ["CIRCUMSTANCE", "WEIGHTS", "Candidate", "Case", "rank_causes"]

_REACH_DOWNSTREAM = 0.8  # below the place where the traces end waiting
_REACH_TOPOLOGY = 0.45  # below the symptom, but off the walked paths
_REACH_HOP = 0.9
_REACH_STATED = 0.8  # trouble that was stated, not measured, may come from anywhere below
_REACH_NONE = 0.05
_TIMELESS = ("metrics", "stated")
# An orchestrator looks every now and then, and reports only after some tries.
_SLOW_REPORT_US = 90 * SECOND_US
_SLOW_REPORTERS: frozenset[SignalName] = frozenset({"restarted", "not_ready", "saturated", "metric_shift"})
_ONSET_SLACK_US = 3 * SECOND_US
_LATE = 0.3
_EARLY_US = 60 * MINUTE_US


def rank_causes(case: Case) -> list[Candidate]:
    """Return every service with any sign of trouble, best first; deterministic."""
    graph = nx.DiGraph()
    graph.add_nodes_from(sorted({*case.services, case.symptom.service}))
    graph.add_edges_from(sorted(set(case.calls)))
    signals = disbelieve([*case.signals, *walk_signals(case)])
    if case.entries:
        signals = [as_hearsay(signal) for signal in signals]
    by_service: dict[str, list[Signal]] = defaultdict(list)
    for signal in signals:
        if signal.onset_us >= case.symptom.start_us - _EARLY_US:
            by_service[signal.service].append(signal)
    own = {service: weigh_own(found) for service, found in by_service.items()}
    unexplained = share_unexplained(case, graph, own, signals)
    candidates = [
        _candidate(service, case, graph, tuple(found), own[service], unexplained.get(service, 1.0))
        for service, found in by_service.items()
    ]
    return sorted(candidates, key=lambda c: (-round(c.score, 9), c.service))


def _candidate(
    service: str, case: Case, graph: nx.DiGraph, signals: tuple[Signal, ...], own: float, unexplained: float
) -> Candidate:
    blames = [b for b in case.blames if culprit(b, case) == service]
    reach, path, inferred = _reach(service, blames, case, graph)
    onset = _onset(signals, case)
    latest = _last_possible_onset(case, blames)
    late = case.symptom.kind not in _TIMELESS and _first_shown(signals, onset) > latest
    score = own * reach * unexplained * (_LATE if late else 1.0)
    contributions: dict[str, float] = {name: round(value, 3) for name, value in strongest_of_each(signals).items()}
    contributions |= {"reach": round(reach, 3), "unexplained": round(unexplained, 3)}
    if late:
        contributions["later_than_symptom"] = _LATE
    walks = tuple(walk for blame in blames for walk in blame.examples)
    return Candidate(
        service=service,
        score=score,
        own=own,
        reach=reach,
        unexplained=unexplained,
        onset_us=onset,
        path=path,
        signals=tuple(sorted(signals, key=lambda s: (-WEIGHTS[s.name] * s.strength, s.onset_us, s.text))),
        contributions=contributions,
        walks=walks,
        fault_class=vote_fault_class(signals),
        component=next((walk.component for walk in walks if walk.component), ""),
        change_id=_change_to_blame(signals),
        inferred=inferred,
        latest_us=latest,
        ended=sum(len(blame.walks) for blame in blames),
    )


def _change_to_blame(signals: Sequence[Signal]) -> str:
    """Of several changes of one service, the one that brought a bad version, else the one closest before the symptom."""
    held = [s for s in signals if s.change_id]
    best = min(held, key=lambda s: (s.name != "bad_version", -s.strength, s.text), default=None)
    return best.change_id if best else ""


def _reach(service: str, blames: Sequence[Blame], case: Case, graph: nx.DiGraph) -> tuple[float, tuple[str, ...], bool]:
    """Return how well trouble there can reach the symptom, the path (cause first), and whether that is inferred."""
    if blames:
        path = max(blames, key=lambda b: len(b.walks)).path
        if service in path:
            path = path[path.index(service) :]
        return 1.0, path, False
    best: tuple[float, tuple[str, ...]] = (_REACH_NONE, (service,))
    starts: list[tuple[str, float, tuple[str, ...]]] = [
        (case.symptom.service, _REACH_TOPOLOGY, (case.symptom.service,))
    ]
    for blame in case.blames:
        share = len(blame.walks) / max(1, sum(len(b.walks) for b in case.blames))
        starts.append(
            (culprit(blame, case), _REACH_TOPOLOGY + (_REACH_DOWNSTREAM - _REACH_TOPOLOGY) * share, blame.path)
        )
    for start, value, known in starts:
        if start not in graph or service not in graph or service == start:
            continue
        try:
            hops = nx.shortest_path(graph, start, service)
        except nx.NetworkXNoPath:
            continue
        reach = _REACH_STATED if case.symptom.kind in UNWALKED else value * _REACH_HOP ** (len(hops) - 2)
        upward = tuple(reversed(hops[1:]))
        tail = known[known.index(start) :] if start in known else (start,)
        if reach > best[0]:
            best = (reach, tuple(dict.fromkeys((*upward, *tail))))
    if service == case.symptom.service and best[0] < _REACH_TOPOLOGY:
        return (_REACH_STATED if case.symptom.kind in UNWALKED else _REACH_TOPOLOGY), (service,), False
    return best[0], best[1], True


def _onset(signals: Sequence[Signal], case: Case) -> int:
    """The first moment at which the service itself shows trouble; a change alone is when it was changed."""
    hard = [s.onset_us for s in signals if s.name not in CIRCUMSTANCE]
    return min(hard) if hard else min((s.onset_us for s in signals), default=case.symptom.start_us)


def _first_shown(signals: Sequence[Signal], onset_us: int) -> int:
    """When the trouble can have begun at the earliest, given who reports it."""
    slow = [s.onset_us - _SLOW_REPORT_US for s in signals if s.name in _SLOW_REPORTERS]
    return min([onset_us, *slow])


def _last_possible_onset(case: Case, blames: Sequence[Blame]) -> int:
    """A cause may show at the latest when the first bad request that it explains ends, or the symptom begins."""
    ends = [walk.spans[0].end_us for blame in blames for walk in blame.walks]
    begin = min((walk.spans[0].end_us for blame in case.blames for walk in blame.walks), default=case.symptom.start_us)
    return max(begin, min(ends, default=begin)) + _ONSET_SLACK_US

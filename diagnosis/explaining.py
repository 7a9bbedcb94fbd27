"""Which part of a service's trouble do the services explain that it depends on? A victim keeps little of its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import networkx as nx

from diagnosis.blames import UNWALKED, moved_address, walk_signals
from diagnosis.case import Case
from diagnosis.signals import Signal
from diagnosis.wording import POINTS_ELSEWHERE

_ACCUSED = 0.35


def share_unexplained(
    case: Case, graph: nx.DiGraph, own: Mapping[str, float], signals: Sequence[Signal]
) -> dict[str, float]:
    """Return per service the share of its trouble that its dependencies do not explain."""
    through: dict[str, int] = defaultdict(int)
    ended: dict[str, int] = defaultdict(int)
    for blame in (*case.blames, *(case.others if case.symptom.kind not in UNWALKED else ())):
        moved = moved_address(blame, case)
        for walk in blame.walks:
            culprit = moved[0] if moved else walk.service
            for service in {span.service for span in walk.spans} | {culprit}:
                through[service] += 1
            ended[culprit] += 1
    result = dict(case.unexplained) | {service: ended[service] / count for service, count in through.items()}
    for service, below in _waits_for(case, graph).items():
        deeper = max((own.get(s, 0.0) for s in below if s != service), default=0.0)
        result[service] = min(result.get(service, 1.0), 1.0 - 0.8 * deeper)
    if case.symptom.kind in UNWALKED and not case.entries:
        for service, share in _explained_by_reports(graph, own, signals).items():
            result[service] = min(result.get(service, 1.0), share)
    return {service: max(0.05, value) for service, value in result.items()}


def _explained_by_reports(graph: nx.DiGraph, own: Mapping[str, float], signals: Sequence[Signal]) -> dict[str, float]:
    """Return, for services that only say that others fail them, the share that those others leave unexplained.

    Whom it accuses by name explains its trouble; without a name any service below it that is in trouble may.
    """
    own_trouble = {s.service for s in signals if s.name == "restarted" or _is_own_error(s)}
    accused: dict[str, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.name == "named_by_others" and signal.fault_class in POINTS_ELSEWHERE:
            accused[signal.target].add(signal.service)
    shares: dict[str, float] = {}
    for signal in signals:
        service = signal.service
        pointing = signal.name in ("new_error_log", "error_burst", "not_ready", "named_by_others")
        if not pointing or service in own_trouble or service not in graph:
            continue
        below = (accused[service] or nx.descendants(graph, service)) - {service}
        deeper = max((own.get(name, 0.0) for name in below), default=0.0)
        shares[service] = min(1.0 - 0.8 * deeper, _ACCUSED if accused[service] and deeper >= _ACCUSED else 1.0)
    return shares


def _is_own_error(signal: Signal) -> bool:
    """True for a new error that speaks of the service's own trouble."""
    return signal.name == "new_error_log" and signal.fault_class not in (*POINTS_ELSEWHERE, "unknown")


def _waits_for(case: Case, graph: nx.DiGraph) -> dict[str, set[str]]:
    """Return, per service that waits for others, the services that may keep it waiting.

    One whose errors say that it waited, or that blame a dependency, waits for what it calls. One that is slow while
    its messages are no longer consumed waits for their consumer.
    """
    waits: dict[str, set[str]] = defaultdict(set)
    for signal in walk_signals(case):
        points_down = signal.name == "failing_here" and signal.fault_class in POINTS_ELSEWHERE
        if (signal.name == "waiting" or points_down) and signal.service in graph:
            waits[signal.service] |= nx.descendants(graph, signal.service)
    slow = {blame.service for blame in case.blames if blame.kind in ("slow_here", "failing_here")}
    for lost in case.undelivered:
        if lost.producer in slow:
            below = nx.descendants(graph, lost.consumer) if lost.consumer in graph else set()
            waits[lost.producer] |= {lost.consumer} | below
    return waits

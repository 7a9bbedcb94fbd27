"""Versions of one service side by side, at the same time: does one go bad while another serves well?

Whatever troubles a service from outside (a dependency, its node, its callers) troubles all of its versions alike; what
troubles one version alone came with that version. Only times at which both served are compared, so that a roll-out in the
middle of other trouble says nothing.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import networkx as nx

from diagnosis.meters import Role
from diagnosis.signals import Ref, Signal
from domain.observed import ChangeRow, VersionLoad
from domain.times import Window

_MIN_REQUESTS = 10.0
_MIN_BAD = 4.0
_MIN_SURPRISE = 8.0
_MIN_DIFFERENCE = 0.05
_TIMES = 3.0
_SLOWER = 2.0
_MIN_EXTRA_US = 20_000.0
_MIN_BUCKETS = 2
_EXPLAINS = 0.8
_UNEXPLAINED = 0.05


@dataclass(frozen=True, slots=True)
class VersionGap:
    """By how much a version is worse than the others of its service: 0 to 1, and in words."""

    service: str
    version: str
    strength: float
    text: str
    kind: Role
    first_us: int


def compare_versions(loads: Iterable[VersionLoad]) -> list[VersionGap]:
    """Return the versions that are worse than the others of their service were at the same time, by service."""
    by_service: dict[str, list[VersionLoad]] = defaultdict(list)
    for load in loads:
        if load.version and load.requests > 0:
            by_service[load.service].append(load)
    gaps = []
    for service in sorted(by_service):
        versions = sorted({load.version for load in by_service[service]})
        found = [gap for version in versions if (gap := _gap(service, version, by_service[service]))]
        # Where every version is worse than some other, none is to blame.
        gaps += found if len(found) < len(versions) else []
    return gaps


def version_signals(
    gaps: Sequence[VersionGap],
    changes: Sequence[ChangeRow],
    refs: Mapping[tuple[str, str], Sequence[Ref]],
    window: Window,
) -> list[Signal]:
    """Turn gaps into signals; `refs` are the records of bad requests per service and version.

    A change that brought the version is the one to blame: that of its name, else none.
    """
    signals = []
    for gap in gaps:
        fitting = [c for c in changes if c.service == gap.service and c.version == gap.version]
        change = max(fitting, key=lambda c: (c.time_us, c.id), default=None)
        records = list(refs.get((gap.service, gap.version), ()))
        if change is not None:
            records.append(Ref.to("change", id=change.id))
        signals.append(
            Signal(
                service=gap.service,
                name="bad_version",
                strength=gap.strength,
                onset_us=max(window.start_us, gap.first_us),
                text=gap.text,
                refs=tuple(records),
                fault_class="code",
                change_id=change.id if change else "",
            )
        )
    return signals


def explain_callers(
    unexplained: Mapping[str, float], signals: Sequence[Signal], calls: Iterable[tuple[str, str]]
) -> dict[str, float]:
    """Return the shares of trouble that nothing below explains, with bad versions below taken into account.

    A version that is new has no baseline of its own, so that no excess of its service speaks for its callers.
    """
    bad = {signal.service: signal.strength for signal in signals if signal.name == "bad_version"}
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_edges_from(sorted(set(calls)))
    result = dict(unexplained)
    for service in sorted(unexplained.keys() - bad.keys()):
        below = nx.descendants(graph, service) if service in graph else set()
        worst = max((strength for name, strength in bad.items() if name in below), default=0.0)
        result[service] = min(result[service], max(_UNEXPLAINED, 1.0 - _EXPLAINS * worst))
    return result


def _gap(service: str, version: str, loads: Sequence[VersionLoad]) -> VersionGap | None:
    mine = {load.bucket: load for load in loads if load.version == version}
    others: dict[int, list[VersionLoad]] = defaultdict(list)
    for load in loads:
        if load.version != version and load.bucket in mine:
            others[load.bucket].append(load)
    if len(others) < _MIN_BUCKETS:
        return None
    here = _total(mine[bucket] for bucket in others)
    there = _total(load for held in others.values() for load in held)
    if min(here.requests, there.requests) < _MIN_REQUESTS:
        return None
    first_us = min(mine[bucket].first_us for bucket in others)
    failing = _failing_gap(service, version, here, there, first_us)
    return failing or _slow_gap(service, version, here, there, first_us)


def _failing_gap(service: str, version: str, here: _Sum, there: _Sum, first_us: int) -> VersionGap | None:
    share, usual = here.errors / here.requests, there.errors / there.requests
    if here.errors < _MIN_BAD or share < usual + _MIN_DIFFERENCE or share < _TIMES * usual:
        return None
    if _surprise(here, there) < _MIN_SURPRISE:
        return None
    text = (
        f"version {version} of {service} failed {here.errors:.0f} of {here.requests:.0f} requests while its other "
        f"versions failed {there.errors:.0f} of {there.requests:.0f}"
    )
    return VersionGap(service, version, 1.0 - usual / share, text, "errors", first_us)


def _slow_gap(service: str, version: str, here: _Sum, there: _Sum, first_us: int) -> VersionGap | None:
    mine, usual = here.duration_us / here.requests, there.duration_us / there.requests
    if mine < _SLOWER * usual or mine - usual < _MIN_EXTRA_US:
        return None
    text = (
        f"version {version} of {service} took {mine / 1000:.0f} ms on average while its other versions took "
        f"{usual / 1000:.0f} ms"
    )
    return VersionGap(service, version, 1.0 - usual / mine, text, "latency", first_us)


@dataclass(frozen=True, slots=True)
class _Sum:
    requests: float
    errors: float
    duration_us: float


def _total(loads: Iterable[VersionLoad]) -> _Sum:
    held = list(loads)
    return _Sum(
        math.fsum(load.requests for load in held),
        math.fsum(min(load.errors, load.requests) for load in held),
        math.fsum(load.duration_us for load in held),
    )


def _surprise(here: _Sum, there: _Sum) -> float:
    """Return the log-likelihood ratio of two shares against one that is common to both."""
    together = (here.errors + there.errors) / (here.requests + there.requests)
    return sum(
        _likelihood(s.errors, s.requests, s.errors / s.requests) - _likelihood(s.errors, s.requests, together)
        for s in (here, there)
    )


def _likelihood(bad: float, of: float, share: float) -> float:
    return sum(n * math.log(p) for n, p in ((bad, share), (of - bad, 1.0 - share)) if n > 0 and p > 0)

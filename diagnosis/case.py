"""What the ranking looks at, and what it makes of each service."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from diagnosis.signals import Signal
from diagnosis.symptom import Symptom
from diagnosis.walks import Blame, Undelivered, Walk
from domain.verdict import FaultClass


@dataclass(frozen=True, slots=True)
class Candidate:
    """One service considered: its score, the three factors behind it, and what was found.

    `ended` counts the symptom's bad requests that end here. `latest_us` is the last moment at which trouble that explains the symptom can have shown here: a request that hangs
    until it times out began to go wrong long before anything says so.
    """

    service: str
    score: float
    own: float
    reach: float
    unexplained: float
    onset_us: int
    path: tuple[str, ...]
    signals: tuple[Signal, ...]
    contributions: Mapping[str, float]
    walks: tuple[Walk, ...] = ()
    fault_class: FaultClass = "unknown"
    component: str = ""
    change_id: str = ""
    inferred: bool = False
    latest_us: int = 0
    ended: int = 0


@dataclass(frozen=True, slots=True)
class Case:
    """Everything that the ranking looks at, all of it as of the symptom's window.

    `blames` are the walks of the symptom's own bad requests, `others` those of bad requests elsewhere (workers, other
    entries), `entries` how many requests each service took in within the traces looked at, `calls` the CALLS edges (caller, callee) of the topology at that time. `repeated` names, per service, the
    one message that fails there again and again; `unexplained`, the share of a service's excess in metrics that the
    services it calls do not explain.
    """

    symptom: Symptom
    services: Sequence[str]
    calls: Iterable[tuple[str, str]]
    blames: Sequence[Blame] = ()
    others: Sequence[Blame] = ()
    entries: Mapping[str, int] = field(default_factory=dict)
    undelivered: Sequence[Undelivered] = ()
    signals: Sequence[Signal] = ()
    called_at: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    repeated: Mapping[str, str] = field(default_factory=dict)
    unexplained: Mapping[str, float] = field(default_factory=dict)

"""An incident as a thing that lives: its states, the alerts that belong to it, and what is remembered of both."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

# `pending` are too few alerts to be an incident yet. A question that somebody asked is kept as a closed one.
type IncidentStatus = Literal["pending", "open", "investigating", "identified", "resolved", "closed"]
type Origin = Literal["question", "alert", "symptom"]
type EventKind = Literal[
    "opened", "joined", "merged", "split", "investigating", "verdict", "recurrence", "symptom", "resolved", "reopened",
    "closed", "note", "helped", "feedback", "action", "follow-up",
]  # fmt: skip
type DecisionKind = Literal["open", "join", "merge", "split", "reopen"]

STATUSES: tuple[IncidentStatus, ...] = get_args(IncidentStatus.__value__)
LIVE: tuple[IncidentStatus, ...] = ("pending", "open", "investigating", "identified")

_NEXT: Mapping[IncidentStatus, frozenset[IncidentStatus]] = {
    "pending": frozenset(("open", "closed")),
    "open": frozenset(("investigating", "identified", "resolved", "closed")),
    "investigating": frozenset(("open", "identified", "resolved", "closed")),
    "identified": frozenset(("investigating", "resolved", "closed")),
    "resolved": frozenset(("open", "closed")),
    "closed": frozenset(("open",)),
}


def may_become(status: IncidentStatus, wanted: IncidentStatus) -> bool:
    """Say whether an incident may go from one state to another."""
    return wanted in _NEXT[status]


@dataclass(frozen=True, slots=True)
class AlertSeen:
    """A stored alert that has changed or is new: what grouping looks at. `seq` is the delivery that brought it."""

    seq: int
    id: str
    environment: str
    time_us: int
    ended_us: int | None
    source: str
    name: str
    firing: bool
    fingerprint: str
    service: str
    severity: str
    labels: Mapping[str, Any] = field(default_factory=dict)

    @property
    def rule(self) -> str:
        """What fired, whatever it fired for."""
        return f"{self.source}/{self.name}"


@dataclass(frozen=True, slots=True)
class Profile:
    """What the alerts of an incident have in common, small enough to be compared with every new one.

    Counts by service, rule and label (`key=value`); the first and the last start in microseconds; how often each
    fingerprint began to fire is counted for those that fired more than once.
    """

    services: Mapping[str, int] = field(default_factory=dict)
    rules: Mapping[str, int] = field(default_factory=dict)
    labels: Mapping[str, int] = field(default_factory=dict)
    first_us: int = 0
    last_us: int = 0
    alerts: int = 0


@dataclass(frozen=True, slots=True)
class LiveIncident:
    """An incident without its answer. `firing` counts its alerts that have not ended; `held` keeps it from being merged
    by itself, because a person has split it."""

    id: str
    environment: str
    status: IncidentStatus
    origin: Origin
    title: str
    severity: str
    created_us: int
    updated_us: int
    profile: Profile
    firing: int = 0
    held: bool = False
    started_us: int | None = None
    ended_us: int | None = None
    merged_into: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """Why an alert, or another incident, was put into an incident, or taken out of it. `actor` is '' for the program."""

    incident_id: str
    kind: DecisionKind
    subject: str
    score: float
    why: str
    time_us: int
    actor: str = ""


@dataclass(frozen=True, slots=True)
class TimelineEvent:
    """Something that happened to an incident. `actor` is '' for the program."""

    incident_id: str
    time_us: int
    kind: EventKind
    text: str
    actor: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

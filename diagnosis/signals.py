"""A signal: one thing that one kind of telemetry says about one service, with the records that show it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from domain.evidence import EvidenceKind
from domain.verdict import FaultClass

type SignalName = Literal[
    "failing_here",  # requests fail in this service itself: no call of theirs explains it
    "slow_here",  # requests spend their time in this service itself
    "unreachable",  # calls to this service fail before it answers
    "slow_link",  # calls to this service take longer than the service itself does
    "address_changed",  # this service calls an address that it did not call before, and fails
    "waiting",  # this service gives up waiting for work that others should have done
    "new_error_log",  # error or warning lines of a kind never seen before
    "error_burst",  # many more error lines than before
    "vanished_log",  # a steady line has stopped
    "named_by_others",  # other services name this one in their errors
    "restarted",  # the orchestrator stopped or restarted it
    "not_ready",  # the orchestrator finds it unfit to serve, which may be an effect
    "changed",  # somebody changed it shortly before
    "bad_version",  # one version of it goes bad while another serves well at the same time
    "metric_shift",  # one of its metrics left its range
    "saturated",  # one of its resources runs full
    "broken_sequence",  # within its requests a step no longer follows the one that it always followed
    "silent",  # it sends much less than before
]


@dataclass(frozen=True, slots=True)
class Ref:
    """The address of a stored record: its kind and the key that finds it again."""

    kind: EvidenceKind
    key: tuple[tuple[str, Any], ...]

    @classmethod
    def to(cls, kind: EvidenceKind, **key: Any) -> Ref:
        return cls(kind, tuple(sorted(key.items())))

    def as_key(self) -> Mapping[str, Any]:
        return dict(self.key)


@dataclass(frozen=True, slots=True)
class Signal:
    """What is wrong with a service, how strongly (0 to 1), since when, and which records show it.

    `target` is the other end where the signal is about a call. `fault_class` is what kind of fault it points to, if
    it does. `onset_us` is the first moment at which it can be seen.
    """

    service: str
    name: SignalName
    strength: float
    onset_us: int
    text: str
    refs: tuple[Ref, ...] = ()
    target: str = ""
    fault_class: FaultClass = "unknown"
    change_id: str = ""


def combine(strengths: Iterable[float]) -> float:
    """Return 1 - product(1 - s): independent hints add up and never exceed one (noisy or)."""
    rest = 1.0
    for strength in strengths:
        rest *= 1.0 - min(max(strength, 0.0), 1.0)
    return 1.0 - rest

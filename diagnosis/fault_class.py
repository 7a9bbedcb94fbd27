"""Which kind of fault the signals of a service speak of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from diagnosis.signals import Signal, SignalName, combine
from diagnosis.wording import POINTS_ELSEWHERE
from domain.verdict import FaultClass

_CLASS_TRUST: Mapping[SignalName, float] = {
    "address_changed": 1.0,
    "restarted": 0.9,
    "bad_version": 0.7,
    "failing_here": 0.85,
    "unreachable": 0.6,
    "slow_here": 0.6,
    "slow_link": 0.6,
    "new_error_log": 0.55,
    "changed": 0.4,
    "saturated": 0.5,
    "broken_sequence": 0.12,
    "named_by_others": 0.2,
    "not_ready": 0.1,
    "waiting": 0.3,
    "error_burst": 0.2,
}


def vote_fault_class(signals: Sequence[Signal]) -> FaultClass:
    """Vote on the kind of fault; an error that points elsewhere says little about its own service."""
    votes: dict[FaultClass, float] = defaultdict(float)
    # What fails is not finished either: a broken sequence speaks of code only where nothing says what else it is.
    said = {s.fault_class for s in signals if s.name not in ("broken_sequence", "changed")}
    explained = bool(said - {"unknown", *POINTS_ELSEWHERE})
    for signal in signals:
        if signal.fault_class == "unknown" or (signal.name == "broken_sequence" and explained):
            continue
        trust = _CLASS_TRUST.get(signal.name, 0.1) * signal.strength
        if signal.name == "changed" and signal.fault_class == "code":
            trust *= 0.5  # a deploy brings code, settings and data alike
        if signal.fault_class in POINTS_ELSEWHERE:
            trust *= 0.3
        votes[signal.fault_class] = combine((votes[signal.fault_class], trust))
    return min(votes, key=lambda c: (-round(votes[c], 6), c)) if votes else "unknown"

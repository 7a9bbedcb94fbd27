"""What is wrong with a service itself: its signals, weighed and combined as independent hints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from diagnosis.signals import Signal, SignalName, combine

# How much each signal says about its own service, before it is combined with the others.
WEIGHTS: Mapping[SignalName, float] = {
    "failing_here": 0.85,
    "slow_here": 0.8,
    "unreachable": 0.75,
    "slow_link": 0.7,
    "address_changed": 0.9,
    "waiting": 0.35,
    "new_error_log": 0.45,
    "error_burst": 0.2,
    "vanished_log": 0.35,
    "named_by_others": 0.4,
    "restarted": 0.65,
    "not_ready": 0.3,
    "changed": 0.3,
    "bad_version": 0.8,
    "metric_shift": 0.15,
    "saturated": 0.45,
    "broken_sequence": 0.5,
    "silent": 0.15,
}
# A change or a metric alone convicts nobody: these count only beside something that went wrong.
CIRCUMSTANCE: frozenset[SignalName] = frozenset({"changed", "metric_shift", "silent", "error_burst"})
_CIRCUMSTANCE_ALONE = 0.3
_ACCUSERS = 3
_DISBELIEVED = 0.3
_HEARSAY = 0.25


def weigh_own(signals: Sequence[Signal]) -> float:
    """Combine the strongest signal of each name: ten lines of one kind are not ten independent hints.

    Being named by several others is: each of them says so for itself.
    """
    strongest = strongest_of_each(signals)
    alone = all(name in CIRCUMSTANCE for name in strongest)
    accusers: dict[str, float] = defaultdict(float)
    for signal in signals:
        if signal.name == "named_by_others":
            accusers[signal.target] = max(accusers[signal.target], WEIGHTS[signal.name] * signal.strength)
    others = [value for name, value in strongest.items() if name != "named_by_others"]
    return (_CIRCUMSTANCE_ALONE if alone else 1.0) * combine([*others, *sorted(accusers.values())[-_ACCUSERS:]])


def strongest_of_each(signals: Sequence[Signal]) -> dict[SignalName, float]:
    found: dict[SignalName, float] = {}
    for signal in signals:
        found[signal.name] = max(found.get(signal.name, 0.0), WEIGHTS[signal.name] * signal.strength)
    return found


def as_hearsay(signal: Signal) -> Signal:
    """Where request traces show who failed whom, an error that names another is only a hint."""
    return replace(signal, strength=_HEARSAY * signal.strength) if signal.name == "named_by_others" else signal


def disbelieve(signals: Sequence[Signal]) -> list[Signal]:
    """Weaken the word of a lone accuser whose own settings were just changed against one with no trouble of its own."""
    changed = {s.service for s in signals if s.name == "changed" and s.fault_class == "config"}
    accusers: dict[str, set[str]] = defaultdict(set)
    for signal in signals:
        if signal.name == "named_by_others":
            accusers[signal.service].add(signal.target)
    hearsay = {"named_by_others", "vanished_log", "silent", "metric_shift", "error_burst"}
    troubled = {s.service for s in signals if s.name not in hearsay}
    weak = {
        service
        for service, names in accusers.items()
        if len(names) == 1 and names <= changed and service not in troubled
    }
    return [
        replace(s, strength=_DISBELIEVED * s.strength) if s.service in weak and s.name in hearsay else s
        for s in signals
    ]

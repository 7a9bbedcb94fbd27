"""What makes an incident like an earlier one: the rules that fired, the error templates, the services and those around them.

A signature can be made before anything was investigated, so that a known trouble is known at once. No I/O.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from domain.incident import Profile

_WEIGHTS = {"rule": 2.0, "service": 2.0, "template": 1.0, "near": 0.5}
_ENOUGH = 0.5
# One of these must be shared: the same service has more than one way to fail.
_TELLING = ("rule", "template")


@dataclass(frozen=True, slots=True)
class Recurrence:
    """An earlier incident that this one is like: how much (0 to 1), and what both have."""

    incident_id: str
    likeness: float
    shared: tuple[str, ...]


def make_signature(profile: Profile, near: Iterable[str], templates: Iterable[int]) -> frozenset[str]:
    """Return the signature of an incident: words of the form `kind:what`."""
    return frozenset(
        [
            *(f"rule:{rule}" for rule in profile.rules),
            *(f"service:{service}" for service in profile.services),
            *(f"near:{service}" for service in near if service not in profile.services),
            *(f"template:{template}" for template in templates),
        ]
    )


def find_recurrence(signature: frozenset[str], earlier: Iterable[tuple[str, frozenset[str]]]) -> Recurrence | None:
    """Return the earlier incident that is most alike, if one is alike enough; of equals the first."""
    best: Recurrence | None = None
    for incident_id, other in earlier:
        shared = signature & other
        if not any(word.startswith(tuple(f"{kind}:" for kind in _TELLING)) for word in shared):
            continue
        likeness = _weigh(shared) / _weigh(_comparable(signature, other))
        if likeness >= _ENOUGH and (best is None or likeness > best.likeness):
            best = Recurrence(incident_id, round(likeness, 3), tuple(sorted(shared)))
    return best


def _comparable(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    """Return the words of both, without those of a kind that only one of them has at all."""
    kinds = {_kind(word) for word in one} & {_kind(word) for word in other}
    return frozenset(word for word in one | other if _kind(word) in kinds)


def _weigh(words: Iterable[str]) -> float:
    return sum(_WEIGHTS[_kind(word)] for word in words)


def _kind(word: str) -> str:
    return word.partition(":")[0]

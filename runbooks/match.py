"""Which runbooks fit a verdict. Pure, the same every time, and "none" when nothing really fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from statistics import median

from domain.telemetry import ChangeKind
from domain.verdict import FaultClass, RunbookMatch
from runbooks.model import Runbook

# A fault class alone fits several runbooks and proves none; neither does one loose word. Two that agree do, and so
# does one phrase ("no space left on device") where nothing speaks against it.
THRESHOLD = 0.45
_CLASS_FITS = 0.35
_CLASS_DIFFERS = -0.15
_SERVICE_NAMED = 0.15
_CHANGE_FITS = 0.25
_WORDS = 0.6
_NEIGHBOUR = 0.1
_HELPED = 0.3
# How near a runbook's nearest section is to what was seen, in shares of how near any runbook's is (their median): scales of
# embedders differ. With the built-in one, symptoms in other words than the runbooks' are at 0.29 to 0.65 where one is clearly
# meant and at 0.73 to 0.85 where it is less clear; sentences that no runbook is about are at 0.74 and above.
_NEAR = 0.87
_NEAR_ALONE = 0.68
_MEANS = 0.25
_MEANS_ALONE = 0.45
_FEWEST = 5


@dataclass(frozen=True, slots=True)
class Links:
    """What links runbooks beside their words: `neighbours` are the services that the cause calls (as of the incident),
    `helped` runbooks that helped it before with the same kind of fault, each with its incident, and `near` how near their
    meaning is to what was seen (`measure_nearness`)."""

    neighbours: tuple[str, ...] = ()
    helped: Mapping[str, str] = field(default_factory=dict)
    near: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Points:
    score: float
    reasons: tuple[str, ...]
    evidence: tuple[str, ...]


def match_runbooks(
    library: Iterable[Runbook],
    *,
    services: Sequence[str],
    fault_class: FaultClass | None,
    messages: Mapping[str, Sequence[str]],
    change: ChangeKind | None = None,
    links: Links = Links(),
    limit: int = 3,
) -> list[RunbookMatch]:
    """Return the runbooks that fit, best first, at most `limit`; an empty list means that none does.

    `services` are those of the cause, `messages` the log templates, messages and other texts of the evidence, each
    with the ids of the evidence that holds it, `change` the kind of change that the verdict blames, and `links` what the
    graph and the meaning of the texts say. Scores are 0 to 1; a match says what fitted and cites the evidence that its words were found in.
    """
    texts = [(_normalise(text), tuple(ids)) for text, ids in messages.items()]
    matches = []
    for runbook in library:
        points = _score(runbook, services, fault_class, texts, change, links)
        if points is not None and points.score >= THRESHOLD:
            matches.append(
                RunbookMatch(
                    id=runbook.id,
                    title=runbook.title,
                    why="; ".join(points.reasons),
                    score=points.score,
                    evidence=points.evidence,
                    steps=tuple(step.to_json() for step in runbook.steps),
                    revision=runbook.revision,
                )
            )
    return sorted(matches, key=lambda match: (-match.score, match.id))[:limit]


def _score(
    runbook: Runbook,
    services: Sequence[str],
    fault_class: FaultClass | None,
    texts: Sequence[tuple[str, tuple[str, ...]]],
    change: ChangeKind | None,
    links: Links,
) -> _Points | None:
    linked = _link(runbook, services, links)
    if linked is None:
        return None  # written for other services
    score, reasons = linked
    if fault_class in runbook.fault_classes:
        score += _CLASS_FITS
        reasons.append(f"it is for faults of class {fault_class}")
    elif fault_class not in (None, "unknown"):
        score += _CLASS_DIFFERS
    if change is not None and change in runbook.changes:
        score += _CHANGE_FITS
        reasons.append(f"it is about a {change} change")
    found = _find_words(runbook.words, texts)
    if found:
        # Each further word says less; a phrase counts as two words.
        weight = sum(2 if len(_normalise(word).split()) > 1 else 1 for word in found)
        score += _WORDS * (1 - 0.5**weight)
        reasons.append(f"the evidence says {', '.join(repr(word) for word in found)}")
    evidence = sorted({evidence_id for ids in found.values() for evidence_id in ids})
    return _Points(round(min(1.0, max(0.0, score)), 4), tuple(reasons), tuple(evidence))


def _link(runbook: Runbook, services: Sequence[str], links: Links) -> tuple[float, list[str]] | None:
    """Return the points and reasons of what a runbook is linked by; None if it is for services that have no part in this."""
    score, reasons = 0.0, []
    patterns = [pattern for pattern in runbook.services if pattern != "*"]
    if patterns:
        named = _named(services, patterns)
        beside = _named(links.neighbours, patterns)
        if not named and not beside:
            return None
        score += _SERVICE_NAMED if named else _NEIGHBOUR
        told = ", ".join(named or beside)
        reasons.append(f"it is for service {told}" if named else f"it is for {told}, which {services[0]} calls")
    if incident := links.helped.get(runbook.id):
        score += _HELPED
        reasons.append(f"it helped {services[0]} before ({incident})")
    near = links.near.get(runbook.id, 1.0)
    if near <= _NEAR:
        score += _MEANS_ALONE if near <= _NEAR_ALONE else _MEANS
        reasons.append("it means what was seen")
    return score, reasons


def _named(services: Iterable[str], patterns: Sequence[str]) -> list[str]:
    return sorted({service for service in services if any(fnmatchcase(service, pattern) for pattern in patterns)})


def measure_nearness(distances: Mapping[str, float]) -> Mapping[str, float]:
    """Return distances of runbooks as shares of their median, for `Links.near`; nothing where there are too few to tell."""
    if len(distances) < _FEWEST:
        return {}
    usual = median(distances.values())
    return {runbook: distance / usual for runbook, distance in distances.items()} if usual > 0 else {}


def _find_words(words: Sequence[str], texts: Sequence[tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for word in words:
        wanted = f" {_normalise(word)}" + ("" if word.endswith("*") else " ")
        holding = [ids for text, ids in texts if wanted in f" {text} "]
        if holding:
            found[word] = tuple(evidence_id for ids in holding for evidence_id in ids)
    return found


def _normalise(text: str) -> str:
    return " ".join(re.findall(r"[^\W_]+", text.casefold()))

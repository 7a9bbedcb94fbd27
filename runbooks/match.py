"""Which runbooks fit a verdict. Pure, the same every time, and "none" when nothing really fits."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

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
    limit: int = 3,
) -> list[RunbookMatch]:
    """Return the runbooks that fit, best first, at most `limit`; an empty list means that none does.

    `services` are those of the cause, `messages` the log templates, messages and other texts of the evidence, each
    with the ids of the evidence that holds it, and `change` the kind of change that the verdict blames. Scores are 0
    to 1; a match says what fitted and cites the evidence that its words were found in.
    """
    texts = [(_normalise(text), tuple(ids)) for text, ids in messages.items()]
    matches = []
    for runbook in library:
        points = _score(runbook, services, fault_class, texts, change)
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
) -> _Points | None:
    score, reasons = 0.0, []
    patterns = [pattern for pattern in runbook.services if pattern != "*"]
    if patterns:
        named = [service for service in services if any(fnmatchcase(service, pattern) for pattern in patterns)]
        if not named:
            return None  # written for other services
        score += _SERVICE_NAMED
        reasons.append(f"it is for service {', '.join(sorted(set(named)))}")
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

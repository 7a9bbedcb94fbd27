"""What an investigation concludes. The shape of these types is the shape of the answer's JSON (docs/api.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type Outcome = Literal["CONFIRMED", "LIKELY", "INCONCLUSIVE", "HEALTHY"]
type FaultClass = Literal[
    "code", "config", "resource", "dependency", "network", "data", "capacity", "certificate", "unknown"
]
type JudgeAction = Literal["ALLOW_ANSWER", "ALLOW_WITH_WARNING", "NEED_CLARIFICATION", "ESCALATE", "BLOCK"]


@dataclass(frozen=True, slots=True)
class CodeLine:
    """A line of indexed code: the path in its code base, the line, and the definition around it ("" at the top)."""

    file: str
    line: int
    symbol: str


@dataclass(frozen=True, slots=True)
class Cause:
    """A root cause: which service, what kind of fault, since when, and the path along which it reached the symptom.

    `path` lists services, cause first, symptom last. `inferred_hops` are the hops of it, as "a->b", for which no
    record shows trouble (a silent component in between).
    """

    service: str
    fault_class: FaultClass
    confidence: float
    onset_us: int
    path: tuple[str, ...]
    evidence: tuple[str, ...]
    hop_evidence: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    inferred_hops: tuple[str, ...] = ()
    component: str = ""
    change_id: str = ""
    code: CodeLine | None = None


@dataclass(frozen=True, slots=True)
class Ranked:
    """One service that was considered, its score and what each signal added to it."""

    service: str
    score: float
    signals: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class RuledOut:
    """A service that looked suspicious and is not the cause, and why not."""

    service: str
    why: str
    evidence: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """The conclusion, settled by code. `causes` is the minimal set; `ranking` is everything considered, best first."""

    outcome: Outcome
    reasons: tuple[str, ...]
    causes: tuple[Cause, ...] = ()
    ranking: tuple[Ranked, ...] = ()
    ruled_out: tuple[RuledOut, ...] = ()
    not_seen: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that states a fact, with the ids of the evidence that holds it."""

    text: str
    evidence: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Judgement:
    """The judge's outcome: what may be done with the answer, a score for each check, what is missing and what holds."""

    action: JudgeAction
    scores: Mapping[str, float]
    gaps: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunbookCheck:
    """What a step of a runbook expects to be seen, and the evidence of that kind that this investigation has found at the
    cause: what says most of the expected words first, and what that record says."""

    step: str
    kind: str
    expected: str
    seen: bool
    evidence: tuple[str, ...] = ()
    text: str = ""


@dataclass(frozen=True, slots=True)
class RunbookMatch:
    """A runbook that fits the verdict, which of its links matched, its steps as written, and its revision (BLAKE3).

    `checks` say of each thing that the steps expect whether it was seen: only what can be read is followed.
    """

    id: str
    title: str
    why: str
    score: float
    evidence: tuple[str, ...]
    steps: tuple[Mapping[str, Any], ...] = ()
    revision: str = ""
    checks: tuple[RunbookCheck, ...] = ()

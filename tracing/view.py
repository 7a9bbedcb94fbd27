"""What a trace's events say about the run: the types that `fold` builds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tracing.events import StageStatus, Status

# Runs of Causegraph's own agents, or agent traces that other programs sent.
type Source = Literal["causegraph", "ingest"]


@dataclass(frozen=True, slots=True)
class Decision:
    """A choice that was made on a stage: what, why, how sure (0 to 1), the alternatives and the inputs."""

    event_id: str
    span_id: str
    time_us: int
    what: str
    why: str
    confidence: float | None
    alternatives: tuple[str, ...] = ()
    inputs: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Query:
    """One entry of the search ledger, as recorded."""

    span_id: str
    query: str
    start_us: int
    end_us: int
    filter: str
    rows_scanned: int
    rows_returned: int
    reporting: bool | None
    seconds: float
    error: str = ""


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed attempt that was made again."""

    span_id: str
    time_us: int
    attempt: int
    error: str


@dataclass(frozen=True, slots=True)
class Route:
    """Where a run went on, of which possibilities, and why."""

    span_id: str
    time_us: int
    to: tuple[str, ...]
    why: str
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pause:
    """A wait for somebody, from the pause to the resumption (None while it lasts)."""

    span_id: str
    reason: str
    waiting_for: str
    paused_us: int
    resumed_us: int | None
    resumed_by: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line that a run logged on a stage."""

    span_id: str
    time_us: int
    level: str
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ModelCall:
    """One call of a language model. `prompt` and `response` name texts in the prompt store, or are empty."""

    span_id: str
    time_us: int
    model: str
    prompt_tokens: int
    completion_tokens: int
    seconds: float
    cost: float
    prompt: str = ""
    response: str = ""
    cached: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class StageView:
    """A stage and the stages under it. `status` is "open" for a stage that never ended: the run broke off inside it.

    `start_us` is the wall clock in microseconds since 1970, `seconds` the measured duration (None while open). `kind` is
    one of `tracing.events.StageKind`; `attempts` counts the tries it took.
    """

    span_id: str
    name: str
    status: StageStatus
    start_us: int
    seconds: float | None
    error: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    decisions: int = 0
    queries: int = 0
    stages: tuple[StageView, ...] = ()
    kind: str = "stage"
    attempts: int = 1
    segment: int = 0


@dataclass(frozen=True, slots=True)
class JudgeView:
    """What one judge said."""

    by: str
    action: str
    scores: Mapping[str, float] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()
    strengths: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PolicyView:
    """What a policy decided: which version, which rule, and for which reason."""

    name: str
    version: str
    action: str
    rule: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvalView:
    """A result of an evaluation that was attached to a run or a stage of it."""

    span_id: str
    time_us: int
    name: str
    score: float | None
    passed: bool | None
    model: str = ""
    label: str = ""
    explanation: str = ""
    user_review_passed: bool | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AmendmentView:
    """A correction by a person: the merge patch, who made it, and why. `span_id` is "amendment" for the run itself."""

    time_us: int
    actor: str
    reason: str
    patch: Mapping[str, Any]
    span_id: str = "amendment"


@dataclass(frozen=True, slots=True)
class ModelUse:
    """What language models were used for, summed over the run."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0
    cost: float = 0.0


@dataclass(frozen=True, slots=True)
class TraceView:
    """A whole run. `action`, `gaps` and `outcome` are the last ones recorded, with amendments applied.

    `seconds` is the time spent working, summed over the segments that ended; a pause between segments is not in it.
    `found` and `cited` are the ids of evidence, each once, in order. `spans` counts stages that began, `open_spans` those
    that never ended, `failed_spans` those that failed. `facts` is what was noted of the run as a whole (`service`,
    `intent`, `thread_id` ...). `external_id` is the id that its sender gave a trace of another program.
    """

    id: str
    environment: str
    question: str
    status: Status
    outcome: str
    action: str
    started_us: int
    ended_us: int | None
    seconds: float | None
    error: str
    segments: int
    stages: tuple[StageView, ...]
    decisions: tuple[Decision, ...]
    ledger: tuple[Query, ...]
    found: tuple[str, ...]
    cited: tuple[str, ...]
    causes: tuple[str, ...]
    judges: tuple[JudgeView, ...]
    gaps: tuple[str, ...]
    note: str
    amendments: tuple[AmendmentView, ...]
    model: ModelUse
    open_spans: int
    spans: int = 0
    failed_spans: int = 0
    source: Source = "causegraph"
    external_id: str = ""
    name: str = ""
    answer: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    model_calls: tuple[ModelCall, ...] = ()
    routes: tuple[Route, ...] = ()
    retries: tuple[Retry, ...] = ()
    pauses: tuple[Pause, ...] = ()
    logs: tuple[LogLine, ...] = ()
    policies: tuple[PolicyView, ...] = ()
    evals: tuple[EvalView, ...] = ()
    schema_version: int = 1

    @property
    def completion_rate(self) -> float:
        """Return which part of the stages that began has ended; 1 where none began."""
        return (self.spans - self.open_spans) / self.spans if self.spans else 1.0

    @property
    def has_open_spans(self) -> bool:
        """Say whether a stage never ended although the run is not at work any more."""
        return self.open_spans > 0 and self.status != "running"

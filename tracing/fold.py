"""From a trace's events to what they say about the run. Pure: every projection can be rebuilt from the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from tracing.events import Event, StageStatus, Status


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
class StageView:
    """A stage and the stages under it. `status` is "open" for a stage that never ended: the run broke off inside it.

    `start_us` is the wall clock in microseconds since 1970, `seconds` the measured duration (None while open).
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


@dataclass(frozen=True, slots=True)
class JudgeView:
    """What one judge said."""

    by: str
    action: str
    scores: Mapping[str, float] = field(default_factory=dict)
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AmendmentView:
    """A correction by a person: the merge patch, who made it, and why."""

    time_us: int
    actor: str
    reason: str
    patch: Mapping[str, Any]


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
    `found` and `cited` are the ids of evidence, each once, in order. `open_spans` counts stages that never ended.
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


def fold(events: Iterable[Event]) -> TraceView:
    """Return what the events of one trace say. Order and repetition of the events do not matter, nor do gaps.

    Raises ValueError without events, or with events of more than one trace.
    """
    ordered = _in_order(events)
    folding = _Folding()
    for event in ordered:
        folding.take(event)
    return folding.finish(ordered[0].trace_id)


def _in_order(events: Iterable[Event]) -> list[Event]:
    once = {event.event_id: event for event in events}
    if len({event.trace_id for event in once.values()}) != 1:
        raise ValueError("fold takes the events of exactly one trace")
    return sorted(once.values(), key=lambda event: (event.segment, event.number, event.event_id))


@dataclass(slots=True)
class _Span:
    start: Event
    end: Event | None = None
    decisions: int = 0
    queries: int = 0


class _Folding:
    def __init__(self) -> None:
        self.starts: list[Event] = []
        self.ends: dict[int, Event] = {}
        self.spans: dict[str, _Span] = {}
        self.decisions: list[Decision] = []
        self.ledger: list[Query] = []
        self.found: dict[str, None] = {}
        self.cited: dict[str, None] = {}
        self.verdict: Mapping[str, Any] = {}
        self.judges: list[JudgeView] = []
        self.amendments: list[AmendmentView] = []
        self.model = ModelUse()
        self.first_us = 0
        self.last_segment = 0

    def take(self, event: Event) -> None:
        self.first_us = self.first_us or event.time_us
        self.last_segment = max(self.last_segment, event.segment)
        data = event.data()
        match event.type:
            case "RUN_START":
                self.starts.append(event)
            case "RUN_END":
                self.ends[event.segment] = event
            case "STAGE_START":
                self.spans[event.span_id] = _Span(event)
            case "STAGE_END":
                if span := self.spans.get(event.span_id):
                    span.end = event
            case "DECISION":
                self._decision(event, data)
            case "LEDGER":
                self._query(event, data)
            case "EVIDENCE":
                ids = dict.fromkeys(_texts(data.get("ids")))
                (self.cited if data.get("cited") else self.found).update(ids)
            case "MODEL_CALL":
                self._model_call(data)
            case "VERDICT":
                self.verdict = data
            case "JUDGE":
                self.judges.append(_read_judge(data))
            case "AMENDMENT":
                self._amendment(event, data)
            case _:  # written by a newer version of this program: kept in the store, not understood here
                pass

    def _decision(self, event: Event, data: Mapping[str, Any]) -> None:
        confidence = data.get("confidence")
        inputs = data.get("inputs")
        self.decisions.append(
            Decision(
                event_id=event.event_id,
                span_id=event.span_id,
                time_us=event.time_us,
                what=str(data.get("what", "")),
                why=str(data.get("why", "")),
                confidence=float(confidence) if isinstance(confidence, int | float) else None,
                alternatives=_texts(data.get("alternatives")),
                inputs=inputs if isinstance(inputs, dict) else {},
            )
        )
        if span := self.spans.get(event.span_id):
            span.decisions += 1

    def _query(self, event: Event, data: Mapping[str, Any]) -> None:
        self.ledger.append(
            Query(
                span_id=event.span_id,
                query=str(data.get("query", "")),
                start_us=int(_number(data.get("start_us"))),
                end_us=int(_number(data.get("end_us"))),
                filter=str(data.get("filter", "")),
                rows_scanned=int(_number(data.get("rows_scanned"))),
                rows_returned=int(_number(data.get("rows_returned"))),
                reporting=data.get("reporting"),
                seconds=_number(data.get("seconds")),
                error=str(data.get("error", "")),
            )
        )
        if span := self.spans.get(event.span_id):
            span.queries += 1

    def _model_call(self, data: Mapping[str, Any]) -> None:
        before = self.model
        self.model = ModelUse(
            calls=before.calls + 1,
            prompt_tokens=before.prompt_tokens + int(_number(data.get("prompt_tokens"))),
            completion_tokens=before.completion_tokens + int(_number(data.get("completion_tokens"))),
            seconds=before.seconds + _number(data.get("seconds")),
            cost=before.cost + _number(data.get("cost")),
        )

    def _amendment(self, event: Event, data: Mapping[str, Any]) -> None:
        patch = data.get("patch")
        actor, reason = str(data.get("actor", "")), str(data.get("reason", ""))
        self.amendments.append(AmendmentView(event.time_us, actor, reason, patch if isinstance(patch, dict) else {}))

    def finish(self, trace_id: str) -> TraceView:
        start = self.starts[0].data() if self.starts else {}
        last_end = self.ends.get(self.last_segment)
        ended = last_end.data() if last_end else {}
        status: Status = _status(ended.get("status")) if last_end else "running"
        judge = self.judges[-1] if self.judges else JudgeView("", "")
        amended: dict[str, Any] = {
            "outcome": self.verdict.get("outcome", ""),
            "action": judge.action,
            "gaps": judge.gaps,
            "note": "",
        }
        for amendment in self.amendments:
            amended |= {name: value for name, value in amendment.patch.items() if name in amended}
        seconds = [_number(end.data().get("seconds")) for end in self.ends.values()]
        return TraceView(
            id=trace_id,
            environment=str(start.get("environment", "")),
            question=str(start.get("question", "")),
            status=status,
            outcome=str(amended["outcome"] or ""),
            action=str(amended["action"] or ""),
            started_us=self.starts[0].time_us if self.starts else self.first_us,
            ended_us=last_end.time_us if last_end else None,
            seconds=sum(seconds) if seconds else None,
            error=str(ended.get("error", "")),
            segments=self.last_segment + 1,
            stages=self._tree(),
            decisions=tuple(self.decisions),
            ledger=tuple(self.ledger),
            found=tuple(self.found),
            cited=tuple(self.cited),
            causes=_texts(self.verdict.get("causes")),
            judges=tuple(self.judges),
            gaps=_texts(amended["gaps"]),
            note=str(amended["note"] or ""),
            amendments=tuple(self.amendments),
            model=self.model,
            open_spans=sum(span.end is None for span in self.spans.values()),
        )

    def _tree(self) -> tuple[StageView, ...]:
        children: dict[str, list[str]] = {}
        for span_id, span in self.spans.items():
            parent = str(span.start.data().get("parent", ""))
            # A stage whose parent was lost, or is a root span, stands at the top.
            children.setdefault(parent if parent in self.spans and parent != span_id else "", []).append(span_id)
        # Innermost first, without recursion: a span's children always have later starts than it has.
        built: dict[str, StageView] = {}
        for span_id in reversed(self.spans):
            built[span_id] = self._stage(
                span_id, tuple(built[child] for child in children.get(span_id, ()) if child in built)
            )
        return tuple(built[span_id] for span_id in children.get("", ()))

    def _stage(self, span_id: str, stages: tuple[StageView, ...]) -> StageView:
        span = self.spans[span_id]
        start, end = span.start.data(), span.end.data() if span.end else {}
        return StageView(
            span_id=span_id,
            name=str(start.get("name", "")),
            status=_stage_status(end.get("status")) if span.end else "open",
            start_us=span.start.time_us,
            seconds=_number(end.get("seconds")) if span.end else None,
            error=str(end.get("error", "")),
            facts={**_mapping(start.get("facts")), **_mapping(end.get("facts"))},
            decisions=span.decisions,
            queries=span.queries,
            stages=stages,
        )


def _read_judge(data: Mapping[str, Any]) -> JudgeView:
    scores = {str(name): float(score) for name, score in _mapping(data.get("scores")).items() if _is_number(score)}
    return JudgeView(str(data.get("by", "")), str(data.get("action", "")), scores, _texts(data.get("gaps")))


def _status(value: object) -> Status:
    return cast(Status, value) if value in get_args(Status.__value__) else "failed"


def _stage_status(value: object) -> StageStatus:
    return cast(StageStatus, value) if value in get_args(StageStatus.__value__) else "failed"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: object) -> tuple[str, ...]:
    return tuple(str(held) for held in value) if isinstance(value, list | tuple) else ()


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0

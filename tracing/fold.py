"""From a trace's events to what they say about the run. Pure: every projection can be rebuilt from the events.

Events of other programs' traces come late and out of order; nothing here depends on the order in which they are stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from tracing.events import Event, Status
from tracing.reading import (
    merge_patch,
    read_decision,
    read_eval,
    read_judge,
    read_log,
    read_mapping,
    read_model_call,
    read_number,
    read_policy,
    read_query,
    read_route,
    read_status,
    read_text,
    read_texts,
)
from tracing.stages import DEFAULT_KIND, Span, build_tree
from tracing.view import (
    AmendmentView,
    Decision,
    EvalView,
    JudgeView,
    LogLine,
    ModelCall,
    ModelUse,
    Pause,
    PolicyView,
    Query,
    Retry,
    Route,
    Source,
    StageView,
    TraceView,
)

__all__ = [
    "AmendmentView",
    "Decision",
    "EvalView",
    "JudgeView",
    "LogLine",
    "ModelCall",
    "ModelUse",
    "Pause",
    "PolicyView",
    "Query",
    "Retry",
    "Route",
    "Source",
    "StageView",
    "TraceView",
    "fold",
]


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


class _Folding:
    def __init__(self) -> None:
        self.starts: list[Event] = []
        self.ends: dict[int, Event] = {}
        self.begun: dict[str, Span] = {}
        self.ended: dict[str, Event] = {}
        self.per_span: dict[str, Counter[str]] = {}
        self.facts: dict[str, Any] = {}
        self.decisions: list[Decision] = []
        self.ledger: list[Query] = []
        self.found: dict[str, None] = {}
        self.cited: dict[str, None] = {}
        self.verdict: Mapping[str, Any] = {}
        self.judges: list[JudgeView] = []
        self.policies: list[PolicyView] = []
        self.evals: list[EvalView] = []
        self.amendments: list[AmendmentView] = []
        self.model_calls: list[ModelCall] = []
        self.routes: list[Route] = []
        self.retries: list[Retry] = []
        self.logs: list[LogLine] = []
        self.waits: list[Event] = []
        self.first_us: int | None = None
        self.last_segment = 0

    def take(self, event: Event) -> None:
        if self.first_us is None or event.time_us < self.first_us:
            self.first_us = event.time_us
        self.last_segment = max(self.last_segment, event.segment)
        self.per_span.setdefault(event.span_id, Counter())[event.type] += 1
        data = event.data()
        match event.type:
            case "RUN_START":
                self.starts.append(event)
            case "RUN_END":
                self.ends[event.segment] = event
            case "STAGE_START" | "CACHE_HIT":
                self._begin(event, data)
            case "STAGE_END":
                self.ended[event.span_id] = event
            case "NOTE":
                self.facts |= read_mapping(data.get("facts"))
            case "DECISION":
                self.decisions.append(read_decision(event, data))
            case "LEDGER":
                self.ledger.append(read_query(event, data))
            case "EVIDENCE":
                ids = dict.fromkeys(read_texts(data.get("ids")))
                (self.cited if data.get("cited") else self.found).update(ids)
            case "MODEL_CALL":
                self.model_calls.append(read_model_call(event, data))
            case "VERDICT":
                self.verdict = data
            case "JUDGE":
                self.judges.append(read_judge(data))
            case "POLICY":
                self.policies.append(read_policy(data))
            case "EVAL":
                self.evals.append(read_eval(event, data))
            case "ROUTE":
                self.routes.append(read_route(event, data))
            case "RETRY":
                attempt = int(read_number(data.get("attempt"), 1))
                self.retries.append(Retry(event.span_id, event.time_us, attempt, read_text(data.get("error"))))
            case "LOG":
                self.logs.append(read_log(event, data))
            case "PAUSE" | "RESUME":
                self.waits.append(event)
            case "AMENDMENT":
                actor, reason = read_text(data.get("actor")), read_text(data.get("reason"))
                patch = read_mapping(data.get("patch"))
                self.amendments.append(AmendmentView(event.time_us, actor, reason, patch, event.span_id))
            case _:  # written by a newer version of this program: kept in the store, not understood here
                pass

    def _begin(self, event: Event, data: Mapping[str, Any]) -> None:
        facts = dict(read_mapping(data.get("facts")))
        if event.type == "CACHE_HIT" and data.get("key"):
            facts["key"] = data["key"]
        if known := self.begun.get(event.span_id):  # told again, with more or other facts
            known.facts |= facts
            known.name = read_text(data.get("name")) or known.name
            return
        self.begun[event.span_id] = Span(
            span_id=event.span_id,
            parent_id=read_text(data.get("parent")),
            name=read_text(data.get("name")),
            kind=read_text(data.get("kind")) or DEFAULT_KIND,
            start_us=event.time_us,
            segment=event.segment,
            cached=event.type == "CACHE_HIT",
            facts=facts,
        )

    def finish(self, trace_id: str) -> TraceView:
        start = self._start()
        source: Source = "ingest" if start.get("source") == "ingest" else "causegraph"
        for span_id, event in self.ended.items():
            if span := self.begun.get(span_id):
                span.end(event.time_us, event.data())
        self._amend_spans()
        for span in self.begun.values():
            counts = self.per_span[span.span_id]
            span.decisions, span.queries, span.retries = counts["DECISION"], counts["LEDGER"], counts["RETRY"]
        status, ended_us, seconds, error = self._ending(source)
        judge = self.judges[-1] if self.judges else JudgeView("", "")
        amended: dict[str, Any] = {
            "outcome": self.verdict.get("outcome", ""),
            "action": self.policies[-1].action if self.policies else judge.action,
            "gaps": judge.gaps,
            "note": "",
        }
        for amendment in self.amendments:
            amended |= {name: value for name, value in amendment.patch.items() if name in amended}
        roots = [span for span in self.begun.values() if span.parent_id not in self.begun]
        last_end = self.ends[max(self.ends)].data() if self.ends else {}
        told = {**start, **last_end} | {
            name: value for name, value in self.facts.items() if name in ("question", "answer")
        }
        return TraceView(
            id=trace_id,
            environment=read_text(start.get("environment")),
            question=read_text(told.get("question")) or (_said(roots, "input") if source == "ingest" else ""),
            status=status,
            outcome=str(amended["outcome"] or ""),
            action=str(amended["action"] or ""),
            started_us=self._started_us(source),
            ended_us=ended_us,
            seconds=seconds,
            error=error,
            segments=self.last_segment + 1,
            stages=build_tree(self.begun, in_time=source == "ingest"),
            decisions=tuple(self.decisions),
            ledger=tuple(self.ledger),
            found=tuple(self.found),
            cited=tuple(self.cited),
            causes=read_texts(self.verdict.get("causes")),
            judges=tuple(self.judges),
            gaps=read_texts(amended["gaps"]),
            note=str(amended["note"] or ""),
            amendments=tuple(self.amendments),
            model=_sum_model(self.model_calls),
            open_spans=sum(span.status == "open" for span in self.begun.values()),
            spans=len(self.begun),
            failed_spans=sum(span.status == "failed" for span in self.begun.values()),
            source=source,
            external_id=read_text(start.get("external_id")),
            name=read_text(start.get("name")) or (roots[0].name if roots and source == "ingest" else ""),
            answer=read_text(told.get("answer")) or (_said(roots, "output") if source == "ingest" else ""),
            facts=self.facts,
            model_calls=tuple(self.model_calls),
            routes=tuple(self.routes),
            retries=tuple(self.retries),
            pauses=self._pauses(),
            logs=tuple(self.logs),
            policies=tuple(self.policies),
            evals=tuple(self.evals),
            schema_version=int(read_number(start.get("schema"), 1)),
        )

    def _start(self) -> Mapping[str, Any]:
        """Return what the beginnings say; of a trace in parts, each may tell something that the others left open."""
        if not self.starts or self.starts[0].data().get("source") != "ingest":
            return self.starts[0].data() if self.starts else {}
        told: dict[str, Any] = {}
        for event in self.starts:
            told |= {name: value for name, value in event.data().items() if value not in (None, "")}
        return told

    def _started_us(self, source: Source) -> int:
        if source == "causegraph":
            return self.starts[0].time_us if self.starts else self.first_us or 0
        # A beginning that was only implied (number 0) has the time of whatever came first.
        said = [event.time_us for event in self.starts if event.number] + [s.start_us for s in self.begun.values()]
        return min(said) if said else self.first_us or 0

    def _ending(self, source: Source) -> tuple[Status, int | None, float | None, str]:
        """Return status, end, seconds of work, and error."""
        if source == "ingest" and not self.ends and not any(event.number for event in self.starts):
            return self._ending_by_root()
        last_end = self.ends.get(self.last_segment)
        ended = last_end.data() if last_end else {}
        status: Status = read_status(ended.get("status")) if last_end else "running"
        seconds = [read_number(end.data().get("seconds")) for end in self.ends.values()]
        spent = sum(seconds) if seconds else None
        return status, last_end.time_us if last_end else None, spent, read_text(ended.get("error"))

    def _ending_by_root(self) -> tuple[Status, int | None, float | None, str]:
        """A trace of spans alone ends with its root: the span that never had a parent."""
        roots = [span for span in self.begun.values() if not span.parent_id]
        if not roots or any(span.ended_us is None for span in roots):
            return "running", None, None, ""
        ended_us = max(span.ended_us or 0 for span in roots)
        failed = next((span for span in roots if span.status == "failed"), None)
        status: Status = "failed" if failed else "paused" if any(s.status == "paused" for s in roots) else "complete"
        return status, ended_us, (ended_us - self._started_us("ingest")) / 1e6, failed.error if failed else ""

    def _amend_spans(self) -> None:
        for amendment in self.amendments:
            if span := self.begun.get(amendment.span_id):
                span.amend(amendment.patch)
            elif amendment.span_id == "amendment" and isinstance(facts := amendment.patch.get("facts"), dict):
                self.facts = merge_patch(self.facts, facts)

    def _pauses(self) -> tuple[Pause, ...]:
        pauses: list[Pause] = []
        waiting: Event | None = None
        steps = [*self.waits, *(end for end in self.ends.values() if end.data().get("status") == "paused")]
        steps += [start for start in self.starts if start.segment > 0]
        for event in sorted(steps, key=lambda event: (event.segment, event.number, event.event_id)):
            match event.type:
                case "PAUSE":
                    if waiting is not None:
                        pauses.append(_pause(waiting, None))
                    waiting = event
                case "RUN_END" if waiting is None:
                    waiting = event
                case "RESUME":
                    if waiting is not None:
                        pauses.append(_pause(waiting, event))
                    elif pauses and not pauses[-1].resumed_by:  # who it was, said after the segment began
                        pauses[-1] = _resumed_by(pauses[-1], event)
                    waiting = None
                case "RUN_START" if waiting is not None:
                    pauses.append(_pause(waiting, event))
                    waiting = None
                case _:
                    pass
        if waiting is not None:
            pauses.append(_pause(waiting, None))
        return tuple(pauses)


def _pause(paused: Event, resumed: Event | None) -> Pause:
    said = paused.data() if paused.type == "PAUSE" else {}
    return Pause(
        span_id=paused.span_id,
        reason=read_text(said.get("reason")),
        waiting_for=read_text(said.get("waiting_for")),
        paused_us=paused.time_us,
        resumed_us=resumed.time_us if resumed else None,
        resumed_by=read_text(resumed.data().get("by")) if resumed else "",
        facts=read_mapping(said.get("facts")),
    )


def _resumed_by(pause: Pause, event: Event) -> Pause:
    return Pause(
        pause.span_id,
        pause.reason,
        pause.waiting_for,
        pause.paused_us,
        pause.resumed_us,
        read_text(event.data().get("by")),
        pause.facts,
    )


def _said(roots: list[Span], name: str) -> str:
    return next((text for span in roots if isinstance(text := span.facts.get(name), str)), "")


def _sum_model(calls: list[ModelCall]) -> ModelUse:
    return ModelUse(
        calls=len(calls),
        prompt_tokens=sum(call.prompt_tokens for call in calls),
        completion_tokens=sum(call.completion_tokens for call in calls),
        seconds=sum(call.seconds for call in calls),
        cost=sum(call.cost for call in calls),
    )

"""Recording a run: stages, decisions, queries, model calls, pauses, on the right span, without ever disturbing the run."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from domain.evidence import LedgerEntry
from domain.times import to_us
from domain.verdict import Judgement, Outcome
from tracing.events import (
    SCHEMA_VERSION,
    Event,
    EventType,
    StageKind,
    StageStatus,
    Status,
    encode_payload,
    make_event_id,
    make_trace_id,
)
from tracing.fold import fold
from tracing.view import TraceView

logger = logging.getLogger(__name__)


class Stage:
    """A named phase of a run; a context manager, `with` or `async with`. A failure inside is recorded and goes on."""

    __slots__ = ("_facts", "_started_ns", "_token", "kind", "name", "parent_id", "span_id", "trace")

    def __init__(self, trace: Trace, name: str, facts: Mapping[str, object], kind: StageKind = "stage") -> None:
        self.trace = trace
        self.name = name
        self.kind: StageKind = kind
        self.span_id = ""
        self.parent_id = ""
        self._facts: dict[str, object] = dict(facts)
        self._token: Token[Place] | None = None
        self._started_ns = 0

    def note(self, **facts: object) -> None:
        """Add facts about the stage (what it put out, how many rows ...), written when it ends."""
        self._facts.update(facts)

    def __enter__(self) -> Self:
        self.parent_id = self.trace.current_span()
        self.span_id = self.trace.open_span(self.name, self.parent_id, self._facts, self.kind)
        self._facts = {}
        self._token = HERE.set((self.trace, self.span_id, self.trace.find_span()))
        self._started_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = (time.perf_counter_ns() - self._started_ns) / 1e9
        if self._token is not None:
            try:
                HERE.reset(self._token)
            except ValueError:  # closed from another context than it was opened in, as async generators do
                HERE.set((self.trace, self.parent_id, self.trace.find_span()))
        self.trace.close_span(self.span_id, seconds, error, self._facts)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)


class Trace:
    """One run of the agents, or one segment of it. Safe to use from many tasks and threads; no call of it raises."""

    enabled = True

    def __init__(
        self,
        question: str,
        environment: str,
        *,
        trace_id: str = "",
        segment: int = 0,
        pauses: tuple[type[BaseException], ...] = (),
        tap: Callable[[Event], None] | None = None,
    ) -> None:
        now = datetime.now(UTC)
        self.id = trace_id or make_trace_id(now)
        self.question = question
        self.environment = environment
        self.segment = segment
        self.status: Status = "running"
        # A framework that runs steps of its own (LangGraph) says here on which span it is; "" where it has none.
        self.find_span: Callable[[], str] = _no_span
        self._pauses = pauses
        self._tap = tap
        self._started_us = to_us(now)
        self._started_ns = time.perf_counter_ns()
        self._spans = itertools.count()
        self._token = secrets.token_hex(3)
        self._guard = threading.Lock()
        self._ordinals: Counter[tuple[str, EventType]] = Counter()
        self._events: list[Event] = []
        self.root = self._span_id()
        begun = {"question": question, "environment": environment, "schema": SCHEMA_VERSION}
        self._emit("RUN_START", self.root, begun)

    # What callers record

    def stage(self, name: str, kind: StageKind = "stage", **facts: object) -> Stage:
        """Return a context manager that opens a span under the current one."""
        return Stage(self, name, facts, kind)

    def note(self, **facts: object) -> None:
        """Add facts about the run as a whole: `service`, `intent`, `thread_id`, `incident_id` ... The last one counts."""
        self._emit("NOTE", self.root, {"facts": facts})

    def log(self, text: str, level: str = "INFO", **facts: object) -> None:
        """Record a line of text on the current stage."""
        self._emit("LOG", self.current_span(), {"text": text, "level": level, "facts": facts})

    def decide(
        self,
        what: str,
        why: str,
        confidence: float,
        alternatives: Sequence[str] = (),
        inputs: Mapping[str, object] | None = None,
    ) -> None:
        """Record a choice: what, why, how sure (0 to 1), what else was on the table, and on which inputs it rests."""
        self._emit(
            "DECISION",
            self.current_span(),
            {
                "what": what,
                "why": why,
                "confidence": confidence,
                "alternatives": tuple(alternatives),
                "inputs": inputs or {},
            },
        )

    def ledger(self, entry: LedgerEntry) -> None:
        """Record one query of the investigation, also one that found nothing or failed."""
        data = {
            "query": entry.query,
            "start_us": entry.window.start_us,
            "end_us": entry.window.end_us,
            "filter": entry.filter,
            "rows_scanned": entry.rows_scanned,
            "rows_returned": entry.rows_returned,
            "reporting": entry.reporting,
            "seconds": entry.seconds,
            "error": entry.error,
        }
        self._emit("LEDGER", self.current_span(), data)

    def evidence(self, ids: Iterable[str], *, cited: bool = False) -> None:
        """Record the ids of evidence that was found, or that the answer cites."""
        self._emit("EVIDENCE", self.current_span(), {"ids": tuple(ids), "cited": cited})

    def model_call(
        self,
        model: str,
        *,
        prompt_tokens: int,
        completion_tokens: int,
        seconds: float,
        cost: float = 0.0,
        prompt: str = "",
        response: str = "",
        cached: bool = False,
        error: str = "",
    ) -> None:
        """Record one call of a language model; `cost` is in the currency of the settings.

        `prompt` and `response` are ids in the prompt store (or any hash), not the texts themselves.
        """
        data = {
            "model": model,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "seconds": seconds,
            "cost": cost,
            "prompt": prompt,
            "response": response,
            "cached": cached,
            "error": error,
        }
        self._emit("MODEL_CALL", self.current_span(), data)

    def retry(self, attempt: int, error: BaseException | str = "", wait_seconds: float = 0.0) -> None:
        """Record that attempt number `attempt` (from 1) of the current stage failed and is made again."""
        told = error if isinstance(error, str) else name_error(error)
        self._emit("RETRY", self.current_span(), {"attempt": attempt, "error": told, "wait_seconds": wait_seconds})

    def cache_hit(self, name: str, key: str = "", kind: StageKind = "stage", **facts: object) -> None:
        """Record a step that did not run because a cache had its result: a stage of no length, `cached`."""
        data = {"name": name, "parent": self.current_span(), "key": key, "kind": kind, "facts": facts}
        self._emit("CACHE_HIT", self._span_id(), data)

    def route(self, to: str | Sequence[str], why: str = "", options: Sequence[str] = ()) -> None:
        """Record where the run goes on, why, and between which possibilities that was chosen."""
        chosen = (to,) if isinstance(to, str) else tuple(to)
        self._emit("ROUTE", self.current_span(), {"to": chosen, "why": why, "options": tuple(options)})

    def policy(self, name: str, version: str, action: str, rule: str = "", reason: str = "") -> None:
        """Record what a policy decided about the answer."""
        data = {"name": name, "version": version, "action": action, "rule": rule, "reason": reason}
        self._emit("POLICY", self.current_span(), data)

    def conclude(self, outcome: Outcome, causes: Sequence[str] = (), reasons: Sequence[str] = ()) -> None:
        """Record the verdict's outcome and the services that it names."""
        data = {"outcome": outcome, "causes": tuple(causes), "reasons": tuple(reasons)}
        self._emit("VERDICT", self.current_span(), data)

    def judge(self, judgement: Judgement, by: str = "checks") -> None:
        """Record what a judge said of the answer; `by` names the judge. The last one recorded counts."""
        data = {
            "action": judgement.action,
            "scores": dict(judgement.scores),
            "gaps": tuple(judgement.gaps),
            "strengths": tuple(judgement.strengths),
            "by": by,
        }
        self._emit("JUDGE", self.current_span(), data)

    def pause(self, reason: str = "", waiting_for: str = "", **facts: object) -> None:
        """Say that this segment ends waiting (for an approval, an answer); the run goes on in a later segment."""
        self.status = "paused"
        self._emit("PAUSE", self.current_span(), {"reason": reason, "waiting_for": waiting_for, "facts": facts})

    def resume(self, by: str = "", **facts: object) -> None:
        """Say that the wait is over, and who or what ended it. The run works again."""
        self.status = "running"
        self._emit("RESUME", self.current_span(), {"by": by, "facts": facts})

    def fail(self) -> None:
        """Say that the run failed although no exception leaves it."""
        self.status = "failed"

    # What readers take

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything recorded so far in this segment."""
        with self._guard:
            return tuple(self._events)

    def events_from(self, number: int) -> tuple[Event, ...]:
        """Return what was recorded in this segment from the n-th event on."""
        with self._guard:
            return tuple(self._events[number:])

    def view(self) -> TraceView:
        """Return the run as folded from the events of this segment."""
        return fold(self.events)

    # What stages and `start_trace` call

    def current_span(self) -> str:
        """Return the span that a record made here belongs to."""
        trace, span_id, found_then = HERE.get()
        found = self.find_span()
        # A stage opened inside a framework's step is nearer than that step; a step begun after the stage is nearer still.
        if found and (trace is not self or found != found_then):
            return found
        return span_id if trace is self else self.root

    def open_span(self, name: str, parent_id: str, facts: Mapping[str, object], kind: StageKind = "stage") -> str:
        """Record the start of a stage and return its span id."""
        span_id = self._span_id()
        self._emit("STAGE_START", span_id, {"name": name, "parent": parent_id, "facts": facts, "kind": kind})
        return span_id

    def close_span(
        self,
        span_id: str,
        seconds: float,
        error: BaseException | None,
        facts: Mapping[str, object],
        *,
        paused: bool = False,
    ) -> None:
        """Record the end of a stage."""
        status: StageStatus = "paused" if paused else "complete"
        if error is not None and not paused:
            status = "paused" if isinstance(error, self._pauses) else "failed"
        data = {
            "status": status,
            "seconds": seconds,
            "error": "" if status != "failed" else name_error(error),
            "facts": facts,
        }
        self._emit("STAGE_END", span_id, data)

    def emit_on(self, span_id: str, event_type: EventType, data: Mapping[str, object]) -> None:
        """Record an event on a span that is named, for frameworks whose callbacks run elsewhere than their steps."""
        self._emit(event_type, span_id, data)

    def end(self, error: BaseException | None = None) -> None:
        """Record the end of this segment; nothing is recorded after it."""
        if error is not None:
            self.status = "paused" if isinstance(error, self._pauses) else "failed"
        elif self.status == "running":
            self.status = "complete"
        seconds = (time.perf_counter_ns() - self._started_ns) / 1e9
        told = name_error(error) if error is not None and self.status == "failed" else ""
        self._emit("RUN_END", self.root, {"status": self.status, "seconds": seconds, "error": told})

    def _span_id(self) -> str:
        # The random part keeps two processes apart that wrongly took up the same segment.
        return f"{self.segment}.{self._token}.{next(self._spans)}"

    def _emit(self, event_type: EventType, span_id: str, data: Mapping[str, Any]) -> None:
        payload = encode_payload(data)
        elapsed_us = (time.perf_counter_ns() - self._started_ns) // 1000
        with self._guard:
            if self._events and self._events[-1].type == "RUN_END":
                return
            ordinal = self._ordinals[span_id, event_type]
            self._ordinals[span_id, event_type] = ordinal + 1
            event_id = make_event_id(self.id, span_id, event_type, ordinal)
            number = len(self._events)
            moment_us = self._started_us + elapsed_us
            event = Event(self.id, event_id, event_type, span_id, self.segment, number, moment_us, payload)
            self._events.append(event)
            if self._tap is not None:
                self._tap(event)


class NoTrace(Trace):
    """The trace of code that runs untraced: every call works and does nothing."""

    enabled = False

    def __init__(self) -> None:
        self.id = ""
        self.question = ""
        self.environment = ""
        self.segment = 0
        self.status = "running"
        self.root = ""
        self.find_span = _no_span
        self._stage = _NoStage(self, "", {})

    def stage(self, name: str, kind: StageKind = "stage", **facts: object) -> Stage:
        return self._stage

    def pause(self, reason: str = "", waiting_for: str = "", **facts: object) -> None:
        pass

    def resume(self, by: str = "", **facts: object) -> None:
        pass

    def fail(self) -> None:
        pass

    def end(self, error: BaseException | None = None) -> None:
        pass

    def current_span(self) -> str:
        return ""

    @property
    def events(self) -> tuple[Event, ...]:
        return ()

    def events_from(self, number: int) -> tuple[Event, ...]:
        return ()

    def view(self) -> TraceView:
        """Return the view of a run of which nothing is known."""
        return fold([Event("", "", "RUN_START", "", 0, 0, 0, "{}")])

    def _span_id(self) -> str:
        return ""

    def _emit(self, event_type: EventType, span_id: str, data: Mapping[str, Any]) -> None:
        pass


class _NoStage(Stage):
    """Shared by everyone, so it keeps nothing."""

    __slots__ = ()

    def note(self, **facts: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass


def _no_span() -> str:
    return ""


# The trace, the stage, and the framework's span (see `Trace.find_span`) when that stage was opened.
type Place = tuple[Trace, str, str]

NO_TRACE = NoTrace()
HERE: ContextVar[Place] = ContextVar("causegraph_trace", default=(NO_TRACE, "", ""))


def current_trace() -> Trace:
    """Return the trace that is running here, or one whose calls do nothing."""
    return HERE.get()[0]


def name_error(error: BaseException | None) -> str:
    """Return an exception's type and message, whatever its `__str__` does."""
    if error is None:
        return ""
    try:
        return f"{type(error).__name__}: {error}"[:1000]
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error itself
        return type(error).__name__

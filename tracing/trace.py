"""Recording a run: stages, decisions, queries and judgements, on the right span, without ever disturbing the run.

    async with start_trace(question, environment, sink) as trace:
        with trace.stage("logs"):
            current_trace().decide("look at checkout first", "it is named in the question", 0.9)

The current trace and stage travel in a ContextVar, so they follow tasks (`TaskGroup`, `gather`, LangGraph's parallel
nodes) and `asyncio.to_thread` without being passed. Where no trace runs, `current_trace()` is one that does nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar, Token
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from domain.evidence import LedgerEntry
from domain.times import to_us
from domain.verdict import Judgement, Outcome
from tracing.events import Event, EventType, StageStatus, Status, encode_payload, make_event_id, make_trace_id
from tracing.fold import TraceView, fold

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
WRITE_SECONDS = 5.0
CLOSE_SECONDS = 2.0


class Sink(Protocol):
    """Where events go. The same event may arrive twice; a write that raises or hangs is tried again with the next."""

    async def write(self, events: Sequence[Event]) -> None: ...


class Stage:
    """A named phase of a run; a context manager, `with` or `async with`. A failure inside is recorded and goes on."""

    __slots__ = ("_facts", "_started_ns", "_token", "name", "parent_id", "span_id", "trace")

    def __init__(self, trace: Trace, name: str, facts: Mapping[str, object]) -> None:
        self.trace = trace
        self.name = name
        self.span_id = ""
        self.parent_id = ""
        self._facts: dict[str, object] = dict(facts)
        self._token: Token[tuple[Trace, str]] | None = None
        self._started_ns = 0

    def note(self, **facts: object) -> None:
        """Add facts about the stage (what it put out, how many rows ...), written when it ends."""
        self._facts.update(facts)

    def __enter__(self) -> Self:
        self.parent_id = self.trace.current_span()
        self.span_id = self.trace.open_span(self.name, self.parent_id, self._facts)
        self._facts = {}
        self._token = _HERE.set((self.trace, self.span_id))
        self._started_ns = time.perf_counter_ns()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        seconds = (time.perf_counter_ns() - self._started_ns) / 1e9
        if self._token is not None:
            try:
                _HERE.reset(self._token)
            except ValueError:  # closed from another context than it was opened in, as async generators do
                _HERE.set((self.trace, self.parent_id))
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
    ) -> None:
        now = datetime.now(UTC)
        self.id = trace_id or make_trace_id(now)
        self.question = question
        self.environment = environment
        self.segment = segment
        self.status: Status = "running"
        self._pauses = pauses
        self._started_us = to_us(now)
        self._started_ns = time.perf_counter_ns()
        self._spans = itertools.count()
        self._token = secrets.token_hex(3)
        self._guard = threading.Lock()
        self._ordinals: Counter[tuple[str, EventType]] = Counter()
        self._events: list[Event] = []
        self.root = self._span_id()
        self._emit("RUN_START", self.root, {"question": question, "environment": environment})

    # What callers record

    def stage(self, name: str, **facts: object) -> Stage:
        """Return a context manager that opens a span under the current one."""
        return Stage(self, name, facts)

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
        self, model: str, *, prompt_tokens: int, completion_tokens: int, seconds: float, cost: float = 0.0
    ) -> None:
        """Record one call of a language model; `cost` is in the currency of the settings."""
        data = {
            "model": model,
            "prompt_tokens": prompt_tokens,
            "completion_tokens": completion_tokens,
            "seconds": seconds,
            "cost": cost,
        }
        self._emit("MODEL_CALL", self.current_span(), data)

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
            "by": by,
        }
        self._emit("JUDGE", self.current_span(), data)

    def pause(self) -> None:
        """Say that this segment ends waiting (for an approval, an answer); the run goes on in a later segment."""
        self.status = "paused"

    def fail(self) -> None:
        """Say that the run failed although no exception leaves it."""
        self.status = "failed"

    # What readers take

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything recorded so far in this segment."""
        with self._guard:
            return tuple(self._events)

    def view(self) -> TraceView:
        """Return the run as folded from the events of this segment."""
        return fold(self.events)

    # What stages and `start_trace` call

    def current_span(self) -> str:
        """Return the span that a record made here belongs to."""
        trace, span_id = _HERE.get()
        return span_id if trace is self else self.root

    def open_span(self, name: str, parent_id: str, facts: Mapping[str, object]) -> str:
        """Record the start of a stage and return its span id."""
        span_id = self._span_id()
        self._emit("STAGE_START", span_id, {"name": name, "parent": parent_id, "facts": facts})
        return span_id

    def close_span(
        self, span_id: str, seconds: float, error: BaseException | None, facts: Mapping[str, object]
    ) -> None:
        """Record the end of a stage."""
        status: StageStatus = "complete"
        if error is not None:
            status = "paused" if isinstance(error, self._pauses) else "failed"
        data = {
            "status": status,
            "seconds": seconds,
            "error": "" if status != "failed" else _name_error(error),
            "facts": facts,
        }
        self._emit("STAGE_END", span_id, data)

    def end(self, error: BaseException | None = None) -> None:
        """Record the end of this segment; nothing is recorded after it."""
        if error is not None:
            self.status = "paused" if isinstance(error, self._pauses) else "failed"
        elif self.status == "running":
            self.status = "complete"
        seconds = (time.perf_counter_ns() - self._started_ns) / 1e9
        told = _name_error(error) if error is not None and self.status == "failed" else ""
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
            self._events.append(Event(self.id, event_id, event_type, span_id, self.segment, number, moment_us, payload))


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
        self._stage = _NoStage(self, "", {})

    def stage(self, name: str, **facts: object) -> Stage:
        return self._stage

    def decide(
        self,
        what: str,
        why: str,
        confidence: float,
        alternatives: Sequence[str] = (),
        inputs: Mapping[str, object] | None = None,
    ) -> None:
        pass

    def ledger(self, entry: LedgerEntry) -> None:
        pass

    def evidence(self, ids: Iterable[str], *, cited: bool = False) -> None:
        pass

    def model_call(
        self, model: str, *, prompt_tokens: int, completion_tokens: int, seconds: float, cost: float = 0.0
    ) -> None:
        pass

    def conclude(self, outcome: Outcome, causes: Sequence[str] = (), reasons: Sequence[str] = ()) -> None:
        pass

    def judge(self, judgement: Judgement, by: str = "checks") -> None:
        pass

    def pause(self) -> None:
        pass

    def fail(self) -> None:
        pass

    def end(self, error: BaseException | None = None) -> None:
        pass

    def current_span(self) -> str:
        return ""

    def open_span(self, name: str, parent_id: str, facts: Mapping[str, object]) -> str:
        return ""

    def close_span(
        self, span_id: str, seconds: float, error: BaseException | None, facts: Mapping[str, object]
    ) -> None:
        pass

    @property
    def events(self) -> tuple[Event, ...]:
        return ()

    def view(self) -> TraceView:
        """Return the view of a run of which nothing is known."""
        return fold([Event("", "", "RUN_START", "", 0, 0, 0, "{}")])


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


NO_TRACE = NoTrace()
_HERE: ContextVar[tuple[Trace, str]] = ContextVar("causegraph_trace", default=(NO_TRACE, ""))


def current_trace() -> Trace:
    """Return the trace that is running here, or one whose calls do nothing."""
    return _HERE.get()[0]


@asynccontextmanager
async def start_trace(
    question: str,
    environment: str,
    sink: Sink,
    *,
    enabled: bool = True,
    trace_id: str = "",
    segment: int = 0,
    pauses: tuple[type[BaseException], ...] = (),
    flush_seconds: float = FLUSH_SECONDS,
    write_seconds: float = WRITE_SECONDS,
    close_seconds: float = CLOSE_SECONDS,
) -> AsyncIterator[Trace]:
    """Run a block as one trace: complete at its end, failed if an exception leaves it (which goes on unchanged).

    Events go to the sink every `flush_seconds` and at the end. A write may take `write_seconds` in the background, and
    the end of the block waits for the sink `close_seconds` at most; failures of the sink are logged once and never
    reach the block. `trace_id` and `segment` continue a paused run. An exception of a type in `pauses` (LangGraph's
    GraphBubbleUp) is a pause, not a failure.
    """
    if not enabled:
        token = _HERE.set((NO_TRACE, ""))
        try:
            yield NO_TRACE
        finally:
            _leave(token)
        return
    trace = Trace(question, environment, trace_id=trace_id, segment=segment, pauses=pauses)
    flusher = _Flusher(trace, sink, flush_seconds, write_seconds)
    background = asyncio.create_task(flusher.run(), name=f"flush {trace.id}")
    token = _HERE.set((trace, trace.root))
    try:
        yield trace
    except BaseException as error:
        trace.end(error)
        raise
    else:
        trace.end()
    finally:
        _leave(token)
        await flusher.close(background, close_seconds)


def _leave(token: Token[tuple[Trace, str]]) -> None:
    try:
        _HERE.reset(token)
    except ValueError:  # left from another context than it was entered in
        _HERE.set((NO_TRACE, ""))


class _Flusher:
    """Carries a trace's events to the sink, one write at a time, in order, each event until a write of it succeeds."""

    def __init__(self, trace: Trace, sink: Sink, flush_seconds: float, write_seconds: float) -> None:
        self._trace = trace
        self._sink = sink
        self._flush_seconds = flush_seconds
        self._write_seconds = write_seconds
        self._sent = 0
        self._told = False
        self._ending = asyncio.Event()

    async def run(self) -> None:
        while not self._ending.is_set():
            try:
                await asyncio.wait_for(self._ending.wait(), self._flush_seconds)
            except TimeoutError:
                await self._flush()
        await self._flush()

    async def close(self, background: asyncio.Task[None], seconds: float) -> None:
        """Send what is left, within the time given; also when the run itself is being cancelled."""
        self._ending.set()
        await asyncio.wait({background}, timeout=seconds)
        if not background.done():
            self._tell(f"the sink took longer than {seconds:g} s")
            background.cancel()
        elif not background.cancelled():
            background.exception()

    async def _flush(self) -> None:
        events = self._trace.events[self._sent :]
        if not events:
            return
        # Not `wait_for`: it would wait for a sink that swallows its cancellation.
        write = asyncio.create_task(self._write(events))
        try:
            await asyncio.wait({write}, timeout=self._write_seconds)
        finally:
            if not write.done():
                write.cancel()
                write.add_done_callback(_ignore_result)
        if not write.done() or write.cancelled():
            self._tell(f"a write took longer than {self._write_seconds:g} s")
        elif (error := write.exception()) is not None:
            self._tell(_name_error(error))
        else:
            self._sent += len(events)

    async def _write(self, events: Sequence[Event]) -> None:
        await self._sink.write(events)

    def _tell(self, why: str) -> None:
        if not self._told:
            self._told = True
            logger.warning("The trace could not be stored", extra={"trace_id": self._trace.id, "reason": why})


def _ignore_result(task: asyncio.Future[None]) -> None:
    if not task.cancelled():
        task.exception()


def _name_error(error: BaseException | None) -> str:
    if error is None:
        return ""
    try:
        return f"{type(error).__name__}: {error}"[:1000]
    except Exception:  # noqa: BLE001 - a broken __str__ must not hide the error itself
        return type(error).__name__

"""Recording a run: stages, decisions, queries and judgements, on the right span, without ever disturbing the run.

    async with start_trace(question, environment, sink) as trace:
        with trace.stage("logs"):
            current_trace().decide("look at checkout first", "it is named in the question", 0.9)

The current trace and stage travel in a ContextVar, so they follow tasks (`TaskGroup`, `gather`, LangGraph's parallel
nodes) and `asyncio.to_thread` without being passed. Where no trace runs, `current_trace()` is one that does nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from contextvars import Token
from typing import Protocol, runtime_checkable

from tracing.events import Event
from tracing.recording import HERE, NO_TRACE, Place, Stage, Trace, current_trace, name_error

__all__ = ["NO_TRACE", "NotingSink", "Sink", "Stage", "Trace", "current_trace", "start_trace"]

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0
WRITE_SECONDS = 5.0
CLOSE_SECONDS = 2.0


class Sink(Protocol):
    """Where events go. The same event may arrive twice; a write that raises or hangs is tried again with the next."""

    async def write(self, events: Sequence[Event]) -> None: ...


@runtime_checkable
class NotingSink(Sink, Protocol):
    """A sink that hears of each event at once, before `write` brings it in a batch, and so loses none to a crash."""

    def note(self, event: Event) -> None:
        """Keep an event where it survives the process; must be quick and never raise."""
        ...


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
        token = HERE.set((NO_TRACE, "", ""))
        try:
            yield NO_TRACE
        finally:
            _leave(token)
        return
    tap = sink.note if isinstance(sink, NotingSink) else None
    trace = Trace(question, environment, trace_id=trace_id, segment=segment, pauses=pauses, tap=tap)
    flusher = _Flusher(trace, sink, flush_seconds, write_seconds)
    background = asyncio.create_task(flusher.run(), name=f"flush {trace.id}")
    token = HERE.set((trace, trace.root, ""))
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


def _leave(token: Token[Place]) -> None:
    try:
        HERE.reset(token)
    except ValueError:  # left from another context than it was entered in
        HERE.set((NO_TRACE, "", ""))


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
        events = self._trace.events_from(self._sent)
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
            self._tell(name_error(error))
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

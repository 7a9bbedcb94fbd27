"""Streamed questions as runs of their own: they outlive the connection that asked, and the process that worked on them.

What a run tells is stored before it is sent, so a client that was cut off reads on from its last event. A run whose process died is
taken over by another, under the same run and trace, behind the last step of the team that was kept; one that had not come so far is
begun again. It reads nothing later than its question, so it comes to the same.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from agents.investigate import Answer, Progress
from agents.question import Question
from agents.services import Services
from agents.telling import Told, tell_tokens
from api.errors import status_of, told_body
from domain.errors import CausegraphError, QuestionError
from domain.times import from_us
from storage.chat_runs import ChatEvent, ChatRun, ChatRunStore
from storage.run_states import RunStates
from tracing.events import make_trace_id

logger = logging.getLogger(__name__)

AT_ONCE = 4
_ENDS = {"answer": "done", "error": "failed", "cancelled": "cancelled"}
LAST_EVENTS = tuple(_ENDS)
LOST_SECONDS = 15.0
_BEAT_SECONDS = 1.0
_POLL_SECONDS = 0.5
_TRIES = 30
_MOST_SEGMENTS = 8
_KEPT_SECONDS = 7 * 24 * 3600.0


class ChatRuns:
    """Works on runs, tells of them, cancels them, and takes over those of processes that died."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._store = ChatRunStore(services.database)
        self._states = RunStates(services.database)
        self._owner = secrets.token_hex(12)
        self._turn = asyncio.Semaphore(AT_ONCE)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._cancelled: set[str] = set()
        self._news = asyncio.Condition()

    async def start(self, question: Question) -> str:
        """Begin to work on a question and return the run's id, which is that of its trace as well."""
        now = datetime.now(UTC)
        run_id = make_trace_id(now)
        held = asdict(replace(question, run_id=run_id))
        created_us = time.time_ns() // 1000
        run = ChatRun(run_id, question.environment, question.thread_id, "running", self._owner, 0, created_us, held)
        await self._store.begin(run)
        await self._store.tell(run_id, "run", {"run_id": run_id, "thread_id": question.thread_id})
        self._work_on(run)
        return run_id

    async def get(self, run_id: str) -> dict[str, Any]:
        """Return the state of a run, with its answer once it is there; raises NotFound."""
        run = await self._store.get(run_id)
        events = [event async for event in self._stored(run_id, 0)]
        body: dict[str, Any] = {"run_id": run.id, "thread_id": run.thread_id, "environment": run.environment}
        ended = next((_ENDS[event.name] for event in events if event.name in _ENDS), run.status)
        body |= {"status": ended, "question": run.question["text"], "asked": from_us(run.created_us).isoformat()}
        answer = next((event.data for event in events if event.name == "answer"), None)
        return body | {"answer": answer, "events": len(events)}

    async def in_hand(self, environment: str, thread_id: str) -> list[dict[str, Any]]:
        """Return the state of each run of a thread that has not ended, oldest first."""
        held = [await self.get(run.id) for run in await self._store.in_hand(environment, thread_id)]
        return [state for state in held if state["status"] in ("running", "cancelling")]

    async def follow(self, run_id: str, after: int = 0) -> AsyncIterator[ChatEvent]:
        """Yield what a run tells after an event until it ends; raises NotFound."""
        await self._store.get(run_id)
        while True:
            async for event in self._stored(run_id, after):
                after = event.seq
                yield event
                if event.name in LAST_EVENTS:
                    return
            async with self._news:
                # Another process may be at work: its news do not wake anybody here.
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._news.wait(), _POLL_SECONDS)

    async def cancel(self, run_id: str) -> bool:
        """Stop a run, whoever works on it; False if it has ended already. Raises NotFound."""
        await self._store.get(run_id)
        asked = await self._store.cancel(run_id)
        self._stop(run_id)
        return asked

    async def run(self, stop: asyncio.Event) -> None:
        """Show that this process is at work, and take over what others left, until `stop` is set."""
        swept = 0.0
        while not stop.is_set():
            try:
                for run_id in await self._store.touch(self._owner):
                    self._stop(run_id)
                for run in await self._store.take_over(self._owner, LOST_SECONDS, AT_ONCE):
                    logger.warning("A question of a process that died is taken over.", extra={"run": run.id})
                    self._work_on(run)
                if time.monotonic() - swept > _KEPT_SECONDS / 168:
                    swept = time.monotonic()
                    await self._store.drop(_KEPT_SECONDS)
                    await self._states.drop(_KEPT_SECONDS)
            except CausegraphError as exc:
                logger.warning("Runs of questions cannot be looked after now.", extra={"reason": str(exc)})
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _BEAT_SECONDS)
        # What is in hand is left as it is: another process, or this one when it is back, begins it again.
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _stored(self, run_id: str, after: int) -> AsyncIterator[ChatEvent]:
        while events := await self._store.events(run_id, after):
            for event in events:
                yield event
            after = events[-1].seq

    def _work_on(self, run: ChatRun) -> None:
        task = asyncio.create_task(self._work(run), name=f"run {run.id}")
        self._tasks[run.id] = task
        task.add_done_callback(lambda done: self._tasks.pop(run.id, None))

    def _stop(self, run_id: str) -> None:
        if run_id in self._tasks:
            self._cancelled.add(run_id)
            self._tasks[run_id].cancel()

    async def _work(self, run: ChatRun) -> None:
        try:
            async with self._turn:
                status = await self._investigate(run)
        except asyncio.CancelledError:
            if run.id not in self._cancelled:
                raise
            self._cancelled.discard(run.id)
            status = "cancelled"
            await self._tell(run, "cancelled", {"run_id": run.id})
        except CausegraphError as exc:
            logger.warning("A streamed question failed.", extra={"reason": str(exc)})
            status = "failed"
            await self._tell(run, "error", told_body(exc, status_of(exc)))
        except Exception:
            logger.exception("A streamed question failed unexpectedly.")
            status = "failed"
            wrong = {
                "error": "InternalError",
                "message": "Something unexpected went wrong.",
                "hint": "See the server's log.",
            }
            await self._tell(run, "error", wrong)
        with suppress(CausegraphError):  # its last event is told; that it ended is seen by that
            await self._store.end(run, status)

    async def _investigate(self, run: ChatRun) -> str:
        told: set[tuple[str, str]] = set()
        if run.segment:  # its process may have died just after the last event
            async for event in self._stored(run.id, 0):
                told.add((event.name, str(event.data.get("agent", ""))))
                if event.name in _ENDS:
                    return _ENDS[event.name]
        if run.segment > _MOST_SEGMENTS:
            raise QuestionError(f"{run.segment} servers ended while they worked on this question: it is given up.")
        if run.status == "cancelling":
            await self._tell(run, "cancelled", {"run_id": run.id})
            return "cancelled"
        question = Question(**{**run.question, "about": tuple(run.question["about"])})
        parts = self._services.investigator.stream(question, trace_id=run.id, segment=run.segment)
        async for part in parts:
            match part:
                case Progress():
                    await self._tell(run, "progress", {"agent": part.agent, "text": part.text})
                case Told() if not (part.again and (part.name, str(part.data.get("agent", ""))) in told):
                    await self._tell(run, part.name, part.data)
                case Answer():
                    for piece in tell_tokens(part.body["answer"]):
                        await self._tell(run, piece.name, piece.data)
                    await self._tell(run, "answer", part.body)
        return "done"

    async def _tell(self, run: ChatRun, name: str, data: Any) -> None:
        """Store an event and wake who waits for it. The last one is tried until it is stored: somebody waits for it."""
        for number in range(_TRIES if name in LAST_EVENTS else 1):
            try:
                await self._store.tell(run.id, name, data)
                break
            except CausegraphError as exc:
                logger.warning("An event of a question was not stored.", extra={"run": run.id, "reason": str(exc)})
                await asyncio.sleep(min(number, 5))
        async with self._news:
            self._news.notify_all()

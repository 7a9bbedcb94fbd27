"""Runs of workflows and their steps. A step is written down before it is begun, so that none is ever begun twice."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from domain.errors import NotFound, StorageUnavailable
from domain.evidence import canonical_bytes
from domain.remedy import Part, RunStatus, StepStatus
from domain.times import HOUR_US, Window
from storage.approvals import use_approval
from storage.database import Database, Row, Transaction

_LOCK_SECONDS = 10
_RESULT_CHARACTERS = 8_000


@dataclass(frozen=True, slots=True)
class WorkflowRun:
    """One run. `request` is what was asked for; `plan` is what would be done, empty until it is
    prepared. `touched_us` says when somebody last worked on preparing it."""

    id: str
    environment: str
    workflow_id: str
    revision: str
    incident_id: str
    trace_id: str
    proposed_by: str
    status: RunStatus
    reason: str
    request: Mapping[str, Any]
    plan: Mapping[str, Any]
    created_us: int
    started_us: int | None
    ended_us: int | None
    touched_us: int

    @classmethod
    def from_row(cls, row: Row) -> WorkflowRun:
        return cls(
            id=str(row[0]),
            environment=str(row[1]),
            workflow_id=str(row[2]),
            revision=str(row[3]),
            incident_id=str(row[4]),
            trace_id=str(row[5]),
            proposed_by=str(row[6]),
            status=cast(RunStatus, row[7]),
            reason=str(row[8]),
            request=json.loads(row[9]),
            plan=json.loads(row[10]) if row[10] else {},
            created_us=int(row[11]),
            started_us=None if row[12] is None else int(row[12]),
            ended_us=None if row[13] is None else int(row[13]),
            touched_us=int(row[14]),
        )


@dataclass(frozen=True, slots=True)
class StepRecord:
    """What became of one step, or of taking it back (`part` undo)."""

    number: int
    part: Part
    status: StepStatus
    name: str
    started_us: int
    ended_us: int | None
    result: str

    @classmethod
    def from_row(cls, row: Row) -> StepRecord:
        ended = None if row[5] is None else int(row[5])
        part, status = cast(Part, row[1]), cast(StepStatus, row[2])
        return cls(int(row[0]), part, status, str(row[3]), int(row[4]), ended, str(row[6]))


@dataclass(frozen=True, slots=True)
class Opening:
    """What a new run is about."""

    environment: str
    workflow_id: str
    revision: str
    incident_id: str
    trace_id: str
    proposed_by: str
    request: Mapping[str, Any]


class WorkflowStore:
    """Keeps runs and steps, and counts what a verification looks at."""

    def __init__(self, database: Database, clock: Callable[[], int] = lambda: time.time_ns() // 1000) -> None:
        self._database = database
        self._clock = clock

    async def open(self, opening: Opening, key: str) -> tuple[WorkflowRun, bool]:
        """Open a run, and return it with True; while one with the same key is open, that one with False."""
        run_id, now_us = f"run-{secrets.token_hex(8)}", self._clock()
        row = (
            run_id,
            opening.environment,
            opening.workflow_id,
            opening.revision,
            opening.incident_id,
            opening.trace_id,
            opening.proposed_by[:128],
            canonical_bytes(opening.request).decode(),
            key,
            now_us,
            now_us,
        )

        def work(tx: Transaction) -> WorkflowRun:
            tx.execute("open_workflow_run", row)
            return WorkflowRun.from_row(tx.fetch("workflow_run_by_key", (key,))[0])

        run = await self._database.transaction(work)
        return run, run.id == run_id

    async def get(self, run_id: str) -> WorkflowRun:
        """Return a run; raises NotFound."""
        rows = await self._database.fetch("workflow_run_by_id", (run_id,)) if run_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no run {run_id[:40]!r}: see `causegraph workflow history`.")
        return WorkflowRun.from_row(rows[0])

    async def list(
        self, environment: str = "", incident_id: str = "", workflow_id: str = "", limit: int = 50
    ) -> Sequence[WorkflowRun]:
        """Return the newest runs, of one environment, incident or workflow, or of all."""
        scope = (environment, environment, incident_id, incident_id, workflow_id, workflow_id, limit)
        return [WorkflowRun.from_row(row) for row in await self._database.fetch("list_workflow_runs", scope)]

    async def touch(self, run_id: str) -> None:
        """Note that a run is still being prepared."""
        await self._database.execute("touch_workflow_run", (self._clock(), run_id))

    async def abandoned(self, since_us: int, limit: int) -> Sequence[WorkflowRun]:
        """Return the runs that are not prepared, and that nobody has touched since a moment."""
        rows = await self._database.fetch("abandoned_workflow_runs", (since_us, limit))
        return [WorkflowRun.from_row(row) for row in rows]

    async def set_plan(self, run_id: str, plan: Mapping[str, Any]) -> None:
        """Keep what a run would do; from now on it waits for its approval."""
        await self._database.execute("plan_workflow_run", (canonical_bytes(plan).decode(), run_id))

    async def begin(self, run_id: str, approval_id: str, digest: str, *, most_running: int, most_per_hour: int) -> str:
        """Use up the approval and let the run begin, in one transaction; return why not, "" if it has begun.

        A run that has begun already, as before a crash, goes on.
        """
        now_us = self._clock()

        def work(tx: Transaction) -> str:
            if int(tx.fetch("take_workflow_lock", (_LOCK_SECONDS,))[0][0] or 0) != 1:
                raise StorageUnavailable("Another process has been starting a workflow for long: try again.")
            try:
                status = str(tx.fetch("lock_workflow_run", (run_id,))[0][0])
                if status == "running":
                    return ""
                environment = WorkflowRun.from_row(tx.fetch("workflow_run_by_id", (run_id,))[0]).environment
                if int(tx.fetch("count_running_workflows", (environment, run_id))[0][0]) >= most_running:
                    return f"{most_running} workflows are running in {environment} already"
                recent = tx.fetch("count_started_workflows", (environment, now_us - HOUR_US, run_id))
                if int(recent[0][0]) >= most_per_hour:
                    return f"{most_per_hour} workflows were started in {environment} within the last hour"
                problem = use_approval(tx, approval_id, run_id, digest, now_us)
                if not problem:
                    tx.execute("begin_workflow_run", (now_us, run_id))
                tx.run_script(["COMMIT"])  # the next one must see it as soon as the lock is free
                return problem
            finally:
                tx.fetch("release_workflow_lock")

        return await self._database.transaction(work)

    async def end(self, run_id: str, status: RunStatus, reason: str) -> None:
        """Record how a run ended; a run ends once, and approvals of it that were not used become void."""
        now_us = self._clock()

        def work(tx: Transaction) -> None:
            tx.execute("end_workflow_run", (status, reason[:4000], now_us, run_id))
            tx.execute("void_approvals", (now_us, run_id))

        await self._database.transaction(work)

    async def start_step(self, run_id: str, number: int, part: Part, name: str) -> bool:
        """Write down that a step is begun; False if that was written down before: then it must not be begun again."""
        row = (run_id, number, part, name[:200], self._clock())
        return bool(await self._database.execute("start_workflow_step", row))

    async def end_step(self, run_id: str, number: int, part: Part, status: StepStatus, result: str) -> None:
        """Write down what became of a step."""
        row = (status, self._clock(), result[:_RESULT_CHARACTERS], run_id, number, part)
        await self._database.execute("end_workflow_step", row)

    async def steps(self, run_id: str) -> Sequence[StepRecord]:
        """Return the steps of a run that were begun, in order."""
        return [StepRecord.from_row(row) for row in await self._database.fetch("workflow_steps", (run_id,))]

    async def count_requests(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        """Return the requests that a service took in within a window, and how many of them failed."""
        return await self._count("requests_taken_in", environment, service, window)

    async def count_lines(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        """Return the log lines of a service in a window, and how many of them are errors."""
        return await self._count("lines_written", environment, service, window)

    async def _count(self, query: str, environment: str, service: str, window: Window) -> tuple[int, int]:
        rows = await self._database.fetch(query, (environment, service, window.start_us, window.end_us))
        return int(rows[0][0]), int(rows[0][1])

"""Remediation: an answer leads to a proposed run, people decide on it, a worker sees it through. One durable record."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command

from agents.remedy_graph import RunDeps, RunState, Tell, build_run_graph
from agents.remedy_plan import Fit, Situation, fill_steps, give_arguments, make_plan, match_workflows
from domain.errors import CausegraphError, PayloadError, StorageError
from domain.remedy import ENDED, PROPOSER, Actor, Given, digest_of
from domain.settings import Settings
from domain.times import SECOND_US
from runbooks.operator import Operator
from runbooks.workflow import Workflow, Workflows
from storage.approvals import Approval, ApprovalStore, Decision
from storage.checkpoints import open_checkpoints
from storage.database import Database
from storage.jobs import Job, JobQueue, run_worker
from storage.traces import TraceStore
from storage.workflows import Opening, WorkflowRun, WorkflowStore
from tracing.trace import current_trace, start_trace

logger = logging.getLogger(__name__)

QUEUE = "workflow"
_LEASE_SECONDS = 30.0
_ATTEMPTS = 1_000  # a run that was begun is seen to its end, however long the database is away
_ABANDONED_SECONDS = 60.0  # a proposal that nobody has worked on for this long is made again
_TOUCH_SECONDS = 10.0
_OURSELVES = Actor(PROPOSER, "proposer", "workflow")
_SWEEP_SECONDS = 5.0
_SWEPT = 500


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is to be proposed: which workflow with which arguments, by whom, for which incident, and why."""

    workflow: Workflow
    arguments: Mapping[str, Given]
    environment: str
    proposed_by: str
    incident_id: str = ""
    runbook: Mapping[str, Any] | None = None
    evidence: Sequence[str] = ()
    why: Sequence[str] = ()


class Remedy:
    """Proposes, decides and runs workflows over one database."""

    def __init__(
        self,
        *,
        settings: Settings,
        database: Database,
        traces: TraceStore,
        workflows: Workflows,
        operator: Operator,
        tell: Tell,
        look_seconds: float = 1.0,
        abandoned_seconds: float = _ABANDONED_SECONDS,
    ) -> None:
        self.workflows = workflows
        self.operator = operator
        self.runs = WorkflowStore(database)
        self.approvals = ApprovalStore(database)
        self._settings = settings
        self._database = database
        self._traces = traces
        self._tell = tell
        self._look_seconds = look_seconds
        self._abandoned_us = round(abandoned_seconds * SECOND_US)
        self._queue = JobQueue(database, QUEUE, max_attempts=_ATTEMPTS, lease_seconds=_LEASE_SECONDS)

    # -- proposing -----------------------------------------------------------------------------------------------------

    async def propose_for(self, found: Situation) -> dict[str, Any] | None:
        """Propose what fits a situation, within the trace that is running; return it as the answer shows it.

        None where no workflow fits. One that lacks arguments, or whose dry run fails, is shown and not proposed.
        """
        fits = match_workflows(self.workflows, found)
        if not fits:
            return None
        fit = fits[0]
        with current_trace().stage("workflow choose"):
            current_trace().decide(
                f"workflow {fit.workflow.id}",
                "; ".join(fit.reasons),
                0.9,
                alternatives=[other.workflow.id for other in fits[1:4]],
            )
        shown = {**_shown(fit.workflow), "why": list(fit.reasons)}
        try:
            given, missing = give_arguments(fit.workflow, found, {})
        except PayloadError as exc:
            await self.note_refusal(fit.workflow.id, found.environment, _OURSELVES, str(exc))
            return {**shown, "status": "impossible", "problem": str(exc)}
        if missing:
            return {**shown, "status": "incomplete", "missing": missing}
        proposal = _proposal(fit, given, found)
        try:
            run = await self.propose(proposal)
        except CausegraphError as exc:
            if isinstance(exc, StorageError):
                raise
            return {**shown, "status": "impossible", "problem": str(exc)}
        if run.status not in ("preparing", "proposed"):
            return {**shown, "run_id": run.id, "status": run.status, "problem": run.reason}
        current_trace().pause()
        return {**shown, **await self.read_run(run.id)}

    async def propose(self, proposal: Proposal) -> WorkflowRun:
        """Open a run and try it dry, up to the question for its approval; an equal one that is open is returned.

        A trace that is running goes on in the run; without one, the run has its own. Raises ActionError, PayloadError.
        """
        try:
            fill_steps(proposal.workflow, self.operator, proposal.arguments)  # what is not allowed opens no run
        except CausegraphError as exc:
            actor = Actor(proposal.proposed_by, "proposer", "workflow")
            await self.note_refusal(proposal.workflow.id, proposal.environment, actor, str(exc))
            raise
        if current_trace().enabled or not self._settings.tracing:
            return await self._open(proposal)
        question = f"run workflow {proposal.workflow.id}"
        async with start_trace(question, proposal.environment, self._traces.sink()) as trace:
            run = await self._open(proposal)
            if run.status == "proposed":
                trace.pause()
        return run

    async def note_refusal(self, workflow_id: str, environment: str, actor: Actor, why: str) -> None:
        """Write down a proposal that was refused before there was a run: it stays among what was tried."""
        await self.approvals.note("", "propose", False, f"{workflow_id} in {environment}: {why}", actor)

    async def try_dry(self, proposal: Proposal) -> dict[str, Any]:
        """Return what a run would do, without opening one."""
        return await make_plan(proposal.workflow, self.operator, proposal.arguments, _request(proposal))

    async def _open(self, proposal: Proposal) -> WorkflowRun:
        key = digest_of(
            {
                "environment": proposal.environment,
                "workflow": proposal.workflow.id,
                "arguments": {name: given.value for name, given in proposal.arguments.items()},
            }
        )
        opening = Opening(
            environment=proposal.environment,
            workflow_id=proposal.workflow.id,
            revision=proposal.workflow.revision,
            incident_id=proposal.incident_id,
            trace_id=current_trace().id,
            proposed_by=proposal.proposed_by,
            request=_request(proposal),
        )
        run, fresh = await self.runs.open(opening, key)
        if not fresh and await self._is_stale(run):
            await self.runs.end(run.id, "expired", "it was proposed again")
            run, fresh = await self.runs.open(opening, key)
        if fresh:
            touching = asyncio.create_task(self._touch(run.id))
            try:
                await self._advance(run.id)
            finally:
                touching.cancel()
                await asyncio.gather(touching, return_exceptions=True)
            run = await self.runs.get(run.id)
            await self._wake_if_decided(run.id)
        return run

    async def _touch(self, run_id: str) -> None:
        """Show that somebody still prepares a run: dry runs may take long."""
        while True:
            await asyncio.sleep(_TOUCH_SECONDS)
            with suppress(StorageError):  # the next time
                await self.runs.touch(run_id)

    async def _is_stale(self, run: WorkflowRun) -> bool:
        now_us = time.time_ns() // 1000
        if run.status == "preparing":
            return run.touched_us < now_us - self._abandoned_us
        if run.status != "proposed":
            return False
        approvals = await self.approvals.of_run(run.id)
        return bool(approvals) and approvals[0].status_at(now_us) == "expired"

    # -- deciding ------------------------------------------------------------------------------------------------------

    async def decide(
        self, approval_id: str, decision: Decision, actor: Actor, *, digest: str, reason: str = ""
    ) -> Approval:
        """Approve or reject exactly what `digest` names, and let the worker go on with the run.

        Raises NotFound, and ApprovalError for whoever may not decide, or too late, or on other bytes. Each attempt is
        written down.
        """
        policy = self.operator.policy

        def why_not(approval: Approval) -> str:
            if decision == "reject" and actor.name == approval.proposed_by:
                return ""  # whoever proposed something may take it back
            return policy.why_not_by(actor, approval.proposed_by)

        approval = await self.approvals.decide(
            approval_id, decision, actor, digest=digest, why_not=why_not, reason=reason
        )
        await self._wake_if_decided(approval.run_id)
        return approval

    async def find_approval(self, approval_id: str) -> Approval:
        """Return an approval; raises NotFound."""
        return await self.approvals.get(approval_id)

    async def _wake_if_decided(self, run_id: str) -> None:
        for approval in (await self.approvals.of_run(run_id))[:1]:
            if approval.status in ("approved", "rejected"):
                await self._queue.enqueue({"run_id": run_id}, key=approval.id)

    # -- running -------------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """See decided runs through until `stop` is set (a `Follower`)."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_worker(self._queue, self._take, stop))
            while not stop.is_set():
                try:
                    await self.wake_decided()
                except StorageError as exc:
                    logger.warning("decided workflows are not looked for", extra={"reason": str(exc)})
                try:
                    await asyncio.wait_for(stop.wait(), _SWEEP_SECONDS)
                except TimeoutError:
                    continue

    async def wake_decided(self) -> None:
        """Queue the runs whose approval was given or has expired, and proposals that nobody prepares any more: the process
        that did may have died."""
        since_us = time.time_ns() // 1000 - self._abandoned_us
        for run in await self.runs.abandoned(since_us, _SWEPT):
            await self._queue.enqueue({"run_id": run.id}, key=f"{run.id} {run.touched_us} prepare")
        for approval in await self.approvals.list(status="approved", limit=_SWEPT):
            await self._queue.enqueue({"run_id": approval.run_id}, key=approval.id)
        now_us = time.time_ns() // 1000
        for approval in await self.approvals.list(status="pending", limit=_SWEPT):
            if approval.status_at(now_us) == "expired":
                await self._queue.enqueue({"run_id": approval.run_id}, key=f"{approval.id} expired")

    async def _take(self, job: Job) -> Mapping[str, Any]:
        run = await self.resume(str(job.payload["run_id"]))
        return {"status": run.status}

    async def resume(self, run_id: str) -> WorkflowRun:
        """Take a run up where it is, in its own trace; return it as it is when it ends or pauses again."""
        run = await self.runs.get(run_id)
        if run.status in ENDED:
            return run
        segment = 1 + max((event.segment for _, event in await self._traces.events(run.trace_id)), default=0)
        enabled = self._settings.tracing and bool(run.trace_id)
        async with start_trace(
            f"run workflow {run.workflow_id}",
            run.environment,
            self._traces.sink(),
            enabled=enabled,
            trace_id=run.trace_id,
            segment=segment,
            pauses=(GraphBubbleUp,),
        ) as trace:
            before, run = run.status, await self._advanced(run.id)
            if run.status not in ENDED:
                trace.pause()
        if (before, run.status) == ("preparing", "proposed"):
            await self._tell(run, "proposed", "whoever proposed it was interrupted; it was tried dry once more")
        return run

    async def _advanced(self, run_id: str) -> WorkflowRun:
        await self._advance(run_id)
        return await self.runs.get(run_id)

    async def _advance(self, run_id: str) -> None:
        """Run the graph from where it stopped to its next pause or its end."""
        config: RunnableConfig = {"configurable": {"thread_id": run_id}, "recursion_limit": 200}
        deps = RunDeps(self.runs, self.approvals, self.workflows, self.operator, self._tell, self._look_seconds)
        async with open_checkpoints(self._database) as saver:
            graph = build_run_graph(saver)
            found = await graph.aget_state(config)
            taken: RunState | Command[Any] | None = None
            if not found.values:
                taken = {"run_id": run_id}
            elif found.interrupts:
                taken = Command(resume=True)
            await graph.ainvoke(taken, config, context=deps, durability="sync")
            if (await self.runs.get(run_id)).status in ENDED:
                await saver.adelete_thread(run_id)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """See decided runs through during the block."""
        stop = asyncio.Event()
        task = asyncio.create_task(self.run(stop))
        try:
            yield
        finally:
            stop.set()
            await task

    # -- reading -------------------------------------------------------------------------------------------------------

    async def read_run(self, run_id: str) -> dict[str, Any]:
        """Return a run as JSON: what it would do or did, its approval, its steps. Raises NotFound."""
        from agents.remedy_replies import run_body

        run = await self.runs.get(run_id)
        return run_body(run, await self.approvals.of_run(run_id), await self.runs.steps(run_id))

    def make_proposal(
        self,
        workflow_id: str,
        environment: str,
        said: Mapping[str, object],
        actor: Actor,
        *,
        incident: Mapping[str, Any] | None = None,
    ) -> Proposal:
        """Return what a person asks for; `incident` is an answer whose cause gives what they did not say.

        Raises NotFound, PayloadError.
        """
        from agents.remedy_plan import situation_of

        workflow = self.workflows.get(workflow_id)
        found = situation_of(incident) if incident else None
        given, missing = give_arguments(workflow, found, said)
        if missing:
            told = workflow.arguments[missing[0]]
            raise PayloadError(f"{workflow_id} needs the argument {missing[0]!r} ({told.about or told.type}).")
        return Proposal(
            workflow=workflow,
            arguments=given,
            environment=environment or (found.environment if found else ""),
            proposed_by=actor.name,
            incident_id=found.incident_id if found else "",
            runbook=found.runbook if found else None,
            evidence=found.evidence if found else (),
            why=(f"asked for by {actor.name}",),
        )


def _proposal(fit: Fit, given: Mapping[str, Given], found: Situation) -> Proposal:
    return Proposal(
        workflow=fit.workflow,
        arguments=given,
        environment=found.environment,
        proposed_by=PROPOSER,
        incident_id=found.incident_id,
        runbook=found.runbook,
        evidence=found.evidence,
        why=fit.reasons,
    )


def _request(proposal: Proposal) -> dict[str, Any]:
    return {
        "environment": proposal.environment,
        "incident_id": proposal.incident_id,
        "runbook": proposal.runbook,
        "evidence": list(proposal.evidence),
        "why": list(proposal.why),
        "arguments": {name: asdict(given) for name, given in proposal.arguments.items()},
    }


def _shown(workflow: Workflow) -> dict[str, Any]:
    return {
        "id": workflow.id,
        "title": workflow.title,
        "revision": workflow.revision,
        "reversible": workflow.reversible,
    }

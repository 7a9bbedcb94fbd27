"""Everything that answers a question or takes a record in, built once and passed to whichever way in is used."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Protocol

from domain.errors import CausegraphError, NotFound
from domain.incident import EventKind, IncidentStatus, LiveIncident, TimelineEvent, may_become
from ingest.sources import Sources

if TYPE_CHECKING:
    from agents.finding import Finder
    from agents.investigate import Investigator
    from agents.remedy import Remedy
    from agents.rulings import Rulings
    from agents.runbook_search import RunbookSearch
    from agents.runbook_sources import RunbookSources
    from domain.embedding import Embedder
    from domain.remedy import RunStatus
    from domain.settings import Settings
    from graph.topology import TopologyGraph
    from indexer.search import CodeSearch
    from inference.build import ChatModels
    from inference.guard import Guard
    from ingest.agent_intake import AgentIntake
    from ingest.service import Ingest
    from ingest.topology import TopologyProjection
    from runbooks.library import Library
    from storage.blobs import BlobStore
    from storage.conversations import ConversationStore
    from storage.database import Database
    from storage.dead_letters import DeadLetters
    from storage.evidence import EvidenceStore
    from storage.incident_log import IncidentLog
    from storage.incidents import IncidentStore
    from storage.keys import KeyStore
    from storage.prompt_keeper import PromptKeeper
    from storage.spooled import SpooledStore
    from storage.symptoms import SymptomStore
    from storage.telemetry import Telemetry
    from storage.traces import TraceStore
    from storage.vectors import VectorStore
    from storage.workflows import WorkflowRun

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


class Follower(Protocol):
    """Work beside the requests, such as embedding what came in. Outlives failures of what it needs."""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        ...


@dataclass(frozen=True)
class Services:
    """The stores and services of one process."""

    settings: Settings
    database: Database
    graph: TopologyGraph
    telemetry: Telemetry
    ingest: Ingest
    agent_intake: AgentIntake
    spool: SpooledStore
    dead_letters: DeadLetters
    projection: TopologyProjection
    library: Library
    runbook_search: RunbookSearch
    runbook_sources: RunbookSources
    incidents: IncidentStore
    conversations: ConversationStore
    blobs: BlobStore
    evidence: EvidenceStore
    traces: TraceStore
    keys: KeyStore
    symptoms: SymptomStore
    models: ChatModels
    guard: Guard
    sources: Sources = field(default_factory=Sources)
    embedder: Embedder | None = None
    vectors: VectorStore | None = None
    followers: tuple[Follower, ...] = ()
    prompts: PromptKeeper | None = None

    @cached_property
    def investigator(self) -> Investigator:
        """The team of agents. Made when first asked for: its import takes seconds, which most commands do not need."""
        from agents.investigate import Investigator
        from agents.keeping import AnswerKeeper

        keeper = AnswerKeeper(
            telemetry=self.telemetry,
            evidence=self.evidence,
            incidents=self.incidents,
            conversations=self.conversations,
            remedy=self.remedy if self.settings.workflow_dir else None,
            rulings=self.rulings,
        )
        return Investigator(
            settings=self.settings,
            database=self.database,
            telemetry=self.telemetry,
            graph=self.graph,
            projection=self.projection,
            spool=self.spool,
            library=self.library,
            runbook_search=self.runbook_search,
            finder=self.finder,
            conversations=self.conversations,
            keeper=keeper,
            sink=self.traces.sink(),
            models=self.models,
            guard=self.guard,
            code=self.code,
            prompts=self.prompts,
        )

    @cached_property
    def remedy(self) -> Remedy:
        """What proposes and runs workflows. Raises SettingsError if the operator's file has problems."""
        from agents.remedy import Remedy
        from runbooks.operator import load_operator
        from runbooks.workflow import load_workflows

        workflows = load_workflows([self.settings.workflow_dir] if self.settings.workflow_dir else [])
        for problem in workflows.problems:
            logger.warning("a workflow is left out", extra={"problem": problem})
        return Remedy(
            settings=self.settings,
            database=self.database,
            traces=self.traces,
            workflows=workflows,
            operator=load_operator(self.settings.remediation_file),
            tell=self._tell_incident,
        )

    async def _tell_incident(self, run: WorkflowRun, outcome: RunStatus, reason: str) -> None:
        """Write into an incident how a run goes on, and tell the chats that show it; one whose fix is verified is closed,
        or resolved while alerts fire."""
        from agents.incident_run import announce
        from storage.incident_log import IncidentLog

        log, now_us = IncidentLog(self.database), time.time_ns() // 1000
        with suppress(NotFound):  # it was asked for without an incident
            await self._note_outcome(log, await log.get(run.incident_id), run, outcome, reason, now_us)
        what = f"run {run.id} {outcome} {now_us if outcome == 'proposed' else ''}"
        await announce(self, run.incident_id, what, run_id=run.id, status=outcome, reason=reason)

    async def _note_outcome(
        self, log: IncidentLog, incident: LiveIncident, run: WorkflowRun, outcome: RunStatus, reason: str, now_us: int
    ) -> None:
        from agents.incident_run import announce

        text, facts = f"workflow {run.workflow_id}: {outcome}, {reason}", {"run_id": run.id}
        helped = outcome == "verified"
        await log.note(TimelineEvent(incident.id, now_us, "helped" if helped else "action", text, details=facts))
        wanted: IncidentStatus = "resolved" if incident.firing else "closed"
        if helped and may_become(incident.status, wanted):
            kind: EventKind = "resolved" if incident.firing else "closed"
            await log.change(incident.id, wanted, TimelineEvent(incident.id, now_us, kind, f"verified: {reason}"))
            await announce(self, incident.id, f"{wanted} {now_us}")

    @cached_property
    def rulings(self) -> Rulings:
        """The policies, and what they decided."""
        from agents.rulings import Rulings
        from storage.cases import CaseStore
        from storage.evaluations import EvaluationStore
        from storage.opinions import OpinionStore
        from storage.policies import PolicyStore

        database = self.database
        return Rulings(PolicyStore(database), EvaluationStore(database), CaseStore(database), OpinionStore(database))

    @cached_property
    def code(self) -> CodeSearch:
        """What is asked of the indexed code. It keeps what it has read of it."""
        from indexer.search import CodeSearch
        from storage.code import CodeStore

        return CodeSearch(CodeStore(self.database), self.settings.data_dir / "code" / "clones")

    @cached_property
    def finder(self) -> Finder:
        """What finds evidence of every kind for a text."""
        from agents.finding import Finder
        from storage.search import SearchStore

        return Finder(
            store=SearchStore(self.database),
            graph=self.graph,
            code=self.code,
            runbooks=self.runbook_search,
            vectors=self.vectors,
            embedder=self.embedder,
        )

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[None]:
        """Drain the spool, keep the topology graph up to date, and let the other followers work, during the block."""
        async with self.spool.running(), self._following():
            yield

    @asynccontextmanager
    async def _following(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        workers = (self.remedy,) if self.settings.workflow_dir else ()
        running = [asyncio.create_task(follower.run(stop)) for follower in (self.projection, *self.followers, *workers)]
        mending = asyncio.create_task(self._mend_traces())
        try:
            yield
        finally:
            mending.cancel()
            stop.set()
            self.projection.notify()
            # What they had not done when they were cancelled, the next process does.
            _, late = await asyncio.wait(running, timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Group alerts, and notice symptoms unless the settings say not to, for as long as the block lasts."""
        from agents.triage import AlertTriage
        from agents.watch import SymptomWatch

        stop = asyncio.Event()
        watches = [AlertTriage(self).run(stop)]
        if self.settings.notice_symptoms:
            watches.append(SymptomWatch(self).run(stop))
        running = asyncio.gather(*watches)
        try:
            yield
        finally:
            stop.set()
            with suppress(TimeoutError):  # an investigation in hand is taken up again by the next process
                await asyncio.wait_for(running, _STOP_SECONDS)

    async def _mend_traces(self) -> None:
        """Close the traces of runs that died, and store those that only reached their file."""
        try:
            await self.traces.reconcile()
            await self.traces.close_abandoned()
        except CausegraphError as exc:
            logger.warning("Traces of earlier runs could not be mended", extra={"reason": str(exc)})

"""The composition root: from settings to running services, on the private local stack or on servers that are named."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from cli.stack import ensure_stack, was_killed
from domain.errors import (
    CausegraphError,
    GraphError,
    GraphUnavailable,
    SettingsError,
    StackError,
    StorageError,
    StorageUnavailable,
)
from domain.local import Progress
from domain.times import HOUR_US
from storage.database import Database
from storage.migrate import check_schema, migrate

if TYPE_CHECKING:
    from agents.services import Services
    from domain.settings import Settings
    from graph.topology import TopologyGraph
    from storage.prompts import PromptStore

logger = logging.getLogger(__name__)

_PING_SECONDS = 5.0
_LOOK_SECONDS = 0.5
_RESTART_SECONDS = 60.0  # in which a killed server of the local stack is back, crash recovery included
_PAUSE_SECONDS = 5.0  # after a start that failed


@asynccontextmanager
async def open_services(settings: Settings, progress: Progress = lambda line: None) -> AsyncIterator[Services]:
    """Provide every service; close the connections at the end (the local stack goes on).

    The schema of the local database is brought up to date by itself; on a server that is named in the settings it must
    fit (MigrationNeeded). Raises StackError, StorageError or SettingsError.
    """
    from graph.topology import TopologyGraph

    async with open_servers(settings, progress) as (database, graph_url):
        graph = TopologyGraph(graph_url)
        try:
            # One that is away may come back, and everything but the topology works without it; a wrong one may not.
            with suppress(GraphUnavailable, TimeoutError):
                async with asyncio.timeout(_PING_SECONDS):
                    await graph.ping()
            services = build_services(settings, database, graph)
            try:
                yield services
            finally:
                await services.models.close()
        finally:
            await graph.close()


@asynccontextmanager
async def open_database(settings: Settings, progress: Progress = lambda line: None) -> AsyncIterator[Database]:
    """Provide the database alone, for commands that need no more; otherwise as `open_services`."""
    async with open_servers(settings, progress) as (database, _):
        yield database


@asynccontextmanager
async def open_servers(
    settings: Settings, progress: Progress = lambda line: None
) -> AsyncIterator[tuple[Database, str]]:
    """Provide the database, and the graph's URL for commands that may need it; otherwise as `open_services`."""
    database_url, graph_url = await find_servers(settings, progress)
    database = Database(database_url, settings.database_connections)
    try:
        if settings.database_url:
            await check_schema(database)
        else:
            await patiently(lambda: _bring_up(settings, database))
        yield database, graph_url
    finally:
        await database.close()


async def _bring_up(settings: Settings, database: Database) -> None:
    """Migrate the local database; its stack may have been killed since it was found, and is then started again."""
    await find_servers(settings, lambda line: None)
    await migrate(database)


async def patiently[T](work: Callable[[], Awaitable[T]], seconds: float = _RESTART_SECONDS) -> T:
    """Return what `work` returns; while MariaDB is away, as when its supervisor starts it again, run it again.

    `work` must be able to run twice. Raises StorageUnavailable once `seconds` are over.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await work()
        except StorageUnavailable:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_SECONDS)


async def ask_named_servers(settings: Settings) -> dict[str, str | CausegraphError]:
    """Return the version of each server that the settings name, or why it cannot be used; starts nothing."""
    from graph.topology import TopologyGraph

    found: dict[str, str | CausegraphError] = {}
    if settings.database_url:
        found["mariadb"] = await _version_of(lambda: Database(settings.database_url, 2))
    if settings.graph_url:
        found["falkordb"] = await _version_of(lambda: TopologyGraph(settings.graph_url))
    return found


async def _version_of(connect: Callable[[], Database | TopologyGraph]) -> str | CausegraphError:
    try:
        server = connect()
    except SettingsError as exc:
        return exc
    try:
        return await server.ping()
    except (StorageError, GraphError) as exc:
        return exc
    finally:
        await server.close()


async def find_servers(settings: Settings, progress: Progress) -> tuple[str, str]:
    """Return the URLs of MariaDB and FalkorDB; the local stack is started unless both are given."""
    if settings.database_url and settings.graph_url:
        return settings.database_url, settings.graph_url
    handle = await in_daemon_thread(lambda: ensure_stack(settings.data_dir, progress))
    return settings.database_url or handle.database_url, settings.graph_url or handle.graph_url


@asynccontextmanager
async def reviving_stack(settings: Settings) -> AsyncIterator[None]:
    """Start the local stack again whenever its supervisor was killed, for as long as the block lasts.

    A stack that somebody stopped stays so.
    """
    if settings.database_url and settings.graph_url:
        yield
        return
    watch = asyncio.create_task(_revive(settings))
    try:
        yield
    finally:
        watch.cancel()
        with suppress(asyncio.CancelledError):
            await watch


async def _revive(settings: Settings) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        try:
            if await asyncio.to_thread(was_killed, settings.data_dir):
                logger.warning("the local stack was killed and is started again")
                await in_daemon_thread(lambda: ensure_stack(settings.data_dir))
        except (StackError, OSError) as exc:
            logger.error("the local stack cannot be started again", extra={"reason": str(exc)})
            await asyncio.sleep(_PAUSE_SECONDS)


def build_services(settings: Settings, database: Database, graph: TopologyGraph) -> Services:
    """Build every service once, on two open servers."""
    from agents.calibration_watch import CalibrationWatch
    from agents.case_notices import CaseNotifier
    from agents.runbook_memory import RunbookMemory
    from agents.runbook_search import RunbookSearch
    from agents.runbook_sources import RunbookSources
    from agents.services import Services
    from inference.build import ChatModels, build_embedder
    from inference.guard import Guard
    from ingest.agent_intake import AgentIntake
    from ingest.insights import insight_queue
    from ingest.log_rules import load_log_rules
    from ingest.rule_alerts import RuleAlerts
    from ingest.service import Ingest
    from ingest.topology import TopologyProjection
    from ingest.trace_exporter import build_exporter
    from retrieval.chunk_embedding import ChunkEmbedding
    from retrieval.embedding import TemplateEmbedding
    from retrieval.incident_vectors import IncidentEmbedding
    from storage.blobs import BlobStore
    from storage.cases import CaseStore, notification_queue
    from storage.code import CodeStore
    from storage.conversations import ConversationStore
    from storage.dead_letters import DeadLetters
    from storage.evidence import EvidenceStore
    from storage.incident_log import IncidentLog
    from storage.incidents import IncidentStore
    from storage.ingest import IngestStore
    from storage.keys import KeyStore
    from storage.prompt_keeper import PromptKeeper
    from storage.retention import Retention
    from storage.search import SearchStore
    from storage.spooled import SpooledStore
    from storage.symptoms import SymptomStore
    from storage.telemetry import Telemetry
    from storage.trace_retention import TraceRetention
    from storage.traces import TraceStore
    from storage.vectors import VectorStore

    embedder, vectors, models = build_embedder(settings), VectorStore(database), ChatModels(settings)
    dead_letters = DeadLetters(settings.data_dir / "dead-letters")
    spool = SpooledStore(
        IngestStore(database),
        settings.data_dir / "spool",
        dead_letters,
        max_bytes=settings.spool_max_bytes,
        wait_seconds=settings.spool_wait_seconds,
    )
    blobs = BlobStore(database, settings.data_dir / "blobs")
    traces = TraceStore(database, settings.data_dir / "traces")
    keeper = PromptKeeper(lambda: open_prompts(settings))
    exporter = build_exporter(settings, traces)
    agent_intake = AgentIntake(traces, settings.max_body_bytes)
    sources = RunbookSources(settings)
    runbook_search = RunbookSearch(sources.library, vectors, embedder)
    return Services(
        settings=settings,
        database=database,
        graph=graph,
        telemetry=Telemetry(database),
        ingest=Ingest(spool, settings, dead_letters, load_log_rules(settings.log_rules), agent_intake),
        agent_intake=agent_intake,
        spool=spool,
        dead_letters=dead_letters,
        projection=TopologyProjection(database, graph, round(settings.edge_lifetime_hours * HOUR_US)),
        library=sources.library,
        runbook_sources=sources,
        runbook_search=runbook_search,
        incidents=IncidentStore(database, insight_queue(database) if settings.kafka_insights_topic else None),
        blobs=blobs,
        conversations=ConversationStore(database),
        evidence=EvidenceStore(database, blobs),
        traces=traces,
        keys=KeyStore(database),
        embedder=embedder,
        vectors=vectors,
        followers=(
            Retention(database, settings.retention_days, settings.retention_max_bytes),
            TraceRetention(database, settings.agent_trace_days),
            RuleAlerts(database, spool),
            CaseNotifier(notification_queue(database), CaseStore(database), settings),
            CalibrationWatch(database, settings.data_dir / "review" / "calibration-alerts.md"),
            models,
            RunbookMemory(IncidentLog(database), graph),
            *((sources,) if settings.runbook_git else ()),
            *(
                (
                    runbook_search,
                    IncidentEmbedding(SearchStore(database), vectors, embedder),
                    TemplateEmbedding(vectors, embedder),
                    ChunkEmbedding(CodeStore(database), vectors, embedder),
                )
                if embedder
                else ()
            ),
            *((exporter,) if exporter else ()),
            keeper,
        ),
        prompts=keeper,
        symptoms=SymptomStore(database),
        models=models,
        guard=Guard(settings.mask_patterns, masking=settings.mask_secrets),
    )


def open_prompts(settings: Settings, place: str = "") -> PromptStore:
    """Open the prompt store of the settings, or another place; what is put there is masked as the settings say."""
    from inference.guard import Guard
    from storage.objects import open_objects
    from storage.prompts import PromptStore

    where = place or settings.prompt_store or str(settings.data_dir / "prompts")
    guard = Guard(settings.mask_patterns, masking=settings.mask_secrets)
    return PromptStore(open_objects(where, endpoint=settings.s3_endpoint, region=settings.s3_region), guard.mask)


async def in_daemon_thread[T](work: Callable[[], T]) -> T:
    """Run what blocks for long in a thread that is not waited for when Ctrl-C ends the program."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)  # type: ignore[arg-type]  # T may be None itself

    def run() -> None:
        try:
            outcome = (work(), None)
        except BaseException as exc:  # noqa: BLE001 - handed to whoever waits
            outcome = (None, exc)  # type: ignore[assignment]
        if not loop.is_closed():
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=run, daemon=True, name="local-stack").start()
    return await future

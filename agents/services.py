"""Everything that answers a question or takes a record in, built once and passed to whichever way in is used."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from domain.errors import CausegraphError
from ingest.sources import Sources

if TYPE_CHECKING:
    from agents.investigate import Investigator
    from domain.settings import Settings
    from graph.topology import TopologyGraph
    from ingest.service import Ingest
    from ingest.topology import TopologyProjection
    from runbooks.library import Library
    from storage.database import Database
    from storage.evidence import EvidenceStore
    from storage.incidents import IncidentStore
    from storage.keys import KeyStore
    from storage.telemetry import Telemetry
    from storage.traces import TraceStore

logger = logging.getLogger(__name__)

_STOP_SECONDS = 5.0


@dataclass(frozen=True)
class Services:
    """The stores and services of one process."""

    settings: Settings
    database: Database
    graph: TopologyGraph
    telemetry: Telemetry
    ingest: Ingest
    projection: TopologyProjection
    library: Library
    incidents: IncidentStore
    evidence: EvidenceStore
    traces: TraceStore
    keys: KeyStore
    sources: Sources = field(default_factory=Sources)

    @cached_property
    def investigator(self) -> Investigator:
        """The team of agents. Made when first asked for: its import takes seconds, which most commands do not need."""
        from agents.investigate import Investigator

        return Investigator(
            settings=self.settings,
            telemetry=self.telemetry,
            graph=self.graph,
            projection=self.projection,
            library=self.library,
            evidence=self.evidence,
            incidents=self.incidents,
            sink=self.traces.sink(),
        )

    @asynccontextmanager
    async def projecting(self) -> AsyncIterator[None]:
        """Keep the topology graph up to date with what is ingested, for as long as the block lasts."""
        stop = asyncio.Event()
        running = asyncio.create_task(self.projection.run(stop))
        mending = asyncio.create_task(self._mend_traces())
        try:
            yield
        finally:
            mending.cancel()
            stop.set()
            self.projection.notify()
            with suppress(TimeoutError):  # what it had not done when it was cancelled, the next process does
                await asyncio.wait_for(running, _STOP_SECONDS)

    async def _mend_traces(self) -> None:
        """Close the traces of runs that died, and store those that only reached their file."""
        try:
            await self.traces.reconcile()
            await self.traces.close_abandoned()
        except CausegraphError as exc:
            logger.warning("Traces of earlier runs could not be mended", extra={"reason": str(exc)})

"""What helped: runbooks whose workflow was verified, or whose answer somebody called right, become edges of the graph.

The source is the incidents' own log, so that a graph that was lost is filled again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from contextlib import suppress

from domain.errors import GraphError, StorageError
from graph.runbooks import RelatedRunbook, RunbookGraph
from graph.topology import TopologyGraph
from storage.incident_log import Helped, IncidentLog

logger = logging.getLogger(__name__)

_AT_ONCE = 500
_PAUSE_SECONDS = 15.0  # nobody needs it sooner than the next investigation


class RunbookMemory:
    """A follower: takes what was said of incidents from their log into the graph."""

    def __init__(self, log: IncidentLog, graph: TopologyGraph) -> None:
        self._log = log
        self._graph = graph
        self._edges = RunbookGraph(graph.connection)
        self._after = 0
        self._incarnation = ""

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; outlives the database's absence."""
        while not stop.is_set():
            try:
                while await self.advance() and not stop.is_set():
                    pass
            except StorageError as exc:
                logger.warning("what helped is not taken into the graph", extra={"reason": str(exc)})
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PAUSE_SECONDS)

    async def advance(self) -> bool:
        """Take the next events; return whether there were any. Raises StorageError."""
        try:
            incarnation = await self._graph.connection.incarnation()
            if incarnation != self._incarnation:  # another graph than the one that was written to
                self._after, self._incarnation = 0, incarnation
            said = await self._log.said_to_help(self._after, _AT_ONCE)
            if not said:
                return False
            await self._write(said)
        except GraphError:
            return False  # it is away, and is asked again
        self._after = said[-1].event_id
        return True

    async def _write(self, said: list[Helped]) -> None:
        right: defaultdict[str, list[RelatedRunbook]] = defaultdict(list)
        wrong: defaultdict[str, list[str]] = defaultdict(list)
        for one in said:
            if one.wrong:
                wrong[one.environment].append(one.incident_id)
            elif one.runbook and one.service:
                link = RelatedRunbook(one.service, one.runbook, one.fault_class, one.incident_id, one.time_us)
                right[one.environment].append(link)
        for environment, links in right.items():
            await self._edges.relate(environment, links)
        for environment, incidents in wrong.items():
            await self._edges.unrelate(environment, incidents)

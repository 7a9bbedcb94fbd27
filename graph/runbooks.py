"""Which runbooks helped which services, as edges `RELATED_RUNBOOK` of the topology graphs: service -> runbook.

An edge holds from the incident that it comes from; `observed_by` is that incident.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING

from graph.ontology import BATCH, graph_name

if TYPE_CHECKING:
    from graph.connection import GraphConnection

_MOST = 50


@dataclass(frozen=True, slots=True)
class RelatedRunbook:
    """A runbook that helped a service in an incident, and the kind of fault that it had then."""

    service: str
    runbook: str
    fault_class: str
    incident_id: str
    since_us: int


class RunbookGraph:
    """The edges between services and runbooks. Every method raises GraphUnavailable or GraphError."""

    def __init__(self, connection: GraphConnection) -> None:
        self._connection = connection

    async def relate(self, environment: str, links: Iterable[RelatedRunbook]) -> None:
        """Write edges; one incident relates a service to one runbook once."""
        rows = [
            {
                "service": link.service,
                "runbook": link.runbook,
                "fault_class": link.fault_class,
                "incident": link.incident_id,
                "since_us": link.since_us,
            }
            for link in links
        ]
        for part in batched(rows, BATCH):
            await self._connection.write(graph_name(environment), "relate_runbooks", {"edges": list(part)})

    async def unrelate(self, environment: str, incidents: Iterable[str]) -> None:
        """Remove the edges that come from some incidents: their answers were wrong."""
        for part in batched(incidents, BATCH):
            await self._connection.write(graph_name(environment), "unrelate_runbooks", {"incidents": list(part)})

    async def related(self, environment: str, services: Sequence[str], moment_us: int) -> list[RelatedRunbook]:
        """Return what helped any of some services before a moment, the newest first."""
        values = {"services": list(services), "moment_us": moment_us, "limit": _MOST}
        rows = await self._connection.read(graph_name(environment), "related_runbooks", values)
        return [RelatedRunbook(str(r[0]), str(r[1]), str(r[2]), str(r[3]), int(r[4])) for r in rows]

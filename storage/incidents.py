"""Incidents with their answers as they were given; their life is in `storage/incident_log.py`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from blake3 import blake3

from domain.errors import NotFound
from domain.incident import IncidentStatus, Origin
from domain.times import LATEST_US
from storage.database import Database, Row
from storage.jobs import JobQueue

ANNOUNCEMENTS = "announcement"  # the queue of what chats are to be told
INSIGHTS = "insight"  # the queue of finished investigations that are to be published


@dataclass(frozen=True, slots=True)
class Incident:
    """One incident that was, or is to be, investigated. `answer` is the answer's JSON (docs/api.md); times are microseconds since 1970 UTC.

    `created_us` is when it was asked about; `started_us` and `ended_us` bound the incident itself, where known.
    """

    id: str
    environment: str
    thread_id: str
    trace_id: str
    created_us: int
    question: str
    outcome: str
    answer: Mapping[str, Any]
    service: str = ""
    started_us: int | None = None
    ended_us: int | None = None
    status: IncidentStatus = "closed"
    origin: Origin = "question"
    title: str = ""
    severity: str = ""
    merged_into: str = ""

    @classmethod
    def from_row(cls, row: Row) -> Incident:
        return cls(
            id=str(row[0]),
            environment=str(row[1]),
            thread_id=str(row[2]),
            trace_id=str(row[3]),
            created_us=int(row[4]),
            started_us=None if row[5] is None else int(row[5]),
            ended_us=None if row[6] is None else int(row[6]),
            service=str(row[7]),
            question=str(row[8]),
            outcome=str(row[9]),
            answer=json.loads(row[10]),
            status=row[11],
            origin=row[12],
            title=str(row[13]),
            severity=str(row[14]),
            merged_into=str(row[15]),
        )


def make_incident_id(run_id: str = "") -> str:
    """Return an id, `inc-` and twelve hex characters: a new one, or the one of a run, which is always the same."""
    return f"inc-{blake3(run_id.encode()).hexdigest(6) if run_id else secrets.token_hex(6)}"


class IncidentStore:
    """Keeps investigations and their answers; each that is saved leaves a job in `insights`, if that is given."""

    def __init__(self, database: Database, insights: JobQueue | None = None) -> None:
        self._database = database
        self._insights = insights

    async def save(self, incident: Incident) -> None:
        """Store an answer; one with the same id is replaced, except its environment, thread and creation time.

        What an incident lives through by itself (its state, and where it has alerts, its times) stays as it is.
        """
        if self._insights is not None:
            # First, so that a crash between both cannot lose it: a job without its incident is tried again.
            await self._insights.enqueue({"incident_id": incident.id}, key=incident.trace_id or incident.id)
        row = (
            incident.id,
            incident.environment,
            incident.thread_id,
            incident.trace_id,
            incident.created_us,
            incident.started_us,
            incident.ended_us,
            incident.service,
            incident.question[:16_000],
            incident.outcome,
            json.dumps(incident.answer, ensure_ascii=False, separators=(",", ":")),
        )
        await self._database.execute("store_incident", row)

    async def get(self, incident_id: str) -> Incident:
        """Return an incident; raises NotFound."""
        # An id that is not ASCII cannot be compared with the column.
        rows = await self._database.fetch("one_incident", (incident_id,)) if incident_id.isascii() else []
        if not rows:
            raise NotFound(f"There is no incident {incident_id[:40]!r}: see `causegraph incidents`.")
        return Incident.from_row(rows[0])

    async def list(
        self, environment: str = "", limit: int = 50, before_us: int = LATEST_US, status: str = "", origin: str = ""
    ) -> Sequence[Incident]:
        """Return the newest incidents that were created before a moment, of one environment or of all.

        `status` is one of an incident's states, or `live` for all that are not over; without one, those that are too
        small yet (`pending`) and those that became part of others are left out.
        """
        given = (environment, environment, before_us, status, status, status, origin, origin, limit)
        rows = await self._database.fetch("list_incidents", given)
        return [Incident.from_row(row) for row in rows]

    async def by_thread(self, environment: str, thread_id: str) -> Sequence[Incident]:
        """Return the incidents of one conversation, oldest first."""
        rows = await self._database.fetch("incidents_of_thread", (environment, thread_id))
        return [Incident.from_row(row) for row in rows]

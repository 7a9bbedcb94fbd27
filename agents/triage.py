"""From alerts to incidents to investigations: a follower of the stored alerts, beside the one that notices symptoms.

Any number of servers may run one: they take turns. A crash anywhere loses no alert, counts none twice and investigates no
incident twice at a time.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from agents.following import POLL_SECONDS, follow
from agents.incident_run import IncidentRun, announce
from diagnosis.grouping import Grouping, Nearness, group
from domain.errors import CausegraphError, GraphError, NotFound, StorageError
from domain.incident import AlertSeen, LiveIncident, TimelineEvent
from domain.times import HOUR_US, MINUTE_US, SECOND_US, Window
from storage.grouping import GroupingStore, Waiting
from storage.incident_log import IncidentLog
from storage.incidents import make_incident_id
from storage.jobs import Job, JobQueue, run_worker

if TYPE_CHECKING:
    from agents.services import Services

logger = logging.getLogger(__name__)

_BATCHES = 256
_NEAR_HOPS = 2
_SETTLE_SECONDS = 5.0
_FLAPPING_US = 10 * MINUTE_US
_FORGET_US = 24 * HOUR_US
# A storm says more a little later; the same wait as for symptoms.
_DELAY_US = 20 * SECOND_US


class AlertTriage:
    """Groups alerts, resolves and closes incidents, and has them investigated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.store = GroupingStore(services.database)
        self.log = IncidentLog(services.database)
        self.queue = JobQueue(services.database, "incidents", max_attempts=3, lease_seconds=120.0)
        self._run = IncidentRun(services, self.log)
        self._settled = 0.0
        self._told = False

    async def advance(self) -> bool:
        """Take one step; return whether there may be more to group. Raises StorageError."""
        waiting = await self.store.waiting(_BATCHES)
        if waiting.upto > waiting.after:
            nearness = await self._nearness(waiting)
            now_us = time.time_ns() // 1000
            await self.store.follow(waiting, partial(self._place, nearness, now_us), now_us)
        await self._settle()
        await self._order()
        return waiting.upto - waiting.after == _BATCHES

    async def run(self, stop: asyncio.Event) -> None:
        """Take steps until `stop` is set, and investigate; outlives failures of the database."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(run_worker(self.queue, self._investigate, stop, poll_seconds=POLL_SECONDS))
            await follow(
                self.advance, stop, held="alerts are not being grouped", failed="a turn of grouping alerts failed"
            )

    # -- grouping ------------------------------------------------------------------------------------------------------

    async def _nearness(self, waiting: Waiting) -> Mapping[str, Nearness]:
        """Return the topology around the services that alerts wait for, by environment; without the graph, none."""
        services: dict[str, set[str]] = {}
        moments: dict[str, int] = {}
        for environment, service, moment in waiting.services:
            services.setdefault(environment, set()).add(service)
            moments[environment] = max(moment, moments.get(environment, 0))
        found = {}
        for environment, names in services.items():
            try:
                calls = await self._services.graph.surroundings(
                    environment, sorted(names - {""}), moments[environment], _NEAR_HOPS
                )
            except GraphError as exc:
                logger.warning("alerts are grouped without the topology", extra={"reason": str(exc)})
                calls = []
            found[environment] = Nearness((edge.source, edge.target) for edge in calls)
        return found

    def _place(
        self,
        nearness: Mapping[str, Nearness],
        now_us: int,
        environment: str,
        alerts: Sequence[AlertSeen],
        incidents: Sequence[LiveIncident],
        known: Mapping[tuple[str, str], str],
    ) -> Grouping:
        ids = iter(make_incident_id, "")
        near = nearness.get(environment, Nearness())
        return group(alerts, incidents, known, near, ids, now_us, self._services.settings.incident_min_alerts)

    async def _settle(self) -> None:
        now = time.monotonic()
        if now < self._settled + _SETTLE_SECONDS:
            return
        self._settled = now
        quiet = round(self._services.settings.incident_quiet_minutes * MINUTE_US)
        now_us = time.time_ns() // 1000
        for incident_id in await self.log.settle(now_us, quiet, max(quiet, _FLAPPING_US), _FORGET_US):
            await announce(self._services, incident_id, f"resolved {now_us}")

    # -- investigations ------------------------------------------------------------------------------------------------

    async def _order(self) -> None:
        """Order an investigation of each incident that wants one, within the budget; the others wait for theirs."""
        wanted = await self.log.wanted()
        if not wanted:
            return
        now_us = time.time_ns() // 1000
        left = self._services.settings.alert_investigations_per_hour - await self.log.investigations_since(
            now_us - HOUR_US
        )
        if left < len(wanted) and not self._told:
            logger.warning("incidents wait for an investigation: the budget of this hour is used up")
        self._told = left < len(wanted)
        for incident, rounds in wanted[: max(0, left)]:
            if incident.status not in ("resolved", "closed"):
                delay = max(0, incident.created_us + _DELAY_US - now_us) if rounds == 1 else 0
                payload = {"incident_id": incident.id}
                await self.queue.enqueue(payload, key=f"{incident.id} {rounds}", delay_seconds=delay / SECOND_US)
            await self.log.settle_wish(incident.id, rounds)

    async def _investigate(self, job: Job) -> Mapping[str, Any]:
        try:
            incident = await self.log.get(str(job.payload["incident_id"]))
        except NotFound as exc:
            return {"error": str(exc)}
        if incident.merged_into or incident.status == "closed":
            return {"skipped": incident.merged_into or "closed"}
        at_us = min(time.time_ns() // 1000, incident.profile.last_us + _DELAY_US)
        try:
            return await self._run.investigate(incident, await self._question(incident, at_us), at_us, job)
        except StorageError:
            raise  # it comes back: the job is tried again
        except CausegraphError as exc:
            event = TimelineEvent(incident.id, time.time_ns() // 1000, "note", f"It could not be investigated: {exc}")
            await self.log.conclude(incident.id, "open", event)
            return {"error": str(exc)}

    async def _question(self, incident: LiveIncident, at_us: int) -> str:
        """Return what to ask. It names a service that telemetry knows, or none: an alert's words are a stranger's."""
        window = Window(max(0, at_us - HOUR_US), at_us + 1)
        known = set(await self._services.telemetry.services(incident.environment, window))
        services = sorted(incident.profile.services, key=lambda name: (-incident.profile.services[name], name))
        named = next((service for service in services if service in known), "")
        return f"Why did {named} fail?" if named else "What went wrong?"

"""Symptoms noticed without a question: a follower of the ingest that judges the requests going by.

Any number of servers may run one: they take turns. What one remembers is built again from MariaDB when another took
the last turn, so it does not matter which one does, or when it is killed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.following import POLL_SECONDS, follow
from agents.incident_run import IncidentRun
from diagnosis.history import KEPT_US
from diagnosis.meters import role_of
from diagnosis.watch import EnvironmentWatch, Reached, tell
from domain.errors import CausegraphError, StorageError
from domain.incident import LiveIncident, Profile, TimelineEvent
from domain.noticed import NoticedSymptom, RequestSlot
from domain.observed import MeterPoint
from domain.times import HOUR_US, MINUTE_US, SECOND_US, format_us
from storage.incident_log import IncidentLog
from storage.jobs import Job, JobQueue, run_worker
from storage.symptoms import Judged, Stored, SymptomStore

if TYPE_CHECKING:
    from agents.services import Services

logger = logging.getLogger(__name__)

_BATCHES = 64
_ENVIRONMENTS = 200  # remembered at a time; others are read again when they are heard of
_KEPT_SLOTS_US = 48 * HOUR_US
# Symptoms of one environment within this time are one investigation.
_TOGETHER_US = 15 * MINUTE_US
# What is replayed from long ago is noticed, but nobody waits for an answer.
_RECENT_US = HOUR_US
# A little more evidence than what made the symptom sure.
_SETTLE_US = 20 * SECOND_US


class Watch:
    """The `Watcher` of one process: environments by name, each in the state of one place in the ingest."""

    def __init__(self) -> None:
        self._environments: dict[str, EnvironmentWatch] = {}
        self._taken = -1

    def begin(self, after: int) -> None:
        """See `Watcher`."""
        if after != self._taken:
            self._environments.clear()
        self._taken = -1

    def knows(self, environment: str) -> bool:
        """See `Watcher`."""
        return environment in self._environments

    def remember(self, environment: str, stored: Stored) -> None:
        """See `Watcher`."""
        while len(self._environments) >= _ENVIRONMENTS:
            del self._environments[next(iter(self._environments))]
        reached = [Reached(*place) for place in stored.reached]
        self._environments[environment] = EnvironmentWatch(
            environment, stored.slots, reached, stored.symptoms, stored.points
        )

    def place(self, slot: RequestSlot) -> RequestSlot:
        """See `Watcher`."""
        return self._environments[slot.environment].place(slot)

    def read(self, environment: str, points: Sequence[MeterPoint], heard_us: int) -> Sequence[RequestSlot]:
        """See `Watcher`."""
        return self._environments[environment].read((p for p in points if role_of(p.name)), heard_us)

    def take(self, environment: str, slots: Sequence[RequestSlot], heard_us: int) -> Judged:
        """See `Watcher`."""
        watch = self._environments.pop(environment)
        self._environments[environment] = watch  # the one heard of last is forgotten last
        watch.take(slots, heard_us)
        symptoms, reached = watch.advance(time.time_ns() // 1000)
        return Judged(symptoms, [(place.service, place.evaluated_us, place.lag_us) for place in reached])

    def end(self, upto: int) -> None:
        """See `Watcher`."""
        self._taken = upto


class SymptomWatch:
    """Follows the ingest, notices symptoms, and lets some of them be investigated."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.store = SymptomStore(services.database)
        self.queue = JobQueue(services.database, "symptoms", max_attempts=3, lease_seconds=120.0)
        self.log = IncidentLog(services.database)
        self._run = IncidentRun(services, self.log)
        self._watch = Watch()

    async def advance(self) -> int | None:
        """Take one step; return the number of the last ingest batch that was judged, None if another process is at it.

        Raises StorageError. A crash anywhere loses nothing, counts nothing twice and opens no symptom twice.
        """
        reached = await self.store.follow(self._watch, _BATCHES, KEPT_US, _KEPT_SLOTS_US)
        for symptom in await self.store.undecided():
            await self._decide(symptom)
        return reached

    async def run(self, stop: asyncio.Event) -> None:
        """Take steps until `stop` is set, and investigate; outlives failures of the database."""
        async with asyncio.TaskGroup() as group:
            group.create_task(run_worker(self.queue, self._investigate, stop, poll_seconds=POLL_SECONDS))
            await follow(
                self._step,
                stop,
                held="symptoms are not being noticed",
                failed="a turn of noticing symptoms failed",
            )

    async def _step(self) -> bool:
        reached = await self.advance()
        return reached is not None and reached < (await self.store.place())[1]

    # -- investigations ------------------------------------------------------------------------------------------------

    async def _decide(self, symptom: NoticedSymptom) -> None:
        """Settle whether a symptom is investigated: by itself, with another one, or not at all."""
        related = await self.store.related_incident(symptom, _TOGETHER_US) or await self._find_alerts(symptom)
        if related:
            await self.log.note(_event(symptom, related))
        if related or not await self._affordable(symptom):
            await self.store.decide(symptom, related)
            return
        # The job first: where this process dies between the two, the next one finds the same job under the same key.
        await self._open_incident(symptom, f"inc-{symptom.id.removeprefix('sym-')}")
        delay = max(0, symptom.noticed_us + _SETTLE_US - time.time_ns() // 1000)
        incident_id = f"inc-{symptom.id.removeprefix('sym-')}"
        payload = {"symptom_id": symptom.id, "incident_id": incident_id}
        await self.queue.enqueue(payload, key=symptom.id, delay_seconds=delay / SECOND_US)
        await self.store.decide(symptom, incident_id)
        logger.info("a symptom is being investigated", extra={"symptom": symptom.id, "incident": incident_id})

    async def _find_alerts(self, symptom: NoticedSymptom) -> str:
        """Return the incident of alerts about the same service and time that a symptom belongs to, or ''."""
        for incident in await self.log.live_of(symptom.environment):
            profile = incident.profile
            near = profile.first_us - _TOGETHER_US <= symptom.noticed_us <= profile.last_us + _TOGETHER_US
            if near and symptom.service in profile.services:
                return incident.id
        return ""

    async def _open_incident(self, symptom: NoticedSymptom, incident_id: str) -> None:
        profile = Profile(services={symptom.service: 1}, first_us=symptom.started_us, last_us=symptom.noticed_us)
        now_us = time.time_ns() // 1000
        incident = LiveIncident(
            incident_id, symptom.environment, "open", "symptom", tell(symptom)[:255], "", now_us, now_us, profile,
            started_us=symptom.started_us,
        )  # fmt: skip
        await self.log.open_for_symptom(incident, _event(symptom, incident_id))

    async def _affordable(self, symptom: NoticedSymptom) -> bool:
        budget = self._services.settings.symptom_investigations_per_hour
        now_us = time.time_ns() // 1000
        if not budget or symptom.noticed_us < now_us - _RECENT_US:
            return False
        if await self.store.investigations_since(now_us - HOUR_US) < budget:
            return True
        logger.warning(
            "a symptom is not investigated: the budget of this hour is used up", extra={"symptom": symptom.id}
        )
        return False

    async def _investigate(self, job: Job) -> Mapping[str, Any]:
        symptom = await self.store.get(str(job.payload["symptom_id"]))
        at_us = min(symptom.noticed_us + _SETTLE_US, time.time_ns() // 1000)
        try:
            incident = await self.log.get(str(job.payload["incident_id"]))
            return await self._run.investigate(incident, question_about(symptom), at_us, job)
        except StorageError:
            raise  # it comes back: the job is tried again
        except CausegraphError as exc:
            return {"error": str(exc)}


def _event(symptom: NoticedSymptom, incident_id: str) -> TimelineEvent:
    now_us = time.time_ns() // 1000
    return TimelineEvent(incident_id, now_us, "symptom", tell(symptom), details={"symptom": symptom.id})


def question_about(symptom: NoticedSymptom) -> str:
    """Return what to ask about a symptom. It names the service alone: names of operations are a stranger's words."""
    match symptom.kind:
        case "errors":
            return f"Why did requests of {symptom.service} fail?"
        case "latency":
            return f"Why did {symptom.service} become slow?"
        case "traffic":
            return f"Why did {symptom.service} get no requests any more?"


# -- replies -----------------------------------------------------------------------------------------------------------


async def list_symptoms(
    services: Services, environment: str = "", status: str = "", limit: int = 50
) -> list[dict[str, Any]]:
    """Return the newest symptoms as JSON, of one environment or of all."""
    return [symptom_line(symptom) for symptom in await services.symptoms.list(environment, status, limit)]


async def read_symptom(services: Services, symptom_id: str) -> dict[str, Any]:
    """Return one symptom as JSON; raises NotFound."""
    return symptom_line(await services.symptoms.get(symptom_id))


def symptom_line(symptom: NoticedSymptom) -> dict[str, Any]:
    """Return a symptom as JSON; `seconds` is how long it lasted, null while it is open."""
    ended = symptom.ended_us
    return {
        "id": symptom.id,
        "environment": symptom.environment,
        "service": symptom.service,
        "operation": symptom.operation,
        "kind": symptom.kind,
        "status": symptom.status,
        "text": tell(symptom),
        "started": format_us(symptom.started_us),
        "noticed": format_us(symptom.noticed_us),
        "ended": None if ended is None else format_us(ended),
        "seconds": None if ended is None else (ended - symptom.started_us) / SECOND_US,
        "bad": symptom.bad,
        "requests": symptom.requests,
        "usual": symptom.usual,
        "at_entry": symptom.roots > 0,
        "incident_id": symptom.incident_id,
    }

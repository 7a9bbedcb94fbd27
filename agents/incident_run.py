"""One investigation of a live incident: what is known of its like comes first, then the agents, then its new state."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from agents.replies import make_question
from diagnosis.grouping import Nearness
from diagnosis.recurrence import find_recurrence, make_signature
from domain.errors import GraphError, NotFound
from domain.incident import LiveIncident, TimelineEvent
from domain.times import MINUTE_US, format_us, from_us
from storage.incident_log import IncidentLog
from storage.incidents import ANNOUNCEMENTS
from storage.jobs import Job, JobQueue

if TYPE_CHECKING:
    from agents.services import Services

logger = logging.getLogger(__name__)

_BEFORE_US = 5 * MINUTE_US
_NAMED = ("CONFIRMED", "LIKELY")


class IncidentRun:
    """Runs investigations of incidents, and writes their course."""

    def __init__(self, services: Services, log: IncidentLog) -> None:
        self._services = services
        self._log = log

    async def investigate(
        self, incident: LiveIncident, text: str, at_us: int, job: Job | None = None
    ) -> Mapping[str, Any]:
        """Ask a question about an incident as of a moment, and return {outcome, recurrence}. Raises CausegraphError.

        Where the worker that had the `job` before died, it goes on behind the last agent that had finished.
        """
        if incident.status in ("open", "identified"):
            began = TimelineEvent(incident.id, _now(), "investigating", text)
            await self._log.change(incident.id, "investigating", began)
        recurrence = await self._recall(incident, at_us)
        await announce(self._services, incident.id, f"opened {at_us}")
        question = make_question(text, incident.environment, at_us=at_us, incident_id=incident.id)
        investigator = self._services.investigator
        if job is None:
            answer = await investigator.ask(question)
        else:
            answer = await investigator.ask(replace(question, run_id=run_of(job)), segment=job.attempt - 1)
        verdict = answer["verdict"]
        event = TimelineEvent(
            incident.id,
            _now(),
            "verdict",
            _verdict_words(verdict),
            details={"outcome": verdict["outcome"], "trace_id": answer["trace_id"]},
        )
        await self._log.conclude(incident.id, "identified" if verdict["outcome"] in _NAMED else "open", event)
        await announce(self._services, incident.id, f"verdict {answer['trace_id']}")
        return {"outcome": verdict["outcome"], "recurrence": recurrence}

    async def _recall(self, incident: LiveIncident, at_us: int) -> str:
        """Note the earlier incident that this one is like, with its verdict and what helped; return its id, or ''."""
        profile = incident.profile
        first = incident.started_us or profile.first_us
        templates = await self._log.error_templates(
            incident.environment, profile.services, first - _BEFORE_US, max(at_us, first) + 1
        )
        signature = make_signature(profile, await self._beside(incident), templates)
        await self._log.save_signature(incident.id, signature)
        found = find_recurrence(signature, await self._log.earlier(incident))
        if found is None:
            return ""
        try:
            details = await recall(self._services, self._log, found.incident_id)
        except NotFound:
            return ""
        details |= {"likeness": found.likeness, "shared": list(found.shared)}
        text = f"{found.likeness:.0%} like {found.incident_id} of {details['created']}: {details['told']}"
        await self._log.note(TimelineEvent(incident.id, _now(), "recurrence", text, details=details))
        return found.incident_id

    async def _beside(self, incident: LiveIncident) -> set[str]:
        services = sorted(incident.profile.services)
        try:
            calls = await self._services.graph.surroundings(incident.environment, services, incident.profile.last_us, 1)
        except GraphError as exc:
            logger.warning("a signature lacks the topology", extra={"incident": incident.id, "reason": str(exc)})
            return set()
        return Nearness((edge.source, edge.target) for edge in calls).beside(services)


def run_of(job: Job) -> str:
    """Return the id of the trace of a job's investigation, the same one in every attempt."""
    digest = blake3(f"{job.queue}\n{job.id}\n{job.created_us}".encode()).hexdigest(4)
    return f"trc_{from_us(job.created_us):%Y%m%d_%H%M%S}_{digest}"


async def announce(services: Services, incident_id: str, what: str, **details: str) -> None:
    """Leave word for the chats, if there are any: `what` happened to an incident, with what else is to be told of it."""
    if services.settings.announces:
        queue = JobQueue(services.database, ANNOUNCEMENTS)
        told = {"incident_id": incident_id, "what": what.partition(" ")[0], **details}
        await queue.enqueue(told, key=f"{incident_id} {what}")


async def recall(services: Services, log: IncidentLog, incident_id: str) -> dict[str, Any]:
    """Return what is known of an earlier incident: verdict, causes, runbook, and what people said that helped."""
    earlier = await services.incidents.get(incident_id)
    verdict = earlier.answer.get("verdict", {})
    helped = [event.text for event in await log.events(incident_id) if event.kind == "helped"]
    told = _verdict_words(verdict)
    return {
        "incident_id": incident_id,
        "created": format_us(earlier.created_us)[:16].replace("T", " "),
        "outcome": earlier.outcome,
        "causes": [str(cause.get("service", "")) for cause in verdict.get("causes", [])],
        "runbook": (earlier.answer.get("runbook") or {}).get("id"),
        "helped": helped,
        "told": f"{told}; what helped: {'; '.join(helped)}" if helped else told,
    }


def _verdict_words(verdict: Mapping[str, Any]) -> str:
    causes = [f"{cause['service']} ({cause['fault_class']})" for cause in verdict.get("causes", [])]
    return f"{verdict.get('outcome', '')}: {', '.join(causes)}" if causes else str(verdict.get("outcome", ""))


def _now() -> int:
    return time.time_ns() // 1000

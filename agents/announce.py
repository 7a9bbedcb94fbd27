"""Tells chats of incidents: one message for each, kept up to date, with the answer in its thread; and of how runs end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from agents.chat_messages import answer_message, incident_message, run_message, shown_run
from agents.chat_surface import ChatSurface, Place, post_once
from agents.incident_replies import read_life
from agents.replies import incident_line
from domain.errors import NotFound
from storage.chat import ChatStore
from storage.incident_log import IncidentLog
from storage.incidents import ANNOUNCEMENTS
from storage.jobs import Job, JobQueue, run_worker

if TYPE_CHECKING:
    from agents.services import Services

_ATTEMPTS = 8


class Announcer:
    """Posts what waits to be told, for as long as `run` runs.

    The places of `told` hear of each incident; of `surfaces`, every thread that shows a run hears how it goes on.
    """

    def __init__(
        self, services: Services, told: Sequence[tuple[ChatSurface, Place]], surfaces: Sequence[ChatSurface]
    ) -> None:
        self._services = services
        self._told = told
        self._surfaces = surfaces
        self._store = ChatStore(services.database)
        self._queue = JobQueue(services.database, ANNOUNCEMENTS, max_attempts=_ATTEMPTS)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        await run_worker(self._queue, self.announce, stop)

    async def announce(self, job: Job) -> Mapping[str, Any]:
        """Tell every place; one that fails is tried again, and the others are then only brought up to date."""
        if job.payload["what"] == "run":
            return await self._tell_run(job)
        try:
            incident = await self._services.incidents.get(str(job.payload["incident_id"]))
        except NotFound as exc:
            return {"error": str(exc)}
        life = await read_life(self._services, incident.id)
        told = incident_message(incident_line(incident), life, self._url)
        answer = incident.answer if job.payload["what"] == "verdict" else None

        async def tell(surface: ChatSurface, place: Place) -> None:
            root = await post_once(self._store, surface, f"incident {incident.id}", place, told, incident.id)
            if answer:
                thread, key = Place(root.channel, root.thread), f"verdict {incident.trace_id}"
                said = answer_message(answer, self._url)
                await post_once(self._store, surface, key, thread, said, incident.id, shown_run(answer))

        return await _tell_all([tell(surface, place) for surface, place in self._told])

    async def _tell_run(self, job: Job) -> Mapping[str, Any]:
        """Say how a run goes on wherever it was shown; what is to be decided anew has its buttons there."""
        run_id, incident_id = str(job.payload["run_id"]), str(job.payload["incident_id"])
        # What is told is how it was then: the run itself may only be ending.
        run = {**await self._services.remedy.read_run(run_id), **{n: job.payload[n] for n in ("status", "reason")}}
        status = ""
        with suppress(NotFound):  # it was asked for without an incident
            status = (await IncidentLog(self._services.database).get(incident_id)).status
        message = run_message(run, status, self._url)

        async def tell(surface: ChatSurface, place: Place) -> None:
            key = f"run {job.id} {place.channel} {place.thread}"
            await post_once(self._store, surface, key, place, message, incident_id, run_id)

        return await _tell_all(
            [
                tell(surface, Place(*thread))
                for surface in self._surfaces
                for thread in await self._store.threads_of_run(surface.name, run_id)
            ]
        )

    @property
    def _url(self) -> str:
        return self._services.settings.public_url


async def _tell_all(tellings: Sequence[Awaitable[None]]) -> Mapping[str, Any]:
    """Wait for all of them, and raise the first failure only then: the others must hear of it."""
    outcomes = await asyncio.gather(*tellings, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    return {"told": len(outcomes)}

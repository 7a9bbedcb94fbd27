"""Tells chats of incidents: one message for each, kept up to date, with the answer in its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from agents.chat_messages import answer_message, incident_message
from agents.chat_surface import ChatSurface, Place, post_once
from agents.incident_replies import read_life
from agents.replies import incident_line
from domain.errors import NotFound
from storage.chat import ChatStore
from storage.incidents import ANNOUNCEMENTS
from storage.jobs import Job, JobQueue, run_worker

if TYPE_CHECKING:
    from agents.services import Services

_ATTEMPTS = 8


class Announcer:
    """Posts what waits to be told, for as long as `run` runs."""

    def __init__(self, services: Services, surfaces: Sequence[tuple[ChatSurface, Place]]) -> None:
        self._services = services
        self._surfaces = surfaces
        self._store = ChatStore(services.database)
        self._queue = JobQueue(services.database, ANNOUNCEMENTS, max_attempts=_ATTEMPTS)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set."""
        await run_worker(self._queue, self.announce, stop)

    async def announce(self, job: Job) -> Mapping[str, Any]:
        """Tell every surface; one that fails is tried again, and the others are then only brought up to date."""
        try:
            incident = await self._services.incidents.get(str(job.payload["incident_id"]))
        except NotFound as exc:
            return {"error": str(exc)}
        life = await read_life(self._services, incident.id)
        url = self._services.settings.public_url
        told = incident_message(incident_line(incident), life, url)
        failed: list[Exception] = []
        for surface, place in self._surfaces:
            try:
                root = await post_once(self._store, surface, f"incident {incident.id}", place, told, incident.id)
                if job.payload["what"] == "verdict" and incident.answer:
                    thread = Place(root.channel, root.thread)
                    key = f"verdict {incident.trace_id}"
                    await post_once(
                        self._store, surface, key, thread, answer_message(incident.answer, url), incident.id
                    )
            except Exception as exc:  # noqa: BLE001 - the other surfaces must hear of it; raised below
                failed.append(exc)
        if failed:
            raise failed[0]
        return {"told": len(self._surfaces)}

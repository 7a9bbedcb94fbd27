"""What is done with what came from Slack: questions are answered in their thread, clicks become decisions and feedback.

It runs as a worker of the durable queue. A question whose worker died is asked again, and its message brought up to date.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from agents import incident_replies
from agents.chat_messages import answer_message, plain_message
from agents.chat_surface import Approvals, Place, post_once, read_pairs
from agents.replies import make_question
from agents.services import Services
from api.chat import Desk
from api.slack_surface import SlackSurface
from domain.errors import ApprovalError, CausegraphError, ChatError, NotFound, QuestionError, StorageError
from domain.remedy import Actor
from domain.times import MINUTE_US
from storage.chat import ChatStore
from storage.incidents import Incident
from storage.jobs import Job

logger = logging.getLogger(__name__)

_ENVIRONMENT = re.compile(r"(?:^|\s)(?:env|environment)[:=](\S+)", re.IGNORECASE)
_BEFORE_US = 30 * MINUTE_US
_MAY_ASK = ("ask", "approve", "admin")


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question or a click as the queue holds it."""

    team: str
    user: str
    home: str
    channel: str
    ts: str
    thread: str

    @classmethod
    def of(cls, payload: Mapping[str, Any]) -> _Asked:
        return cls(*(str(payload[name]) for name in ("team", "user", "home", "channel", "ts", "thread")))

    @property
    def place(self) -> Place:
        return Place(self.channel, self.thread)


class Roles:
    """Who may do what: `U0123=admin,U0456=approve,*=ask`. People of other workspaces count only where they are named."""

    def __init__(self, text: str) -> None:
        self._roles = read_pairs(text)

    def of(self, user: str, home: str, team: str) -> str:
        """Return the role of somebody, '' for none."""
        named = self._roles.get(user)
        if named is not None:
            return named
        return self._roles.get("*", "") if home in ("", team) else ""


class SlackDesk:
    """Answers what waits in the queue."""

    def __init__(self, services: Services, desk: Desk, surface: SlackSurface, approvals: Approvals | None) -> None:
        settings = services.settings
        self._services = services
        self._desk = desk
        self._surface = surface
        self._approvals = approvals
        self._store = ChatStore(services.database)
        self._roles = Roles(settings.slack_roles)
        self._environments = read_pairs(settings.slack_environments)

    async def work(self, job: Job) -> Mapping[str, Any]:
        """Do one thing; what Slack or the database fails is tried again."""
        asked = _Asked.of(job.payload)
        try:
            if job.payload["kind"] == "click":
                return await self._click(asked, str(job.payload["button"]), job.payload)
            return await self._question(asked, str(job.payload["text"]), bool(job.payload["mentioned"]), job.id)
        except (StorageError, ChatError):
            raise
        except CausegraphError as exc:
            await self._surface.whisper(asked.place, asked.user, plain_message(str(exc)))
            return {"error": str(exc)}

    # -- questions -----------------------------------------------------------------------------------------------------

    async def _question(self, asked: _Asked, text: str, mentioned: bool, job_id: int) -> Mapping[str, Any]:
        thread = await self._store.read_thread("slack", asked.channel, asked.thread)
        if not mentioned and not thread.ours:
            return {"skipped": "a thread of others"}
        if self._roles.of(asked.user, asked.home, asked.team) not in _MAY_ASK:
            told = "You may not ask here: whoever runs Causegraph maps people to roles in CAUSEGRAPH_SLACK_ROLES."
            await self._surface.whisper(asked.place, asked.user, plain_message(told))
            return {"refused": asked.user}
        key = f"question {job_id}"
        posted = await post_once(
            self._store, self._surface, key, asked.place, plain_message(f"Looking into it: {text}")
        )
        about = await self._services.incidents.get(thread.incident_id) if thread.incident_id else None
        try:
            question = self._make_question(asked, text, about, posted.thread)
            answer = await self._desk.ask(question)
        except QuestionError as exc:
            await self._surface.update(asked.place, posted.message_id, plain_message(str(exc)))
            return {"error": str(exc)}
        if answer["incident_id"]:
            await self._store.note_incident("slack", key, str(answer["incident_id"]))
        message = answer_message(answer, self._services.settings.public_url)
        await self._surface.update(Place(posted.channel, posted.thread), posted.message_id, message)
        return {"incident_id": answer["incident_id"], "outcome": answer["verdict"]["outcome"]}

    def _make_question(self, asked: _Asked, text: str, about: Incident | None, thread: str) -> Any:
        named = _ENVIRONMENT.search(text)
        words = _ENVIRONMENT.sub(" ", text).strip()
        environment = named[1] if named else about.environment if about else self._environment_of(asked.channel)
        from_us = to_us = None
        # What a person has asked before in a thread is remembered with the thread; of an incident that was told, nothing is.
        if about is not None and about.origin != "question" and about.environment == environment:
            if about.service and about.service not in words:
                words = f"{words} (about {about.service})"
            from_us = None if about.started_us is None else about.started_us - _BEFORE_US
            to_us = about.ended_us
        thread_id = re.sub(r"[^A-Za-z0-9_.:-]", "", f"slack-{asked.channel}-{thread}")[:64]
        return make_question(words, environment, from_us=from_us, to_us=to_us, thread_id=thread_id)

    def _environment_of(self, channel: str) -> str:
        return self._environments.get(channel) or self._environments.get("*", "")

    # -- clicks --------------------------------------------------------------------------------------------------------

    async def _click(self, asked: _Asked, button: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        role, value = self._roles.of(asked.user, asked.home, asked.team), str(payload["value"])
        match button:
            case "approve" | "reject":
                return await self._decide(asked, button, role, payload)
            case _ if role not in _MAY_ASK:
                await self._surface.whisper(asked.place, asked.user, plain_message("You have no role here."))
                return {"refused": asked.user}
            case "details":
                incident = await self._services.incidents.get(value)
                told = answer_message(incident.answer, self._services.settings.public_url, whole=True)
                await self._surface.whisper(asked.place, asked.user, told)
            case "right" | "wrong":
                actor = f"slack:{asked.user}"
                await incident_replies.act_on_incident(self._services, value, "feedback", {"verdict": button}, actor)
                await self._surface.whisper(asked.place, asked.user, plain_message("Noted, thank you."))
            case _:
                return {"skipped": button[:40]}
        return {"done": button}

    async def _decide(
        self, asked: _Asked, decision: Literal["approve", "reject"], role: str, payload: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Hand a decision to the record of approvals, which says whether this person may; the message is only a view of it."""
        approval_id, digest = _named_approval(str(payload["value"]))
        if self._approvals is None or not approval_id:
            await self._surface.whisper(asked.place, asked.user, plain_message("There is nothing to approve here."))
            return {"skipped": "no approvals"}
        actor = Actor(f"slack:{asked.user}", role or "none", "slack")
        try:
            await self._approvals.decide(approval_id, decision, actor, digest=digest)
        except (ApprovalError, NotFound) as exc:
            await self._surface.whisper(asked.place, asked.user, plain_message(str(exc)))
            return {"refused": asked.user, "reason": str(exc)}
        said = {"approve": "Approved", "reject": "Rejected"}[decision]
        await self._surface.lock(asked.place, asked.ts, list(payload["blocks"]), f"{said} by {asked.user}.")
        return {"decided": decision, "approval_id": approval_id}


def _named_approval(value: str) -> tuple[str, str]:
    try:
        said = json.loads(value)
        return str(said["approval_id"]), str(said["digest"])
    except (ValueError, KeyError, TypeError):
        return "", ""

"""What is done with what people say in a chat: questions are answered in their thread, clicks become decisions and feedback.

It runs as a worker of the chat's durable queue. A question whose worker died is asked again, and its message brought up to date.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Literal

from agents import incident_replies
from agents.chat_messages import answer_message, plain_message, shown_run
from agents.chat_surface import Approvals, Conversation, Heard, Place, post_once, read_pairs
from agents.question import Question
from agents.replies import make_question
from agents.services import Services
from api.chat import Desk
from domain.errors import ApprovalError, CausegraphError, ChatClosed, ChatError, NotFound, QuestionError, StorageError
from domain.remedy import Actor
from domain.times import MINUTE_US
from storage.chat import ChatStore
from storage.incidents import Incident
from storage.jobs import Job, JobQueue, run_worker

logger = logging.getLogger(__name__)

_ENVIRONMENT = re.compile(r"(?:^|\s)(?:env|environment)[:=](\S+)", re.IGNORECASE)
# Where there are no buttons, a decision is written. The digest may be shortened to what nobody can make a second one of.
_DECISION = re.compile(r"\s*(approve|reject)\s+(apr-[0-9a-f]{16})\s+([0-9a-f]{16,64})\s*", re.IGNORECASE)
_BEFORE_US = 30 * MINUTE_US
_MAY_ASK = ("ask", "approve", "admin")
_LEASE_SECONDS = 120.0
_WORKERS = 2
_STOP_SECONDS = 5.0


class Roles:
    """Who may do what: `U0123=admin,U0456=approve,*=ask`. People of other teams count only where they are named."""

    def __init__(self, text: str) -> None:
        self._roles = read_pairs(text)

    def of(self, user: str, home: str, team: str) -> str:
        """Return the role of somebody, '' for none."""
        named = self._roles.get(user)
        if named is not None:
            return named
        return self._roles.get("*", "") if home in ("", team) else ""


def pairs_of(text: str, surface: str) -> str:
    """Return what a setting for several chats says of one: `teams:U1=admin,*=ask` is `U1=admin,*=ask` for `teams`."""
    pairs = read_pairs(text)
    own = {name.removeprefix(f"{surface}:"): value for name, value in pairs.items() if name.startswith(f"{surface}:")}
    return ",".join(
        f"{name}={value}" for name, value in {**{n: v for n, v in pairs.items() if n == "*"}, **own}.items()
    )


def queue_of(services: Services, surface: str) -> JobQueue:
    """Return the queue of what was heard in a chat."""
    return JobQueue(services.database, f"chat {surface}", lease_seconds=_LEASE_SECONDS)


class ChatDesk:
    """Answers what was heard in one chat. `roles` and `environments` are as the settings write them."""

    def __init__(
        self,
        services: Services,
        desk: Desk,
        surface: Conversation,
        approvals: Approvals | None,
        *,
        roles: str,
        environments: str = "",
    ) -> None:
        self._services = services
        self._desk = desk
        self._surface = surface
        self._approvals = approvals
        self._queue = queue_of(services, surface.name)
        self._store = ChatStore(services.database)
        self._roles = Roles(roles)
        self._environments = read_pairs(environments)

    @asynccontextmanager
    async def answering(self) -> AsyncIterator[None]:
        """Work for as long as the block lasts."""
        stop = asyncio.Event()
        workers = [asyncio.create_task(run_worker(self._queue, self.work, stop)) for _ in range(_WORKERS)]
        try:
            yield
        finally:
            stop.set()
            _, late = await asyncio.wait(workers, timeout=_STOP_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def work(self, job: Job) -> Mapping[str, Any]:
        """Do one thing; what the chat or the database fails is tried again."""
        heard = Heard.of_payload(job.payload)
        try:
            if heard.kind == "click":
                return await self._click(heard)
            found = await self._surface.locate(heard)
            return await self._question(found, job.id) if found else {"skipped": "our own words"}
        except (StorageError, ChatError):
            raise
        except CausegraphError as exc:
            await self._surface.whisper(heard, plain_message(str(exc)))
            return {"error": str(exc)}

    # -- questions -----------------------------------------------------------------------------------------------------

    async def _question(self, heard: Heard, job_id: int) -> Mapping[str, Any]:
        thread = await self._store.read_thread(self._surface.name, heard.channel, heard.thread)
        if not heard.mentioned and not thread.ours:
            return {"skipped": "a thread of others"}
        if decision := _DECISION.fullmatch(heard.text):
            return await self._decide_in_words(heard, *decision.groups())
        if self._role_of(heard) not in _MAY_ASK:
            told = "You may not ask here: whoever runs Causegraph maps people to roles in its settings."
            await self._surface.whisper(heard, plain_message(told))
            return {"refused": heard.user}
        key = f"question {job_id}"
        waiting = plain_message(f"Looking into it: {heard.text}")
        try:
            posted = await post_once(self._store, self._surface, key, heard.place, waiting)
        except ChatClosed as exc:
            return await self._answer_alone(heard, str(exc))
        place = Place(posted.channel, posted.thread)
        about = await self._services.incidents.get(thread.incident_id) if thread.incident_id else None
        try:
            answer = await self._desk.ask(self._make_question(heard, about, posted.thread))
        except QuestionError as exc:
            await self._surface.update(place, posted.message_id, plain_message(str(exc)))
            return {"error": str(exc)}
        if answer["incident_id"]:
            await self._store.note_subject(self._surface.name, key, str(answer["incident_id"]), shown_run(answer))
        message = answer_message(answer, self._services.settings.public_url)
        await self._surface.update(place, posted.message_id, message)
        return {"incident_id": answer["incident_id"], "outcome": answer["verdict"]["outcome"]}

    async def _answer_alone(self, heard: Heard, why: str) -> Mapping[str, Any]:
        """Answer whoever asked, and nobody else: a command may be given where we may not post."""
        if not heard.reply_url:
            return {"error": why}
        try:
            answer = await self._desk.ask(self._make_question(heard, None, f"alone-{heard.user}"))
        except QuestionError as exc:
            await self._surface.whisper(heard, plain_message(str(exc)))
            return {"error": str(exc)}
        await self._surface.whisper(heard, answer_message(answer, self._services.settings.public_url))
        return {"incident_id": answer["incident_id"], "outcome": answer["verdict"]["outcome"]}

    def _make_question(self, heard: Heard, about: Incident | None, thread: str) -> Question:
        named = _ENVIRONMENT.search(heard.text)
        words = _ENVIRONMENT.sub(" ", heard.text).strip()
        environment = named[1] if named else about.environment if about else self._environment_of(heard.channel)
        from_us = to_us = None
        # What a person has asked before in a thread is remembered with the thread; of an incident that was told, nothing is.
        if about is not None and about.origin != "question" and about.environment == environment:
            if about.service and about.service not in words:
                words = f"{words} (about {about.service})"
            from_us = None if about.started_us is None else about.started_us - _BEFORE_US
            to_us = about.ended_us
        thread_id = re.sub(r"[^A-Za-z0-9_.:-]", "", f"{self._surface.name}-{heard.channel}-{thread}")[:64]
        return make_question(words, environment, from_us=from_us, to_us=to_us, thread_id=thread_id)

    def _environment_of(self, channel: str) -> str:
        return self._environments.get(channel) or self._environments.get("*", "")

    def _role_of(self, heard: Heard) -> str:
        return self._roles.of(heard.user, heard.home, heard.team)

    # -- clicks and decisions ------------------------------------------------------------------------------------------

    async def _click(self, heard: Heard) -> Mapping[str, Any]:
        match heard.button:
            case "approve" | "reject":
                approval_id, digest = _named_approval(heard.value)
                return await self._decide(heard, heard.button, approval_id, digest)
            case _ if self._role_of(heard) not in _MAY_ASK:
                await self._surface.whisper(heard, plain_message("You have no role here."))
                return {"refused": heard.user}
            case "details":
                incident = await self._services.incidents.get(heard.value)
                told = answer_message(incident.answer, self._services.settings.public_url, whole=True)
                await self._surface.whisper(heard, told)
            case "right" | "wrong":
                said = {"verdict": heard.button}
                await incident_replies.act_on_incident(
                    self._services, heard.value, "feedback", said, self._name_of(heard)
                )
                await self._surface.whisper(heard, plain_message("Noted, thank you."))
            case _:
                return {"skipped": heard.button[:40]}
        return {"done": heard.button}

    async def _decide_in_words(self, heard: Heard, said: str, approval_id: str, digest: str) -> Mapping[str, Any]:
        approval_id, digest = approval_id.lower(), digest.lower()
        full = (await self._approvals.find_approval(approval_id)).digest if self._approvals else ""
        decision: Literal["approve", "reject"] = "approve" if said.lower() == "approve" else "reject"
        return await self._decide(heard, decision, approval_id, full if full.startswith(digest) else digest)

    async def _decide(
        self, heard: Heard, decision: Literal["approve", "reject"], approval_id: str, digest: str
    ) -> Mapping[str, Any]:
        """Hand a decision to the record of approvals, which says whether this person may; a message is only a view of it."""
        if self._approvals is None or not approval_id:
            await self._surface.whisper(heard, plain_message("There is nothing to approve here."))
            return {"skipped": "no approvals"}
        actor = Actor(self._name_of(heard), self._role_of(heard) or "none", self._surface.name)
        try:
            decided = await self._approvals.decide(approval_id, decision, actor, digest=digest)
        except (ApprovalError, NotFound) as exc:
            await self._surface.whisper(heard, plain_message(str(exc)))
            return {"refused": heard.user, "reason": str(exc)}
        said = {"approve": "Approved", "reject": "Rejected"}[decision]
        if decided.status == "pending":  # the next one needs the buttons
            told = plain_message(f"{said} by {heard.user}. It waits for somebody else as well.")
            await self._surface.post(heard.place, told)
        else:
            await self._surface.settle(heard, f"{said} by {heard.user}.")
        return {"decided": decision, "approval_id": approval_id}

    def _name_of(self, heard: Heard) -> str:
        return f"{self._surface.name}:{heard.user}"


def _named_approval(value: str) -> tuple[str, str]:
    try:
        said = json.loads(value)
        return str(said["approval_id"]), str(said["digest"])
    except (ValueError, KeyError, TypeError):
        return "", ""

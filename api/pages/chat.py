"""Conversations as a page: questions and answers of a thread, and each agent's progress while it works."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse

from agents import replies
from agents.plain import show_plain, told_claims
from agents.question import Question
from api.auth import Session
from api.errors import status_of, told_body
from api.pages.incidents import load_cited
from api.pages.render import Pages, usual_environment
from domain.errors import AccessError, CausegraphError, QuestionError

logger = logging.getLogger(__name__)

_THREADS = 30


def add_chat(router: APIRouter, pages: Pages) -> None:
    """Add the page of a conversation, its form, and the stream that a script reads."""
    services, gate = pages.services, pages.gate

    async def show(
        session: Session, environment: str, thread: str, wrong: str = "", asked: str = "", status: int = 200
    ) -> Response:
        environments = await services.telemetry.environments()
        recent = await replies.list_incidents(services, limit=200)
        environment = environment or usual_environment(environments, recent)
        told = await services.conversations.turns(environment, thread)
        turns = [
            {
                "turn": turn,
                "causes": [str(cause.get("service", "")) for cause in turn.answer["verdict"]["causes"]],
                "body": turn.answer,
                "claims": told_claims(turn.answer),
                "cited": await load_cited(services, environment, turn.answer),
            }
            for turn in told
        ]
        return pages.render(
            "chat.html",
            session,
            status,
            environments=environments,
            environment=environment,
            thread=thread,
            threads=_threads(recent),
            turns=turns,
            wrong=wrong,
            asked=asked,
            may_ask=session.key.may("ask"),
        )

    @router.get("/ui/chat")
    async def chat_page(thread: str = "", environment: str = "", session: Session = Depends(gate.page)) -> Response:
        return await show(session, environment.strip()[:64], thread[:64])

    @router.post("/ui/chat")
    async def say(request: Request, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        try:
            question = read_question(session, fields)
            answer = await pages.desk.ask(question)
        except QuestionError as exc:
            place = fields.get("environment", "")[:64], fields.get("thread", "")[:64]
            return await show(session, *place, str(exc), fields.get("question", ""), 422)
        return RedirectResponse(thread_address(answer), 303)

    @router.post("/ui/chat/stream")
    async def stream(request: Request, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        address = incident_address if fields.get("then") == "incident" else thread_address
        parts = _tell(pages, session, fields, address)
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(parts, media_type="text/event-stream", headers=headers)


def read_question(session: Session, fields: Mapping[str, str]) -> Question:
    """Return the question of a form; raises AccessError or QuestionError."""
    if not session.key.may("ask"):
        raise AccessError(f"Your key has the role {session.key.role!r}, which may not ask.")
    return replies.make_question(
        fields.get("question", ""),
        fields.get("environment", "").strip(),
        at_us=replies.read_time("at", fields.get("at", "").strip()),
        from_us=replies.read_time("from", fields.get("from", "").strip()),
        to_us=replies.read_time("to", fields.get("to", "").strip()),
        thread_id=fields.get("thread", "").strip(),
    )


def incident_address(answer: Mapping[str, Any]) -> str:
    """Return the address of the incident that an answer tells of; of its conversation where it tells of none."""
    if not answer["incident_id"]:
        return thread_address(answer)
    return f"/ui/incidents/{quote(str(answer['incident_id']), safe='')}"


def thread_address(answer: Mapping[str, Any]) -> str:
    """Return the address of the conversation that an answer belongs to, at its end."""
    state = {"thread": answer["thread_id"], "environment": answer["environment"]}
    return f"/ui/chat?{urlencode(state)}#end"


async def _tell(
    pages: Pages, session: Session, fields: Mapping[str, str], address: Callable[[Mapping[str, Any]], str]
) -> AsyncIterator[str]:
    # The reply's status is sent by now: what goes wrong is an event.
    try:
        async for name, data in pages.desk.stream(read_question(session, fields)):
            if name == "answer":
                yield _event("answer", {"where": address(data)})
            elif told := str(data.get("text", "")):
                yield _event("progress", {"agent": show_plain(str(data.get("agent", name))), "text": show_plain(told)})
    except CausegraphError as exc:
        yield _event("error", {"text": told_body(exc, status_of(exc))["message"]})
    except Exception:
        logger.exception("A question of the chat page failed unexpectedly.")
        yield _event("error", {"text": "Something unexpected went wrong: the server's log has the details."})


def _event(name: str, data: Mapping[str, str]) -> str:
    return f"event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _threads(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest conversations, each with the first words of it that are known."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in incidents:
        key = (line["environment"], line["thread_id"])
        held = found.setdefault(key, {**line, "turns": 0, "last": line["created"]})
        held["turns"] += 1
        held["question"] = line["question"]
    return [{**held, "where": thread_address(held)} for held in list(found.values())[:_THREADS]]

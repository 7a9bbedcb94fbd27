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

type _Address = Callable[[Mapping[str, Any]], str]


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
            working=await pages.desk.runs.in_hand(environment, thread) if thread else [],
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
        return _as_events(_begin(pages, session, fields))

    @router.get("/ui/chat/runs/{run_id}/events")
    async def follow(run_id: str, after: int = 0, then: str = "", session: Session = Depends(gate.page)) -> Response:
        await pages.desk.runs.get(run_id)  # what is not there is said with a status
        return _as_events(_tell(pages, run_id, max(0, after), _address_of(then)))

    @router.post("/ui/chat/runs/{run_id}/cancel")
    async def cancel(request: Request, run_id: str, session: Session = Depends(gate.page)) -> Response:
        await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not stop a question.")
        run = await pages.desk.runs.get(run_id)
        await pages.desk.runs.cancel(run_id)
        return RedirectResponse(thread_address(run), 303)


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


def _address_of(then: str) -> _Address:
    return incident_address if then == "incident" else thread_address


def _as_events(parts: AsyncIterator[str]) -> StreamingResponse:
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(parts, media_type="text/event-stream", headers=headers)


async def _begin(pages: Pages, session: Session, fields: Mapping[str, str]) -> AsyncIterator[str]:
    """Begin to work on the question of a form, which goes on whether or not anybody listens, and tell of it."""
    # The reply's status is sent by now: what goes wrong is an event.
    try:
        question = read_question(session, fields)
        run_id = await pages.desk.start(question)
        place = {"thread_id": question.thread_id, "environment": question.environment}
        yield _event("begun", {"run": run_id, "where": thread_address(place)})
        async for told in _tell(pages, run_id, 0, _address_of(fields.get("then", ""))):
            yield told
    except CausegraphError as exc:
        yield _event("error", {"text": told_body(exc, status_of(exc))["message"]})
    except Exception:
        logger.exception("A question of the chat page failed unexpectedly.")
        yield _event("error", {"text": "Something unexpected went wrong: the server's log has the details."})


async def _tell(pages: Pages, run_id: str, after: int, address: _Address) -> AsyncIterator[str]:
    """Tell what a question's run told after an event, until it ends."""
    async for event in pages.desk.runs.follow(run_id, after):
        match event.name:
            case "progress" if text := str(event.data.get("text", "")):
                told = {"agent": show_plain(str(event.data.get("agent", ""))), "text": show_plain(text)}
                yield _event("progress", told, event.seq)
            case "answer":
                yield _event("answer", {"where": address(event.data)}, event.seq)
            case "cancelled":
                run = await pages.desk.runs.get(run_id)
                yield _event("cancelled", {"where": thread_address(run)}, event.seq)
            case "error":
                yield _event("error", {"text": show_plain(str(event.data.get("message", "")))}, event.seq)


def _event(name: str, data: Mapping[str, str], seq: int = 0) -> str:
    number = f"id: {seq}\n" if seq else ""
    return f"{number}event: {name}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"


def _threads(incidents: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest conversations, each with the first words of it that are known."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for line in incidents:
        key = (line["environment"], line["thread_id"])
        held = found.setdefault(key, {**line, "turns": 0, "last": line["created"]})
        held["turns"] += 1
        held["question"] = line["question"]
    return [{**held, "where": thread_address(held)} for held in list(found.values())[:_THREADS]]

"""The review queue: runs that nobody has judged yet, those first that most need a person, one verdict after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response

from agents import case_replies
from agents.services import Services
from api.auth import Session
from api.pages.render import Pages
from domain.errors import AccessError, QuestionError
from domain.times import HOUR_US
from storage.trace_rows import TraceRow
from storage.trace_search import TraceFilter

_BACK_US = 30 * 24 * HOUR_US
_LOOKED_AT = 300
_SHOWN = 60
_URGENCY: Mapping[str, int] = {"BLOCK": 0, "ESCALATE": 0, "NEED_CLARIFICATION": 1, "ALLOW_WITH_WARNING": 1}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a person can say of a run with one key."""

    key: str
    tag: str
    words: str
    passed: bool | None


VERDICTS: Sequence[Verdict] = (
    Verdict("1", "right", "Right", True),
    Verdict("2", "incomplete", "Right, not complete", True),
    Verdict("3", "unclear", "Cannot tell", None),
    Verdict("4", "wrong", "Wrong", False),
    Verdict("5", "harmful", "Should not have been given", False),
)


def add_queue(router: APIRouter, pages: Pages) -> None:
    """Add the queue, and the verdict on a run."""
    services, gate = pages.services, pages.gate

    @router.get("/ui/queue")
    async def queue_page(trace: str = "", session: Session = Depends(gate.page)) -> Response:
        waiting = await find_waiting(services)
        chosen = trace or (waiting[0].id if waiting else "")
        view = await services.traces.load(chosen) if chosen else None
        return pages.render(
            "queue.html",
            session,
            waiting=waiting[:_SHOWN],
            count=len(waiting),
            trace=view,
            found=await services.evidence.of_trace(chosen) if chosen else [],
            verdicts=VERDICTS,
            may_judge=session.key.may("ask"),
        )

    @router.post("/ui/traces/{trace_id}/review")
    async def review(request: Request, trace_id: str, session: Session = Depends(gate.page)) -> Response:
        fields = await gate.form(request, session)
        if not session.key.may("ask"):
            raise AccessError(f"Your key has the role {session.key.role!r}, which may not judge runs.")
        said = next((verdict for verdict in VERDICTS if verdict.tag == fields.get("verdict")), None)
        if said is None:
            raise QuestionError("`verdict` is none of those that are offered.")
        note = fields.get("note", "").strip()
        await case_replies.review_trace(services, trace_id, said.passed, note, [said.tag], session.key.name)
        then = "/ui/queue" if fields.get("then") == "queue" else f"/ui/traces/{quote(trace_id, safe='')}#reviews"
        return RedirectResponse(then, 303)


async def find_waiting(services: Services) -> list[TraceRow]:
    """Return the runs of the last month that ended and that nobody has judged, the most urgent first."""
    since_us = time.time_ns() // 1000 - _BACK_US
    reviewed = {review.trace_id for review in await services.rulings.evaluations.reviews_since(since_us)}
    rows = await services.traces.search.find(TraceFilter(from_us=since_us), _LOOKED_AT)
    waiting = [row for row in rows if row.id not in reviewed and row.status not in ("running", "paused")]
    return sorted(waiting, key=_urgency)


def _urgency(row: TraceRow) -> tuple[Any, ...]:
    urgent = 0 if row.status == "failed" or row.has_open_spans else _URGENCY.get(row.action, 2)
    return (urgent, -row.started_us)

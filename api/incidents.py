"""Incidents over HTTP: lists, answers, timelines, the alerts behind them, and what people do to them."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response
from pydantic import BaseModel, ConfigDict, Field

from agents import incident_replies, replies
from agents.follow_up import send_follow_up
from agents.postmortem import draft_postmortem
from agents.services import Services
from api.auth import Gate
from domain.times import LATEST_US
from storage.keys import Key

type _Environment = Annotated[str, Query(max_length=64, description="Only of this environment; else of all.")]
type _Status = Annotated[
    Literal["", "live", "pending", "open", "investigating", "identified", "resolved", "closed"],
    Query(description="Only of this state; `live`: everything that is not over."),
]
type _Origin = Annotated[Literal["", "question", "alert", "symptom"], Query(description="Only of this origin.")]
type _Limit = Annotated[int, Query(ge=1, le=500)]
type _Before = Annotated[str, Query(max_length=40, description="Only older than this time.")]
type _Note = Annotated[str, Field(max_length=4_000)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Merge(_Body):
    """Which incident becomes part of this one."""

    with_: str = Field(alias="with", max_length=20)
    why: _Note = ""


class Split(_Body):
    """Which alerts become an incident of their own: those of these ids, of a rule, of a service; what is given must fit."""

    alerts: list[str] = Field(default_factory=list, max_length=10_000)
    rule: str = Field(default="", max_length=300)
    service: str = Field(default="", max_length=128)
    why: _Note = ""


class Close(_Body):
    """A word at the end, and what helped: it is shown when the like happens again."""

    note: _Note = ""
    helped: _Note = ""


class Reopen(_Body):
    """Why it is not over."""

    note: _Note = ""


class Note(_Body):
    """A line of the timeline."""

    text: _Note


class FollowUp(_Body):
    """A follow-up that becomes an issue of the tracker in the settings."""

    title: str = Field(min_length=1, max_length=250)
    text: _Note = ""


class Feedback(_Body):
    """Whether the verdict was right; a wrong one is not brought forward again."""

    verdict: Literal["right", "wrong", "partly"]
    text: _Note = ""


def incidents_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["incidents"])
    _add_reading(router, services, gate)
    _add_acting(router, services, gate)
    return router


def _add_reading(router: APIRouter, services: Services, gate: Gate) -> None:
    may_read = [Depends(gate.require("read"))]

    @router.get("/incidents", dependencies=may_read)
    async def incidents(
        environment: _Environment = "",
        status: _Status = "",
        origin: _Origin = "",
        limit: _Limit = 50,
        before: _Before = "",
    ) -> JSONResponse:
        """The newest incidents, without their answers."""
        before_us = replies.read_time("before", before)
        found = await replies.list_incidents(
            services, environment, limit, LATEST_US if before_us is None else before_us, status, origin
        )
        return JSONResponse({"incidents": found})

    @router.get("/incidents/{incident_id}", dependencies=may_read)
    async def incident(incident_id: str) -> JSONResponse:
        """One incident with its answer."""
        return JSONResponse(await replies.read_incident(services, incident_id))

    @router.get("/incidents/{incident_id}/life", dependencies=may_read)
    async def life(incident_id: str) -> JSONResponse:
        """Its state, its alerts by rule, the earlier incident that it is like, and its timeline."""
        return JSONResponse(await incident_replies.read_life(services, incident_id))

    @router.get("/incidents/{incident_id}/alerts", dependencies=may_read)
    async def alerts(incident_id: str, limit: _Limit = 100) -> JSONResponse:
        """Its alerts, oldest first."""
        return JSONResponse({"alerts": await incident_replies.read_alerts(services, incident_id, limit)})

    @router.get("/incidents/{incident_id}/decisions", dependencies=may_read)
    async def decisions(incident_id: str, limit: _Limit = 100) -> JSONResponse:
        """Why its alerts are in it."""
        return JSONResponse({"decisions": await incident_replies.read_decisions(services, incident_id, limit)})

    @router.get("/incidents/{incident_id}/postmortem", dependencies=may_read)
    async def postmortem(incident_id: str) -> Response:
        """The draft of a postmortem, as Markdown."""
        return Response(await draft_postmortem(services, incident_id), media_type="text/markdown; charset=utf-8")


def _add_acting(router: APIRouter, services: Services, gate: Gate) -> None:
    may_act = gate.require("ask")

    async def act(request: Request, incident_id: str, action: str, body: _Body) -> JSONResponse:
        key: Key = request.state.key
        values: dict[str, Any] = body.model_dump(by_alias=True)
        return JSONResponse(await incident_replies.act_on_incident(services, incident_id, action, values, key.name))

    @router.post("/incidents/{incident_id}/merge", dependencies=[Depends(may_act)])
    async def merge(request: Request, incident_id: str, body: Merge) -> JSONResponse:
        """Make another incident part of this one."""
        return await act(request, incident_id, "merge", body)

    @router.post("/incidents/{incident_id}/split", dependencies=[Depends(may_act)])
    async def split(request: Request, incident_id: str, body: Split) -> JSONResponse:
        """Make some of its alerts an incident of their own; the reply is the new one."""
        return await act(request, incident_id, "split", body)

    @router.post("/incidents/{incident_id}/close", dependencies=[Depends(may_act)])
    async def close(request: Request, incident_id: str, body: Close) -> JSONResponse:
        """Close it."""
        return await act(request, incident_id, "close", body)

    @router.post("/incidents/{incident_id}/reopen", dependencies=[Depends(may_act)])
    async def reopen(request: Request, incident_id: str, body: Reopen) -> JSONResponse:
        """Open it again; it is then investigated again."""
        return await act(request, incident_id, "reopen", body)

    @router.post("/incidents/{incident_id}/note", dependencies=[Depends(may_act)])
    async def note(request: Request, incident_id: str, body: Note) -> JSONResponse:
        """Add a line to its timeline."""
        return await act(request, incident_id, "note", body)

    @router.post("/incidents/{incident_id}/follow-up", dependencies=[Depends(may_act)])
    async def follow_up(request: Request, incident_id: str, body: FollowUp) -> JSONResponse:
        """Open an issue about it; the reply is {title, url}."""
        now_us = time.time_ns() // 1000
        name = request.state.key.name
        return JSONResponse(await send_follow_up(services, incident_id, body.title, body.text, name, now_us))

    @router.post("/incidents/{incident_id}/feedback", dependencies=[Depends(may_act)])
    async def feedback(request: Request, incident_id: str, body: Feedback) -> JSONResponse:
        """Say whether its verdict was right."""
        return await act(request, incident_id, "feedback", body)

"""Searching everything, and reading the record that a result names."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from agents.replies import read_time
from agents.search_replies import MAX_HITS, MAX_TEXT, read_addressed, search_everything
from agents.services import Services
from api.auth import Gate

type _Environment = Annotated[str, Query(max_length=64, description="Default: `default`.")]
type _Moment = Annotated[str, Query(max_length=40)]
type _Kinds = Annotated[
    list[str],
    Query(
        alias="kind",
        max_length=16,
        description="Only of this kind; may be given several times: template, line, service, code, runbook, incident, change, "
        "event, run, request.",
    ),
]


def search_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["search"], dependencies=[Depends(gate.require("read"))])

    @router.get("/search")
    async def search(
        q: Annotated[str, Query(max_length=MAX_TEXT, description="A question, a message, an id, a name.")],
        environment: _Environment = "",
        at: Annotated[str, Query(max_length=40, description="Nothing later is found; default: now.")] = "",
        since: Annotated[str, Query(alias="from", max_length=40, description="Default: the beginning.")] = "",
        to: _Moment = "",
        kinds: _Kinds = [],  # noqa: B006 - FastAPI copies it
        limit: Annotated[int, Query(ge=1, le=MAX_HITS)] = 10,
    ) -> dict[str, Any]:
        """What fits a text best: log templates, lines, services, code, runbooks, incidents, changes, runs, requests."""
        bounds = {"at_us": read_time("at", at), "from_us": read_time("from", since), "to_us": read_time("to", to)}
        return await search_everything(services, q, environment, kinds=kinds, limit=limit, **bounds)

    @router.get("/record")
    async def record(
        request: Request,
        kind: Annotated[str, Query(max_length=16, description="log, span, change, event or code.")],
        environment: _Environment = "",
    ) -> dict[str, Any]:
        """One stored record by its key, as the results of a search name it in `open`."""
        return await read_addressed(services, environment, kind, dict(request.query_params))

    return router

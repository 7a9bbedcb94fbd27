"""Traces as JSON: lists with filters and counts, one trace as tree and timeline, and an overview."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from agents import replies
from agents.services import Services
from api.auth import Gate
from domain.times import LATEST_US
from storage.trace_search import TraceFilter

type _Word = Annotated[str, Query(max_length=191)]
type _Time = Annotated[str, Query(max_length=40)]


def traces_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["traces"], dependencies=[Depends(gate.require("read"))])

    @router.get("/traces")
    @router.get("/api/v1/traces", include_in_schema=False)
    async def traces(
        environment: Annotated[str, Query(max_length=64, description="Only of this environment; else of all.")] = "",
        source: Annotated[str, Query(pattern="^(|causegraph|ingest)$", description="Our own runs, or others.")] = "",
        status: _Word = "",
        outcome: _Word = "",
        action: _Word = "",
        service: _Word = "",
        intent: _Word = "",
        model: _Word = "",
        thread_id: _Word = "",
        user_id: _Word = "",
        search: Annotated[str, Query(max_length=191, description="In questions, answers, names and decisions.")] = "",
        open_spans: Annotated[bool, Query(description="Only with stages that never ended.")] = False,
        from_: Annotated[str, Query(alias="from", max_length=40, description="Only begun since this time.")] = "",
        before: Annotated[str, Query(max_length=40, description="Only older than this time.")] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
        page: Annotated[int, Query(ge=1, le=10_000)] = 1,
        page_size: Annotated[int, Query(ge=0, le=500, description="The same as `limit`.")] = 0,
        facets: Annotated[bool, Query(description="Count also how many fit, and by which values.")] = False,
    ) -> JSONResponse:
        """The newest traces that fit, of our own runs and of other programs."""
        from_us, before_us = replies.read_time("from", from_), replies.read_time("before", before)
        wanted = TraceFilter(
            environment=environment,
            source=source,
            status=status,
            outcome=outcome,
            action=action,
            service=service,
            intent=intent,
            model=model,
            thread_id=thread_id,
            user_id=user_id,
            search=search,
            open_spans=open_spans,
            from_us=from_us or 0,
            before_us=LATEST_US if before_us is None else before_us,
        )
        size = page_size or limit
        return JSONResponse(await replies.search_traces(services, wanted, size, (page - 1) * size, facets=facets))

    @router.get("/traces/stats/overview")
    @router.get("/api/v1/traces/stats/overview", include_in_schema=False)
    async def overview(
        last_hours: Annotated[float, Query(gt=0, le=24 * 366)] = 24.0,
        environment: Annotated[str, Query(max_length=64)] = "",
    ) -> dict[str, Any]:
        """Counts, durations, tokens, cost, open and failed stages of the last hours."""
        return await replies.read_trace_overview(services, last_hours, environment)

    @router.get("/traces/{trace_id}")
    @router.get("/api/v1/traces/{trace_id}", include_in_schema=False)
    async def trace(trace_id: str) -> JSONResponse:
        """One trace: stages as a tree, timeline, decisions, search ledger, judges, evaluations, scorecard.

        A trace of another program is found by our id or by the one that its sender gave it.
        """
        return JSONResponse(await replies.read_trace(services, trace_id))

    return router

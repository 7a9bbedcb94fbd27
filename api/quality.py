"""How runs do, as JSON: groups, failures, patterns, calibration, flags, and two runs side by side."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from agents import quality_replies
from agents.replies import read_time
from agents.services import Services
from api.auth import Gate
from domain.times import LATEST_US

type _Environment = Annotated[str, Query(max_length=64, description="Only of this environment.")]
type _From = Annotated[str, Query(alias="from", max_length=40, description="Only since this time.")]
type _To = Annotated[str, Query(max_length=40, description="Only before this time.")]


class PairBody(BaseModel):
    """Two runs."""

    model_config = ConfigDict(extra="forbid")

    a: Annotated[str, Field(min_length=1, max_length=191)]
    b: Annotated[str, Field(min_length=1, max_length=191)]


def quality_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(prefix="/review", tags=["review"], dependencies=[Depends(gate.require("read"))])

    @router.get("/stats")
    async def stats(
        by: Annotated[
            str, Query(max_length=40, description="intent, service, outcome, action, policy, day ...")
        ] = "service",
        environment: _Environment = "",
        from_: _From = "",
        to: _To = "",
    ) -> dict[str, Any]:
        """The runs that were judged in a time, in groups."""
        return await quality_replies.read_stats(services, by, environment, *_window(from_, to))

    @router.get("/failures")
    async def failures(
        environment: _Environment = "", from_: _From = "", to: _To = "", limit: Annotated[int, Query(ge=1, le=500)] = 50
    ) -> dict[str, Any]:
        """The newest decisions that held an answer back."""
        return await quality_replies.read_failures(services, environment, *_window(from_, to), limit)

    @router.get("/patterns")
    async def patterns(
        environment: _Environment = "",
        from_: _From = "",
        to: _To = "",
        min_runs: Annotated[int, Query(ge=1, le=1000)] = 3,
    ) -> dict[str, Any]:
        """The principles that fail again and again."""
        return await quality_replies.read_patterns(services, environment, *_window(from_, to), min_runs)

    @router.get("/calibration")
    async def calibration(
        environment: _Environment = "", days: Annotated[float, Query(gt=0, le=3660)] = 90.0
    ) -> dict[str, Any]:
        """How reliable stated confidence is, with its noise floor, and what stands out."""
        return await quality_replies.read_calibration(services, environment, days)

    @router.get("/flagged")
    async def flagged(settled: bool = False, limit: Annotated[int, Query(ge=1, le=500)] = 100) -> dict[str, Any]:
        """The runs that are flagged for review."""
        return await quality_replies.read_flagged(services, settled, limit)

    @router.post("/flagged/{trace_id}/settle", dependencies=[Depends(gate.require("ask"))])
    async def settle(trace_id: str, request: Request) -> dict[str, Any]:
        """Take the flags of a run away."""
        return await quality_replies.settle_flags(services, trace_id, str(request.state.key.name))

    @router.get("/compare")
    async def compare(
        a: Annotated[str, Query(min_length=1, max_length=191)], b: Annotated[str, Query(min_length=1, max_length=191)]
    ) -> dict[str, Any]:
        """What differs between two runs, and where they first went apart."""
        return await quality_replies.compare_traces(services, a, b)

    @router.post("/compare", dependencies=[Depends(gate.require("ask"))])
    async def prefer(body: PairBody) -> dict[str, Any]:
        """Which of two answers to the same question the model judge finds better, asked in both orders."""
        return await quality_replies.prefer_trace(services, body.a, body.b)

    return router


def _window(since: str, until: str) -> tuple[int, int]:
    to_us = read_time("to", until)
    return read_time("from", since) or 0, LATEST_US if to_us is None else to_us

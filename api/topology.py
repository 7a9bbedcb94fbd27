"""The topology as JSON and as a picture: who called whom at a moment, by which chains, and what changed."""

from __future__ import annotations

import base64
import hashlib
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from agents import topology_replies
from agents.replies import read_time
from agents.services import Services
from api.auth import Gate
from domain.errors import QuestionError
from graph.picture import PICTURE_STYLE

type _Environment = Annotated[str, Query(max_length=64, description="Default: `default`.")]
type _Time = Annotated[str, Query(max_length=40, description="As of this time. Default: now.")]
type _Name = Annotated[str, Query(min_length=1, max_length=128)]

_STYLE_HASH = base64.b64encode(hashlib.sha256(PICTURE_STYLE.encode()).digest()).decode()
# Opened by itself, a picture may use its own colours and nothing else.
_PICTURE_POLICY = f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; base-uri 'none'; frame-ancestors 'none'"


def topology_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["topology"])
    may_read = [Depends(gate.require("read"))]

    async def may_look(request: Request) -> None:
        """Let in whoever has a key that may read, or is logged in to the pages."""
        session = await gate.session(request)
        if session is None or not session.key.may("read"):
            await gate.check_key(request, "read")

    @router.get("/topology", dependencies=may_read)
    async def topology(environment: _Environment = "", at: _Time = "") -> dict[str, Any]:
        """Who called whom at a moment, a line for each pair of services."""
        return await topology_replies.read_topology(services, environment, read_time("at", at))

    @router.get("/topology/path", dependencies=may_read)
    async def path(cause: _Name, symptom: _Name, environment: _Environment = "", at: _Time = "") -> dict[str, Any]:
        """The shortest chains by which the symptom's service called the cause's then: cause first, symptom last."""
        return await topology_replies.read_paths(services, cause, symptom, environment, read_time("at", at))

    @router.get("/topology/diff", dependencies=may_read)
    async def diff(
        since: Annotated[str, Query(alias="from", max_length=40)],
        to: Annotated[str, Query(max_length=40)],
        environment: _Environment = "",
    ) -> dict[str, Any]:
        """Which calls there were at one moment only."""
        earlier_us, later_us = read_time("from", since), read_time("to", to)
        if earlier_us is None or later_us is None:
            raise QuestionError("`from` and `to`: two times are needed.")
        return await topology_replies.read_diff(services, earlier_us, later_us, environment)

    @router.get("/topology/calls", dependencies=may_read)
    async def calls(
        caller: _Name,
        callee: _Name,
        environment: _Environment = "",
        since: Annotated[str, Query(alias="from", max_length=40)] = "",
        to: _Time = "",
    ) -> dict[str, Any]:
        """The calls from one service to another per minute: count, errors, durations. Default: the last hour."""
        window = read_time("from", since), read_time("to", to)
        return await topology_replies.read_calls(services, caller, callee, environment, *window)

    @router.get("/topology.svg", dependencies=[Depends(may_look)], response_class=Response)
    async def picture(environment: _Environment = "", at: _Time = "") -> Response:
        """The same as a picture. A session of the pages will do in place of a key."""
        drawn = await topology_replies.draw_topology(services, environment, read_time("at", at))
        headers = {"Content-Security-Policy": _PICTURE_POLICY, "Cache-Control": "no-store"}
        return Response(drawn, 200, headers, "image/svg+xml")

    return router

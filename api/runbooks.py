"""Runbooks over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from agents import runbook_replies
from agents.services import Services
from api.auth import Gate


def runbooks_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    router = APIRouter(prefix="/runbooks", tags=["runbooks"], dependencies=[Depends(gate.require("read"))])

    @router.get("")
    async def find_all() -> dict[str, Any]:
        """Every runbook, and the files that could not be read."""
        return runbook_replies.list_runbooks(services)

    @router.get("/check")
    async def check(environment: Annotated[str, Query(max_length=64)] = "") -> dict[str, Any]:
        """What runbooks and workflows name that is not there (any more)."""
        return await runbook_replies.check_rot(services, environment)

    @router.post("/fetch", dependencies=[Depends(gate.require("admin"))])
    async def fetch() -> dict[str, Any]:
        """Bring the git repositories of runbooks up to date now; every runbook then, and what could not be read."""
        return await runbook_replies.fetch_runbooks(services)

    @router.get("/{runbook_id}")
    async def show(runbook_id: str) -> dict[str, Any]:
        """One runbook with its steps."""
        return runbook_replies.read_runbook(services, runbook_id)

    return router

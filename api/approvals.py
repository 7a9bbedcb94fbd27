"""Approvals over HTTP. A decision names the digest of what was seen; who may decide is in the operator's file."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from agents import remedy_replies
from agents.services import Services
from api.auth import Gate
from api.workflows import actor_of
from storage.keys import Key


class DecisionBody(BaseModel):
    """A decision on exactly the bytes that `digest` names."""

    digest: str = Field(min_length=64, max_length=64)
    reason: str = Field(default="", max_length=2000)


def approvals_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router. Any key that may read may try to decide, so that an attempt of a wrong one is written down."""
    known = gate.require("read")
    router = APIRouter(prefix="/approvals", tags=["approvals"], dependencies=[Depends(known)])

    @router.get("")
    async def find_all(
        environment: Annotated[str, Query(max_length=64)] = "",
        status: Annotated[str, Query(max_length=12)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        """The newest approvals, without what they allow."""
        return {"approvals": await remedy_replies.list_approvals(services.remedy, environment, status, limit)}

    @router.get("/refused")
    async def refused(limit: Annotated[int, Query(ge=1, le=500)] = 50) -> dict[str, Any]:
        """The newest attempts that were refused: proposals, decisions, uses and steps, by whom and why."""
        return {"refused": await remedy_replies.list_refused(services.remedy, limit)}

    @router.get("/{approval_id}")
    async def show(approval_id: str) -> dict[str, Any]:
        """One approval: exactly what it allows, and everything that was tried with it."""
        return await remedy_replies.read_approval(services.remedy, approval_id)

    @router.post("/{approval_id}/approve")
    async def approve(approval_id: str, body: DecisionBody, key: Key = Depends(known)) -> dict[str, Any]:
        """Allow what was seen; the run begins within seconds. Returns the run."""
        return await remedy_replies.decide(services, approval_id, "approve", actor_of(key), body.digest, body.reason)

    @router.post("/{approval_id}/reject")
    async def reject(approval_id: str, body: DecisionBody, key: Key = Depends(known)) -> dict[str, Any]:
        """Refuse what was proposed. Returns the run."""
        return await remedy_replies.decide(services, approval_id, "reject", actor_of(key), body.digest, body.reason)

    return router

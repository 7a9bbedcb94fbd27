"""Workflows over HTTP: which there are, what one would do, runs that are proposed and what became of them."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from agents import remedy_replies
from agents.services import Services
from api.auth import Gate
from domain.remedy import Actor
from runbooks.workflow import describe_workflow
from storage.keys import Key


class RunBody(BaseModel):
    """What somebody wants done. What is not said comes from the answer of `incident_id`."""

    workflow: str = Field(max_length=64)
    environment: str = Field(default="", max_length=64)
    incident_id: str = Field(default="", max_length=64)
    arguments: dict[str, str | int | float | bool] = {}


def actor_of(key: Key) -> Actor:
    """Return who a key is, for a decision."""
    return Actor(key.id, key.role, "api")


def workflows_router(services: Services, gate: Gate) -> APIRouter:
    """Build the router."""
    read, ask = Depends(gate.require("read")), gate.require("ask")
    router = APIRouter(prefix="/workflows", tags=["workflows"])

    @router.get("", dependencies=[read])
    async def find_all() -> dict[str, Any]:
        """Every workflow, what could not be read, and the actions that the operator's file allows."""
        return remedy_replies.list_workflows(services.remedy)

    @router.post("/dry-run")
    async def dry_run(body: RunBody, key: Key = Depends(ask)) -> dict[str, Any]:
        """Say what a workflow would do, without proposing it."""
        return await remedy_replies.propose_run(services, body.model_dump(), actor_of(key), dry=True)

    @router.post("/runs")
    async def propose(body: RunBody, key: Key = Depends(ask)) -> dict[str, Any]:
        """Propose a run: it waits for its approval."""
        return await remedy_replies.propose_run(services, body.model_dump(), actor_of(key), dry=False)

    @router.get("/runs", dependencies=[read])
    async def runs(
        environment: Annotated[str, Query(max_length=64)] = "",
        incident_id: Annotated[str, Query(max_length=64)] = "",
        workflow: Annotated[str, Query(max_length=64)] = "",
        limit: Annotated[int, Query(ge=1, le=500)] = 50,
    ) -> dict[str, Any]:
        """The newest runs and what became of them."""
        return {"runs": await remedy_replies.list_runs(services.remedy, environment, incident_id, workflow, limit)}

    @router.get("/runs/{run_id}", dependencies=[read])
    async def run(run_id: str) -> dict[str, Any]:
        """One run: what it would do or did, its approval, its steps."""
        return await services.remedy.read_run(run_id)

    @router.get("/{workflow_id}", dependencies=[read])
    async def show(workflow_id: str) -> dict[str, Any]:
        """One workflow."""
        return describe_workflow(services.remedy.workflows.get(workflow_id))

    return router

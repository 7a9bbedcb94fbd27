"""What is stored, as JSON: health, facts about the program, symptoms, evidence, traces."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query
from fastapi.responses import JSONResponse

from agents import replies, watch
from agents.services import Services
from api.auth import Gate

type _Environment = Annotated[str, Query(max_length=64, description="Only of this environment; else of all.")]
type _SymptomStatus = Annotated[Literal["", "open", "recovered", "silent"], Query(description="Only of this status.")]
type _Limit = Annotated[int, Query(ge=1, le=500)]
type _Before = Annotated[str, Query(max_length=40, description="Only older than this time.")]


def records_router(services: Services, gate: Gate, instance: str) -> APIRouter:
    """Build the router. `instance` names this process, so that a command can tell that it talks to the right one."""
    router = APIRouter(tags=["records"])
    may_read = [Depends(gate.require("read"))]

    @router.get("/health")
    async def health() -> JSONResponse:
        """Say whether the servers answer: 200, or 503 if one does not. Needs no key."""
        body = await replies.read_health(services)
        return JSONResponse(body | {"instance": instance}, 200 if body["status"] == "ok" else 503)

    @router.get("/info", dependencies=may_read)
    async def info() -> dict[str, Any]:
        """Version, environments, counts, and settings without secrets."""
        return await replies.read_info(services)

    @router.get("/symptoms", dependencies=may_read)
    async def symptoms(environment: _Environment = "", status: _SymptomStatus = "", limit: _Limit = 50) -> JSONResponse:
        """The newest symptoms that were noticed without a question."""
        return JSONResponse({"symptoms": await watch.list_symptoms(services, environment, status, limit)})

    @router.get("/symptoms/{symptom_id}", dependencies=may_read)
    async def symptom(symptom_id: str) -> JSONResponse:
        """One symptom."""
        return JSONResponse(await watch.read_symptom(services, symptom_id))

    @router.get("/evidence/{evidence_id}", dependencies=may_read)
    async def evidence(evidence_id: str, environment: _Environment = "") -> JSONResponse:
        """One piece of evidence, its record as it reads now, and whether that is still what was cited."""
        return JSONResponse(await replies.reread_evidence(services, evidence_id, environment or None))

    return router

"""The ways in of agent traces as JSON. Each address also stands under `/api/v1`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from api.deliveries import Ask, EnvironmentQuery, reply_json, told_refusal
from domain.errors import AccessError, PayloadError, StorageError
from ingest.agent_intake import AgentIntake
from ingest.agent_traces import Form
from ingest.service import Ingest


def agent_traces_router(ingest: Ingest, intake: AgentIntake, require: Callable[[str], Any]) -> APIRouter:
    """Build the router. `require("ingest")` must give a FastAPI dependency that refuses callers without that role."""
    router = APIRouter(dependencies=[Depends(require("ingest"))], tags=["agent traces"])

    async def answer(form: Form, request: Request, environment: str) -> Response:
        try:
            receipt = await intake.accept(form, await Ask(ingest, request, environment).read())
        except (PayloadError, StorageError, AccessError) as exc:
            refused = told_refusal(exc)
            return reply_json(refused.status, {"error": refused.told}, refused.headers)
        nothing = receipt.rejected and not (receipt.accepted or receipt.duplicate)
        return reply_json(400 if nothing else 200, asdict(receipt))

    @router.post("/ingest/traces")
    @router.post("/api/v1/ingest/traces", include_in_schema=False)
    async def traces(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take traces with their spans: `{"trace": {...}, "spans": [...], "allow_missing_parent"?}`, one or an array."""
        return await answer("traces", request, environment)

    @router.post("/ingest/spans")
    @router.post("/api/v1/ingest/spans", include_in_schema=False)
    async def spans(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take events of spans: `{"events": [{trace_id, span_id?, event_type, event_time, payload, idempotency_key?}]}`."""
        return await answer("spans", request, environment)

    @router.post("/ingest/langgraph-runs")
    @router.post("/api/v1/ingest/langgraph-runs", include_in_schema=False)
    async def langgraph_runs(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take LangGraph runs with their nodes: `{trace_id, graph_name, start_time, nodes: [...]}`, one or an array."""
        return await answer("langgraph", request, environment)

    @router.post("/evals")
    @router.post("/api/v1/evals", include_in_schema=False)
    async def evals(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Attach results of evaluations to traces: `{trace_id, eval_name, score?, passed?, ...}`, one or an array."""
        return await answer("evals", request, environment)

    return router

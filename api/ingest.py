"""The ways in over HTTP: OTLP under `/v1`, plain JSON under `/ingest`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # ships no types

from api.deliveries import Accept, Ask, EnvironmentQuery, KeyHeader, Refused, answer_json, reply_json
from api.otlp_replies import LOGS, METRICS, TRACES, OtlpReply
from api.rpc_status import encode_rpc_status
from ingest.payload import media_type
from ingest.service import Ingest

_PROTOBUF_TYPES = {"application/x-protobuf", "application/protobuf"}


def ingest_router(ingest: Ingest, require: Callable[[str], Any]) -> APIRouter:
    """Build the router. `require("ingest")` must give a FastAPI dependency that refuses callers without that role."""
    router = APIRouter(dependencies=[Depends(require("ingest"))], tags=["ingest"])
    _add_otlp(router, ingest)
    _add_json(router, ingest)
    return router


def _add_otlp(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/v1/logs")
    async def otlp_logs(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take OTLP logs, protobuf or JSON."""
        delivery = Ask(ingest, request, environment, idempotency_key, bulk=True)
        return await _answer_otlp(delivery, ingest.accept_otlp_logs, LOGS)

    @router.post("/v1/traces")
    async def otlp_traces(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take OTLP spans, protobuf or JSON."""
        delivery = Ask(ingest, request, environment, idempotency_key, bulk=True)
        return await _answer_otlp(delivery, ingest.accept_otlp_traces, TRACES)

    @router.post("/v1/metrics")
    async def otlp_metrics(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take OTLP metrics, protobuf or JSON."""
        delivery = Ask(ingest, request, environment, idempotency_key, bulk=True)
        return await _answer_otlp(delivery, ingest.accept_otlp_metrics, METRICS)


def _add_json(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/ingest/logs")
    async def logs(request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = "") -> Response:
        """Take log events: `[{timestamp, service, level, message, node?, trace_id?, span_id?, attributes?}]`."""
        return await answer_json(Ask(ingest, request, environment, idempotency_key), ingest.accept_logs)

    @router.post("/ingest/changes")
    async def changes(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take changes: `[{timestamp, service, kind, summary, version?, actor?, attributes?}]`."""
        return await answer_json(Ask(ingest, request, environment, idempotency_key), ingest.accept_changes)

    @router.post("/ingest/events")
    async def events(request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = "") -> Response:
        """Take orchestrator events: `[{timestamp, kind, object, text, service?, reason?}]`."""
        return await answer_json(Ask(ingest, request, environment, idempotency_key), ingest.accept_events)

    @router.post("/ingest/topology")
    async def topology(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take stated edges: `{edges: [{source, target, kind?}], observed_by?, valid_from?, valid_to?}`."""
        return await answer_json(Ask(ingest, request, environment, idempotency_key), ingest.accept_topology)

    @router.post("/ingest/topology/manifests")
    async def manifests(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take a topology as a file: Kubernetes manifests, a compose file, or `edges`; YAML or JSON."""
        return await answer_json(Ask(ingest, request, environment, idempotency_key), ingest.accept_topology_file)


# -- OTLP --------------------------------------------------------------------------------------------------------------


async def _answer_otlp(ask: Ask, accept: Accept, form: OtlpReply) -> Response:
    """Answer in the request's encoding: an Export*ServiceResponse, or a google.rpc.Status."""
    binary = media_type(ask.content_type) in _PROTOBUF_TYPES
    receipt = await ask.deliver(accept)
    if isinstance(receipt, Refused):
        if not binary:
            return reply_json(receipt.status, {"code": receipt.code, "message": receipt.told}, receipt.headers)
        body = encode_rpc_status(receipt.code, receipt.told)
        return Response(body, receipt.status, receipt.headers, "application/x-protobuf")
    message = form.message(receipt)
    if binary:
        return Response(message.SerializeToString(), 200, media_type="application/x-protobuf")
    return reply_json(200, MessageToDict(message))

"""The ways in over HTTP: OTLP under `/v1`, plain JSON under `/ingest`."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import Annotated, Any

import msgspec
from fastapi import APIRouter, Depends, Header, Query, Request, Response
from google.protobuf.json_format import MessageToDict  # type: ignore[import-untyped]  # ships no types

from api.errors import told_body
from api.otlp_replies import LOGS, METRICS, TRACES, OtlpReply
from api.rpc_status import RETRY_AFTER_SECONDS, RETRYABLE, encode_rpc_status, status_of_delivery
from domain.errors import CausegraphError, PayloadError, PayloadTooLarge, StorageError
from ingest.payload import media_type
from ingest.service import Delivery, Ingest, Receipt

logger = logging.getLogger(__name__)

_PROTOBUF_TYPES = {"application/x-protobuf", "application/protobuf"}

type _Accept = Callable[[Delivery], Awaitable[Receipt]]
type _Environment = Annotated[str, Query(description="Environment of records that name none.")]
type _Key = Annotated[str, Header(alias="Idempotency-Key", description="Equal keys are one delivery sent twice.")]


def ingest_router(ingest: Ingest, require: Callable[[str], Any]) -> APIRouter:
    """Build the router. `require("ingest")` must give a FastAPI dependency that refuses callers without that role."""
    router = APIRouter(dependencies=[Depends(require("ingest"))], tags=["ingest"])
    _add_otlp(router, ingest)
    _add_json(router, ingest)
    return router


def _add_otlp(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/v1/logs")
    async def otlp_logs(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take OTLP logs, protobuf or JSON."""
        delivery = _Ask(ingest, request, environment, idempotency_key)
        return await _answer_otlp(delivery, ingest.accept_otlp_logs, LOGS)

    @router.post("/v1/traces")
    async def otlp_traces(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take OTLP spans, protobuf or JSON."""
        delivery = _Ask(ingest, request, environment, idempotency_key)
        return await _answer_otlp(delivery, ingest.accept_otlp_traces, TRACES)

    @router.post("/v1/metrics")
    async def otlp_metrics(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take OTLP metrics, protobuf or JSON."""
        delivery = _Ask(ingest, request, environment, idempotency_key)
        return await _answer_otlp(delivery, ingest.accept_otlp_metrics, METRICS)


def _add_json(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/ingest/logs")
    async def logs(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take log events: `[{timestamp, service, level, message, node?, trace_id?, span_id?, attributes?}]`."""
        return await _answer_json(_Ask(ingest, request, environment, idempotency_key), ingest.accept_logs)

    @router.post("/ingest/changes")
    async def changes(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take changes: `[{timestamp, service, kind, summary, version?, actor?, attributes?}]`."""
        return await _answer_json(_Ask(ingest, request, environment, idempotency_key), ingest.accept_changes)

    @router.post("/ingest/events")
    async def events(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take orchestrator events: `[{timestamp, kind, object, text, service?, reason?}]`."""
        return await _answer_json(_Ask(ingest, request, environment, idempotency_key), ingest.accept_events)

    @router.post("/ingest/topology")
    async def topology(request: Request, environment: _Environment = "", idempotency_key: _Key = "") -> Response:
        """Take stated edges: `{edges: [{source, target, kind?}], observed_by?, valid_from?, valid_to?}`."""
        return await _answer_json(_Ask(ingest, request, environment, idempotency_key), ingest.accept_topology)

    @router.post("/ingest/alerts/{source}")
    async def alerts(
        request: Request, source: str, environment: _Environment = "", idempotency_key: _Key = ""
    ) -> Response:
        """Take alerts from `alertmanager`, `grafana` or `generic`."""

        async def accept(delivery: Delivery) -> Receipt:
            return await ingest.accept_alerts(delivery, source)

        return await _answer_json(_Ask(ingest, request, environment, idempotency_key), accept)


class _Ask:
    """A request whose body has not been read yet."""

    def __init__(self, ingest: Ingest, request: Request, environment: str, idempotency_key: str) -> None:
        self.content_type = request.headers.get("content-type", "")
        self._max_bytes = ingest.max_body_bytes
        self._request = request
        self._environment = environment
        self._idempotency_key = idempotency_key

    async def read(self) -> Delivery:
        """Read the body; raises PayloadTooLarge as soon as it is known to be larger than the bound."""
        declared = self._request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            raise PayloadTooLarge
        body = bytearray()
        async for piece in self._request.stream():
            body += piece
            if len(body) > self._max_bytes:
                raise PayloadTooLarge
        return Delivery(
            body=bytes(body),
            content_type=self.content_type,
            content_encoding=self._request.headers.get("content-encoding", ""),
            environment=self._environment,
            idempotency_key=self._idempotency_key,
        )


def _headers(status: int) -> dict[str, str]:
    return {"Retry-After": str(RETRY_AFTER_SECONDS)} if status in RETRYABLE else {}


# -- plain JSON --------------------------------------------------------------------------------------------------------


async def _answer_json(ask: _Ask, accept: _Accept) -> Response:
    try:
        receipt = await accept(await ask.read())
    except (PayloadError, StorageError) as exc:
        status, _ = status_of_delivery(exc)
        _log_failure(exc, status)
        return _json(status, {"error": _told(exc, status)})
    nothing = receipt.rejected and not (receipt.accepted or receipt.duplicate)
    reply = asdict(receipt)
    for name in ("ids", "spooled"):
        if not reply[name]:
            del reply[name]
    return _json(400 if nothing else 200, reply)


def _json(status: int, value: object) -> Response:
    return Response(msgspec.json.encode(value), status, _headers(status), "application/json")


def _told(error: CausegraphError, status: int) -> str:
    return told_body(error, status)["message"]


def _log_failure(error: CausegraphError, status: int) -> None:
    if status >= 500:
        logger.error("A delivery was not stored.", extra={"reason": str(error), "status": status})


# -- OTLP --------------------------------------------------------------------------------------------------------------


async def _answer_otlp(ask: _Ask, accept: _Accept, form: OtlpReply) -> Response:
    """Answer in the request's encoding: an Export*ServiceResponse, or a google.rpc.Status."""
    binary = media_type(ask.content_type) in _PROTOBUF_TYPES
    try:
        receipt = await accept(await ask.read())
    except (PayloadError, StorageError) as exc:
        status, code = status_of_delivery(exc)
        _log_failure(exc, status)
        told = _told(exc, status)
        if binary:
            return Response(encode_rpc_status(code, told), status, _headers(status), "application/x-protobuf")
        return _json(status, {"code": code, "message": told})
    message = form.message(receipt)
    if binary:
        return Response(message.SerializeToString(), 200, media_type="application/x-protobuf")
    return _json(200, MessageToDict(message))

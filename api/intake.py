"""The ways in whose addresses and replies are those of other products, so that their senders need no more than an address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api.deliveries import Ask, EnvironmentQuery, KeyHeader, Refused, reply_json, took_nothing
from ingest import datadog, prometheus
from ingest.service import Delivery, Ingest, Receipt


def intake_router(ingest: Ingest, require: Callable[[str], Any]) -> APIRouter:
    """Build the router. `require("ingest")` must give a FastAPI dependency that refuses callers without that role."""
    router = APIRouter(dependencies=[Depends(require("ingest"))], tags=["ingest"])
    _add_datadog(router, ingest)
    _add_prometheus(router, ingest)
    return router


def _add_datadog(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/api/v2/logs")
    async def datadog_logs(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take logs as Datadog's intake does; its reply is empty where all were taken."""
        defaults = {name: value for name in datadog.DEFAULTS if (value := request.query_params.get(name, ""))}
        # Equal lines of two services that only the query tells apart are not one delivery sent twice.
        form = f"datadog {msgspec.json.encode(defaults).decode()}" if defaults else "datadog"

        async def accept(delivery: Delivery) -> Receipt:
            return await ingest.accept("logs", form, delivery, partial(datadog.decode_logs, defaults))

        receipt = await Ask(ingest, request, environment, idempotency_key, bulk=True).deliver(accept)
        if isinstance(receipt, Refused):
            return _datadog_error(receipt.status, [receipt.told], receipt.headers)
        if took_nothing(receipt):
            return _datadog_error(400, list(receipt.errors), {})
        told = {"rejected": receipt.rejected, "errors": receipt.errors} if receipt.rejected else {}
        return reply_json(202, told)

    @router.get("/api/v1/validate")
    async def datadog_validate() -> dict[str, bool]:
        """Tell an agent or a shipper that its key is good."""
        return {"valid": True}


def _datadog_error(status: int, details: list[str], headers: dict[str, str]) -> Response:
    errors = [{"status": str(status), "title": "not taken", "detail": detail} for detail in details]
    return reply_json(status, {"errors": errors}, headers)


def _add_prometheus(router: APIRouter, ingest: Ingest) -> None:
    @router.post("/api/v1/write")
    async def remote_write(
        request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = ""
    ) -> Response:
        """Take Prometheus remote write, 1.0 or 2.0: 204; 400 names what cannot be taken (the rest was); 429 and 503 ask
        for the same request again."""

        async def accept(delivery: Delivery) -> Receipt:
            return await ingest.accept("metrics", "prometheus", delivery, prometheus.decode_metrics)

        ask = Ask(ingest, request, environment, idempotency_key, bulk=True)
        receipt = await ask.deliver(accept)
        if isinstance(receipt, Refused):
            return Response(receipt.told, receipt.status, receipt.headers, "text/plain")
        # A sender of 2.0 that does not find these takes the receiver for one that does not understand 2.0.
        written = {
            "X-Prometheus-Remote-Write-Samples-Written": str(receipt.accepted + receipt.duplicate),
            "X-Prometheus-Remote-Write-Histograms-Written": "0",
            "X-Prometheus-Remote-Write-Exemplars-Written": "0",
        }
        if receipt.rejected:
            return Response("; ".join(receipt.errors), 400, written, "text/plain")
        return Response(status_code=204, headers=written)

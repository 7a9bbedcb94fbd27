"""The ways in whose addresses and replies are those of other products, so that their senders need no more than an address."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api.deliveries import Ask, EnvironmentQuery, KeyHeader, Refused, reply_json, took_nothing
from ingest import datadog
from ingest.service import Delivery, Ingest, Receipt


def intake_router(ingest: Ingest, require: Callable[[str], Any]) -> APIRouter:
    """Build the router. `require("ingest")` must give a FastAPI dependency that refuses callers without that role."""
    router = APIRouter(dependencies=[Depends(require("ingest"))], tags=["ingest"])
    _add_datadog(router, ingest)
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

        receipt = await Ask(ingest, request, environment, idempotency_key).deliver(accept)
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

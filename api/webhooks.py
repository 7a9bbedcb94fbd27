"""Webhooks of others: Amazon SNS and Firehose, GitHub's deployments, Argo CD.

SNS and GitHub cannot send a key; their signatures stand in for it, and are checked on the bytes as they came.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import msgspec
from fastapi import APIRouter, Depends, Request, Response

from api.deliveries import Accept, Ask, EnvironmentQuery, KeyHeader, Refused, reply_json, took_nothing
from domain.errors import PayloadError
from domain.settings import Settings
from ingest import cloudwatch, deployments
from ingest.alert_sources import with_payload
from ingest.service import Delivery, Ingest, Receipt
from ingest.sns import Fetch, SnsGate, SnsMessage, read_topics
from storage.blobs import BlobStore

_SNS_BYTES = 512 * 1024  # SNS sends 256 kB at most, and quotes some of them
_GITHUB_BYTES = 2 * 1024 * 1024


def webhooks_router(
    ingest: Ingest,
    require: Callable[[str], Any],
    settings: Settings,
    fetch: Fetch,
    payloads: BlobStore | None = None,
) -> APIRouter:
    """Build the router. `fetch` gets SNS's certificates, `payloads` keeps alarms as they came. Raises SettingsError."""
    router = APIRouter(tags=["ingest"])
    may_ingest = [Depends(require("ingest"))]
    _add_sns(router, ingest, SnsGate(read_topics(settings.sns_topics), fetch), payloads)
    _add_firehose(router, ingest, may_ingest)
    _add_github(router, ingest, settings.github_secret)
    _add_argocd(router, ingest, may_ingest)
    return router


def _add_sns(router: APIRouter, ingest: Ingest, gate: SnsGate, payloads: BlobStore | None) -> None:
    @router.post("/ingest/sns")
    async def sns(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take alarms and logs of CloudWatch from a topic in CAUSEGRAPH_SNS_TOPICS; needs SNS's signature, and no key."""

        async def accept(delivery: Delivery) -> Receipt:
            message = await gate.check(delivery.body)
            if message.kind == "Notification":
                return await _accept_notification(ingest, delivery, message, payloads)
            if message.kind == "SubscriptionConfirmation":
                await gate.confirm(message)
            return Receipt(0, 0, 0, (), 0)

        return await _answer(Ask(ingest, request, environment, max_bytes=_SNS_BYTES), accept)


async def _accept_notification(
    ingest: Ingest, delivery: Delivery, message: SnsMessage, payloads: BlobStore | None
) -> Receipt:
    inner = Delivery(
        message.text.encode("utf-8", "replace"),
        "application/json",
        environment=delivery.environment,
        idempotency_key=message.id,
    )
    if cloudwatch.is_alarm(message.text):
        kept = await payloads.keep(delivery.body) if payloads else ""
        return await ingest.accept("alerts", "sns", inner, with_payload(cloudwatch.decode_alarm, kept))
    try:
        body = cloudwatch.unwrap_subscription(inner.body, ingest.max_body_bytes)
        return await ingest.accept("logs", "sns", replace(inner, body=body), cloudwatch.decode_subscription)
    except PayloadError as exc:
        raise PayloadError(f"The notification holds neither an alarm nor logs of CloudWatch: {exc}") from exc


def _add_firehose(router: APIRouter, ingest: Ingest, may_ingest: list[Any]) -> None:
    @router.post("/ingest/firehose", dependencies=may_ingest)
    async def firehose(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take CloudWatch logs from the HTTP endpoint of Amazon Data Firehose; its access key is the API key."""
        request_id = request.headers.get("x-amz-firehose-request-id", "")[:200]
        named = _common_attributes(request).get("environment", environment)

        async def accept(delivery: Delivery) -> Receipt:
            decode = partial(cloudwatch.decode_firehose, ingest.max_body_bytes)
            return await ingest.accept("logs", "firehose", delivery, decode)

        receipt = await Ask(ingest, request, str(named), request_id).deliver(accept)
        reply: dict[str, Any] = {"requestId": request_id, "timestamp": time.time_ns() // 1_000_000}
        if isinstance(receipt, Refused):
            return reply_json(receipt.status, {**reply, "errorMessage": receipt.told}, receipt.headers)
        if took_nothing(receipt):
            return reply_json(400, {**reply, "errorMessage": "; ".join(receipt.errors)})
        return reply_json(200, reply)


def _common_attributes(request: Request) -> dict[str, Any]:
    try:
        said = msgspec.json.decode(request.headers.get("x-amz-firehose-common-attributes", "{}"))
    except (msgspec.DecodeError, RecursionError):
        return {}
    found = said.get("commonAttributes") if isinstance(said, dict) else None
    return found if isinstance(found, dict) else {}


def _add_github(router: APIRouter, ingest: Ingest, secret: str) -> None:
    @router.post("/ingest/changes/github")
    async def github(request: Request, environment: EnvironmentQuery = "") -> Response:
        """Take GitHub's `deployment` and `deployment_status` events; needs the signature of CAUSEGRAPH_GITHUB_SECRET."""
        event = request.headers.get("x-github-event", "")

        async def accept(delivery: Delivery) -> Receipt:
            deployments.check_github_signature(secret, delivery.body, request.headers.get("x-hub-signature-256", ""))
            if event not in deployments.GITHUB_EVENTS:
                return Receipt(0, 0, 0, (f"events of the kind {event[:64]!r} are not looked at",), 0)
            return await ingest.accept("changes", "github", delivery, deployments.decode_github)

        return await _answer(Ask(ingest, request, environment, max_bytes=_GITHUB_BYTES), accept)


def _add_argocd(router: APIRouter, ingest: Ingest, may_ingest: list[Any]) -> None:
    @router.post("/ingest/changes/argocd", dependencies=may_ingest)
    async def argocd(request: Request, environment: EnvironmentQuery = "", idempotency_key: KeyHeader = "") -> Response:
        """Take Argo CD's notifications: `{"app": <the Application>}`."""

        async def accept(delivery: Delivery) -> Receipt:
            return await ingest.accept("changes", "argocd", delivery, deployments.decode_argocd)

        return await _answer(Ask(ingest, request, environment, idempotency_key, _GITHUB_BYTES), accept)


async def _answer(ask: Ask, accept: Accept) -> Response:
    receipt = await ask.deliver(accept)
    if isinstance(receipt, Refused):
        return reply_json(receipt.status, {"error": receipt.told}, receipt.headers)
    return reply_json(400 if took_nothing(receipt) else 200, asdict(receipt))

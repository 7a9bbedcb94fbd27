"""`POST /ingest/alerts/{source}`: the webhooks that tell of alerts.

A sender is known by its signature, by a key in a header or as the password of basic authentication, or by a key of the role
`alert` in the address. Nothing else is taken. The body is kept as it came, and the alert is acknowledged once it is durable;
grouping and investigating are done afterwards, from the database.
"""

from __future__ import annotations

import logging
import time
from typing import Annotated

from blake3 import blake3
from fastapi import APIRouter, Query, Request, Response

from api.auth import Gate
from api.deliveries import Ask, EnvironmentQuery, KeyHeader, answer_json
from domain.errors import StorageUnavailable
from ingest.alert_sources import AlertSources, with_payload
from ingest.compression import decompress
from ingest.service import Delivery, Ingest, Receipt
from storage.blobs import BlobStore

logger = logging.getLogger(__name__)

_SIGNED_BYTES = 1024 * 1024  # until it is known who sent it
_KEYED_BYTES = 16 * 1024 * 1024


def alerts_router(ingest: Ingest, gate: Gate, sources: AlertSources, payloads: BlobStore) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["ingest"])

    @router.post("/ingest/alerts/{source}")
    async def alerts(
        request: Request,
        source: str,
        environment: EnvironmentQuery = "",
        idempotency_key: KeyHeader = "",
        token: Annotated[str, Query(description="A key of the role `alert`, for senders that know no headers.")] = "",
    ) -> Response:
        """Take alerts: alertmanager, grafana, pagerduty, opsgenie, datadog, sentry, cloudevents, generic, or a source of
        CAUSEGRAPH_ALERT_MAPPINGS."""
        signing = sources.signing(source)
        signature = request.headers.get(signing.scheme.header, "") if signing else ""
        if not signature:
            await gate.check_alert_key(request, token)

        async def accept(delivery: Delivery) -> Receipt:
            body = delivery.body
            if signing is not None and signature:
                timestamp = request.headers.get(signing.scheme.timestamp_header or "date", "")
                signing.scheme.check(signing.secrets, body, signature, timestamp, time.time())
            plain = decompress(body, delivery.content_encoding, _KEYED_BYTES)
            read = sources.read(source, plain, delivery.content_type, request.headers, signed=bool(signature))
            kept = await keep_payload(payloads, body)
            taken = Delivery(
                plain,
                delivery.content_type,
                environment=delivery.environment,
                idempotency_key=read.key or ("" if signature else delivery.idempotency_key),
            )
            return await ingest.accept("alerts", source, taken, with_payload(read.decode, kept))

        bound = _SIGNED_BYTES if signature else _KEYED_BYTES
        return await answer_json(Ask(ingest, request, environment, idempotency_key, bound), accept)

    return router


async def keep_payload(payloads: BlobStore, body: bytes) -> str:
    """Keep a body as it came and return its digest; where the database is away, the file alone has to do."""
    try:
        return await payloads.put(body)
    except StorageUnavailable as exc:
        logger.warning("A payload is kept but not listed", extra={"reason": str(exc)})
        return blake3(body).hexdigest()

"""`POST /ingest/alerts/{source}`: the webhooks that tell of alerts.

A sender is known by its signature, by a key in a header or as the password of basic authentication, or by a key of the role
`alert` in the address. Nothing else is taken. The body is kept as it came, and the alert is acknowledged once it is durable;
grouping and investigating are done afterwards, from the database.
"""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.auth import Gate
from api.deliveries import Ask, EnvironmentQuery, KeyHeader, answer_json
from ingest.alert_sources import AlertSources, with_payload
from ingest.compression import decompress
from ingest.service import Delivery, Ingest, Receipt
from storage.blobs import BlobStore

_SIGNED_BYTES = 1024 * 1024  # until it is known who sent it
_KEYED_BYTES = 16 * 1024 * 1024
_PATIENCE = 0.4  # Sentry gives up after a second


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
            kept = await payloads.keep(body)
            taken = Delivery(
                plain,
                delivery.content_type,
                environment=delivery.environment,
                idempotency_key=read.key or ("" if signature else delivery.idempotency_key),
                patience=_PATIENCE,
            )
            return await ingest.accept("alerts", source, taken, with_payload(read.decode, kept))

        bound = _SIGNED_BYTES if signature else _KEYED_BYTES
        return await answer_json(Ask(ingest, request, environment, idempotency_key, bound), accept)

    return router

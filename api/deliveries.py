"""A request's body on its way to `Ingest`, and what its sender is told when it cannot be taken."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from typing import Annotated

import msgspec
from fastapi import Header, Query, Request, Response

from api.errors import told_body
from api.rpc_status import RETRY_AFTER_SECONDS, RETRYABLE, status_of_delivery
from domain.errors import AccessError, PayloadError, PayloadTooLarge, StorageError
from ingest.service import Delivery, Ingest, Receipt

logger = logging.getLogger(__name__)

_MINIMAL = "return=minimal"  # RFC 7240

type Accept = Callable[[Delivery], Awaitable[Receipt]]
type EnvironmentQuery = Annotated[str, Query(description="Environment of records that name none.")]
type KeyHeader = Annotated[str, Header(alias="Idempotency-Key", description="Equal keys are one delivery sent twice.")]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a delivery was not taken: the HTTP status, the google.rpc.Code, and the words for its sender."""

    status: int
    code: int
    told: str

    @property
    def headers(self) -> dict[str, str]:
        """Return when to send it again, where that makes sense."""
        return {"Retry-After": str(RETRY_AFTER_SECONDS)} if self.status in RETRYABLE else {}


class Ask:
    """A request whose body has not been read yet. `bulk`: the reply to it holds no counts of what was new."""

    def __init__(
        self,
        ingest: Ingest,
        request: Request,
        environment: str = "",
        idempotency_key: str = "",
        max_bytes: int = 0,
        bulk: bool = False,
    ) -> None:
        self.content_type = request.headers.get("content-type", "")
        self._max_bytes = min(max_bytes or ingest.max_body_bytes, ingest.max_body_bytes)
        self._request = request
        self._environment = environment
        self._idempotency_key = idempotency_key
        self._bulk = bulk or _MINIMAL in request.headers.get("prefer", "")

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
            bulk=self._bulk,
        )

    async def deliver(self, accept: Accept) -> Receipt | Refused:
        """Read the body and hand it over."""
        try:
            return await accept(await self.read())
        except (PayloadError, StorageError, AccessError) as exc:
            return told_refusal(exc)


def told_refusal(exc: PayloadError | StorageError | AccessError) -> Refused:
    """Return what the sender of a delivery is told that could not be taken."""
    status, code = status_of_delivery(exc)
    if status >= 500:
        logger.error("A delivery was not stored.", extra={"reason": str(exc), "status": status})
    return Refused(status, code, told_body(exc, status)["message"])


async def answer_json(ask: Ask, accept: Accept) -> Response:
    """Hand a body over and tell its sender as JSON what became of it."""
    receipt = await ask.deliver(accept)
    if isinstance(receipt, Refused):
        return reply_json(receipt.status, {"error": receipt.told}, receipt.headers)
    reply = asdict(receipt)
    for name in ("ids", "spooled", "dead_letter"):
        if not reply[name]:
            del reply[name]
    return reply_json(400 if took_nothing(receipt) else 200, reply)


def took_nothing(receipt: Receipt) -> bool:
    """Say whether there were records, and all of them were bad."""
    return bool(receipt.rejected) and not (receipt.accepted or receipt.duplicate)


def reply_json(status: int, value: object, headers: dict[str, str] | None = None) -> Response:
    """Return a value as JSON."""
    return Response(msgspec.json.encode(value), status, headers or {}, "application/json")

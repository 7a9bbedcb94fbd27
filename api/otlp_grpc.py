"""OTLP over gRPC: the Export services of logs, traces and metrics, on a port of their own.

Requests stay bytes until `Ingest` decodes them in a thread. The services are declared as client-streaming, which a
sender of one message cannot tell from the unary calls of the specification: so the key is checked before the message
is read.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc

from api.otlp_replies import LOGS, METRICS, TRACES, OtlpReply
from api.rpc_status import (
    INTERNAL,
    RESOURCE_EXHAUSTED,
    RETRY_AFTER_SECONDS,
    RETRYABLE,
    encode_retry_info,
    encode_rpc_status,
    status_of_delivery,
)
from domain.addresses import Address
from domain.errors import AccessError, CausegraphError, PayloadError, SettingsError
from ingest.otlp import PROTOBUF
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source
from storage.keys import KeyStore

logger = logging.getLogger(__name__)

_PACKAGE = "opentelemetry.proto.collector"
_IN_FLIGHT = 64  # requests whose body is being read or written; more are told to come again
_STOP_SECONDS = 5.0
_CODES = {code.value[0]: code for code in grpc.StatusCode}

type _Accept = Callable[[Delivery], Awaitable[Receipt]]


class OtlpGrpc:
    """The three services on one set of stores. `notify` is called after each delivery that was taken."""

    def __init__(self, ingest: Ingest, keys: KeyStore, source: Source, notify: Callable[[], None]) -> None:
        self._ingest = ingest
        self._keys = keys
        self._source = source
        self._notify = notify
        self._in_flight = 0

    @asynccontextmanager
    async def listening(self, address: Address) -> AsyncIterator[Address]:
        """Take requests for as long as the block lasts; gives the address with its real port. Raises SettingsError."""
        # Without so_reuseport=0 a second program could listen on the same port and take half of the requests.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._ingest.max_body_bytes)]
        server = grpc.aio.server(options=options)
        server.add_generic_rpc_handlers(
            (
                self._service("logs.v1.LogsService", self._ingest.accept_otlp_logs, LOGS),
                self._service("trace.v1.TraceService", self._ingest.accept_otlp_traces, TRACES),
                self._service("metrics.v1.MetricsService", self._ingest.accept_otlp_metrics, METRICS),
            )
        )
        try:
            port = server.add_insecure_port(str(address))
        except RuntimeError as exc:
            raise SettingsError(
                f"{address} cannot be listened on: another program may use it. Choose another with "
                "CAUSEGRAPH_GRPC_LISTEN=host:port, or switch OTLP over gRPC off with CAUSEGRAPH_GRPC_LISTEN=off."
            ) from exc
        await server.start()
        try:
            yield Address(address.host, port)
        finally:
            await server.stop(_STOP_SECONDS)

    def _service(self, name: str, accept: _Accept, reply: OtlpReply) -> Any:
        async def export(_: Any, context: Any) -> bytes:
            return await self._export(context, accept, reply)

        methods = {"Export": grpc.stream_unary_rpc_method_handler(export)}
        return grpc.method_handlers_generic_handler(f"{_PACKAGE}.{name}", methods)

    async def _export(self, context: Any, accept: _Accept, reply: OtlpReply) -> bytes:
        if self._in_flight >= _IN_FLIGHT:
            self._source.counts["turned away"] += 1
            await _refuse(context, RESOURCE_EXHAUSTED, "Too many requests at once.", again=True)
        self._in_flight += 1
        try:
            receipt = await accept(await self._read(context))
        except CausegraphError as exc:
            await self._refuse_error(context, exc)
        except Exception:  # the outermost loop of a request
            logger.exception("A delivery over gRPC failed.")
            await _refuse(context, INTERNAL, "Something unexpected went wrong; the server's log has the details.")
        finally:
            self._in_flight -= 1
        self._source.count(receipt)
        self._notify()
        content: bytes = reply.message(receipt).SerializeToString()
        return content

    async def _read(self, context: Any) -> Delivery:
        said = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        await self._check_key(said)
        body = await context.read()
        if body is grpc.aio.EOF:
            raise PayloadError("The request has no message.")
        return Delivery(
            body=body,
            content_type=PROTOBUF,
            environment=said.get("environment", ""),
            idempotency_key=said.get("idempotency-key", ""),
            bulk=True,
        )

    async def _check_key(self, said: dict[str, str]) -> None:
        secret = said.get("x-api-key", "").strip()
        scheme, _, value = said.get("authorization", "").partition(" ")
        if not secret and scheme.lower() == "bearer":
            secret = value.strip()
        key = await self._keys.check(secret) if secret else None
        if key is None:
            raise AccessError("Send an API key with the role ingest as the metadata `x-api-key`.")
        if not key.may("ingest"):
            raise AccessError(f"This key has the role {key.role!r}; this needs 'ingest'.")

    async def _refuse_error(self, context: Any, exc: CausegraphError) -> NoReturn:
        status, code = status_of_delivery(exc)
        told = exc if status < 500 else type(exc)()
        self._source.counts["refused"] += 1
        if status >= 500:
            logger.error("A delivery was not stored.", extra={"reason": str(exc), "status": status})
        await _refuse(context, code, str(told), again=status in RETRYABLE)


async def _refuse(context: Any, code: int, message: str, again: bool = False) -> NoReturn:
    """End a call with an error; `again` asks for the same bytes once more, after a while."""
    if again:
        # Collectors and most SDKs read the status, the Python SDK the bare RetryInfo.
        details = encode_rpc_status(code, message, RETRY_AFTER_SECONDS)
        bare = encode_retry_info(RETRY_AFTER_SECONDS)
        context.set_trailing_metadata((("grpc-status-details-bin", details), ("google.rpc.retryinfo-bin", bare)))
    await context.abort(_CODES[code], message[:1000])
    raise AssertionError("abort raises")

"""Errors as OTLP tells them: the HTTP status, the google.rpc.Code, and a google.rpc.Status with its RetryInfo.

`opentelemetry-proto` has no messages for the latter two, so the few bytes are written here.
"""

from __future__ import annotations

from domain.errors import (
    AccessError,
    CausegraphError,
    PayloadError,
    PayloadTooLarge,
    StorageBusy,
    StorageFull,
    StorageUnavailable,
    UnsupportedMediaType,
)

RETRY_AFTER_SECONDS = 5

# google.rpc.Code
INVALID_ARGUMENT, RESOURCE_EXHAUSTED, INTERNAL, UNAVAILABLE, UNAUTHENTICATED = 3, 8, 13, 14, 16

# The HTTP statuses after which the same bytes are to be sent again.
RETRYABLE = frozenset((429, 503))

_RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo"


def status_of_delivery(error: CausegraphError) -> tuple[int, int]:
    """Return the HTTP status and the google.rpc.Code of an error that a delivery met."""
    match error:
        case AccessError():
            return 401, UNAUTHENTICATED
        case PayloadTooLarge():
            return 413, INVALID_ARGUMENT
        case UnsupportedMediaType():
            return 415, INVALID_ARGUMENT
        case PayloadError():
            return 400, INVALID_ARGUMENT
        case StorageUnavailable():
            return 503, UNAVAILABLE
        case StorageBusy():
            return 429, RESOURCE_EXHAUSTED
        case StorageFull():
            return 503, RESOURCE_EXHAUSTED
        case _:
            return 500, INTERNAL


def encode_rpc_status(code: int, message: str, retry_seconds: int = 0) -> bytes:
    """Return a google.rpc.Status; with `retry_seconds` its details say when to send again."""
    status = b"\x08" + _varint(code) + _field(2, message.encode("utf-8", "replace"))
    if retry_seconds:
        detail = _field(1, _RETRY_INFO.encode()) + _field(2, encode_retry_info(retry_seconds))
        status += _field(3, detail)
    return status


def encode_retry_info(seconds: int) -> bytes:
    """Return a google.rpc.RetryInfo."""
    return _field(1, b"\x08" + _varint(seconds))


def _field(number: int, content: bytes) -> bytes:
    return bytes([number << 3 | 2]) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)

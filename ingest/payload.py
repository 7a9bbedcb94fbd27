"""Raw request bodies to bytes and JSON values: decompression within a bound, JSON arrays, single objects and NDJSON.

`Decoded` is what every decoder of this folder makes of such a body.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from typing import Any

import msgspec
import zstandard

from domain.errors import PayloadError, PayloadTooLarge, UnsupportedMediaType

MAX_ERRORS = 20
_PIECE = 256 * 1024
_ZSTD_STEP = 128  # bytes; one byte can stand for 32 kB, and the decompressor gives all of it at once
_ZSTD_WINDOW = 1 << 23  # bytes; RFC 8878 asks decoders for 8 MB and senders for no more

_NDJSON_TYPES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_JSON_TYPES = {"", "application/json", "text/json", "text/plain"}


@dataclass(slots=True)
class Decoded[R]:
    """The records of a payload, and what was wrong with those that could not be taken.

    `undated` holds the indexes of records that had no time and were given that of their arrival.
    """

    records: list[R] = field(default_factory=list)
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    undated: set[int] = field(default_factory=set)

    def reject(self, reason: str, count: int = 1) -> None:
        """Count records that are not taken; the first reasons are kept for the sender."""
        self.rejected += count
        self.note(reason)

    def note(self, reason: str) -> None:
        """Tell the sender something, if not much was told yet."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(reason[:500])


def media_type(content_type: str) -> str:
    """Return the bare, lower-case media type of a Content-Type header."""
    return content_type.partition(";")[0].strip().lower()


def decompress(body: bytes, content_encoding: str, max_bytes: int) -> bytes:
    """Undo Content-Encoding (gzip, zstd, identity, or several, last applied first) without growing over `max_bytes`.

    Raises PayloadTooLarge, PayloadError for a stream that is broken or cut short, UnsupportedMediaType for another
    encoding.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    for name in reversed([name for name in names if name and name != "identity"]):
        match name:
            case "gzip" | "x-gzip":
                body = _gunzip(body, max_bytes)
            case "zstd":
                body = _unzstd(body, max_bytes)
            case _:
                raise UnsupportedMediaType(f"Content-Encoding {name[:32]!r} is not taken: use gzip, zstd or identity.")
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def parse_json(body: bytes, content_type: str = "") -> Any:
    """Return the value of a JSON body; NDJSON becomes a list.

    Raises UnsupportedMediaType, or PayloadError that says where the text stops being JSON (for NDJSON, the line).
    """
    kind = media_type(content_type)
    if kind in _NDJSON_TYPES:
        return _parse_lines(body)
    if kind not in _JSON_TYPES and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"Content-Type {kind[:64]!r} is not taken: send application/json or application/x-ndjson."
        )
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        if _looks_like_lines(body):
            return _parse_lines(body)
        raise PayloadError(f"The body is not JSON: {exc}") from exc


def parse_records(body: bytes, content_type: str = "") -> list[Any]:
    """Return the records of a JSON body: an array, one object, or one object a line."""
    value = parse_json(body, content_type)
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise PayloadError("The body must be a JSON array of objects, one object, or NDJSON.")


def _looks_like_lines(body: bytes) -> bool:
    first, newline, rest = body.lstrip().partition(b"\n")
    if not newline or not rest.strip() or not first.startswith(b"{"):
        return False
    try:
        msgspec.json.decode(first)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _parse_lines(body: bytes) -> list[Any]:
    values = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            values.append(msgspec.json.decode(line))
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
            raise PayloadError(f"Line {number} of the NDJSON body is not JSON: {exc}") from exc
    return values


def _gunzip(body: bytes, max_bytes: int) -> bytes:
    out = bytearray()
    rest = body
    while rest:
        unzip = zlib.decompressobj(wbits=31)
        try:
            while not unzip.eof:
                piece = unzip.decompress(rest, _PIECE)
                rest = unzip.unconsumed_tail
                out += piece
                if len(out) > max_bytes:
                    raise _too_large(max_bytes)
                if not piece and not rest and not unzip.eof:
                    raise PayloadError("The gzip body ends too early.")
        except zlib.error as exc:
            raise PayloadError(f"The body is not gzip: {exc}") from exc
        rest = unzip.unused_data
    if not body:
        raise PayloadError("The gzip body is empty.")
    return bytes(out)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    out = bytearray()
    rest = body
    while rest:
        unzip = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        try:
            for at in range(0, len(rest), _ZSTD_STEP):
                out += unzip.decompress(rest[at : at + _ZSTD_STEP])
                if len(out) > max_bytes:
                    raise _too_large(max_bytes)
                if unzip.eof:
                    break
        except zstandard.ZstdError as exc:
            raise PayloadError(f"The body is not zstd: {exc}") from exc
        if not unzip.eof:
            raise PayloadError("The zstd body ends too early.")
        rest = unzip.unused_data + rest[at + _ZSTD_STEP :]
    if not body:
        raise PayloadError("The zstd body is empty.")
    return bytes(out)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The payload is larger than {max_bytes} bytes after decompression (CAUSEGRAPH_MAX_BODY_BYTES): "
        "send smaller batches."
    )

"""Undoes compression without growing over a bound, and in time that is linear in what comes in and goes out."""

from __future__ import annotations

import zlib

import cramjam
import zstandard

from domain.errors import PayloadError, PayloadTooLarge, UnsupportedMediaType

_PIECE, _GIVEN = 64 * 1024, 256 * 1024  # bytes in and out at a time
_ZSTD_STEP = 128  # bytes; one byte can stand for 32 kB, and the decompressor gives all of it at once
_ZSTD_WINDOW = 1 << 23  # bytes; RFC 8878 asks decoders for 8 MB and senders for no more
# Frames and members may be empty: without a bound, a body of nothing but their headers would keep a thread for minutes.
_FRAMES = 4096
_GZIP, _ZLIB, _RAW = 31, 15, -15


def decompress(body: bytes, content_encoding: str, max_bytes: int) -> bytes:
    """Undo Content-Encoding (gzip, deflate, zstd, snappy, identity, or several, last applied first) within `max_bytes`.

    Raises PayloadTooLarge, PayloadError for a stream that is broken or cut short, UnsupportedMediaType for another
    encoding.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    applied = [name for name in names if name and name != "identity"]
    if len(applied) > 4:
        raise UnsupportedMediaType("More than four Content-Encodings are not taken.")
    for name in reversed(applied):
        match name:
            case "gzip" | "x-gzip":
                body = _inflate(body, max_bytes, _GZIP, "gzip")
            case "deflate":
                body = _inflate(body, max_bytes, _ZLIB if _is_zlib(body) else _RAW, "deflate")
            case "zstd":
                body = _unzstd(body, max_bytes)
            case "snappy":
                body = unsnappy(body, max_bytes)
            case _:
                told = f"Content-Encoding {name[:32]!r} is not taken: use gzip, deflate, zstd, snappy or identity."
                raise UnsupportedMediaType(told)
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def unsnappy(body: bytes, max_bytes: int) -> bytes:
    """Undo Snappy's block format, whose first bytes state the size of what comes out; raises as `decompress`."""
    size = 0
    for at, byte in enumerate(body[:5]):
        size |= (byte & 0x7F) << 7 * at
        if byte < 0x80:
            break
    else:
        raise PayloadError("The body is not snappy: it has no length.")
    if size > max_bytes:
        raise _too_large(max_bytes)
    try:
        return bytes(cramjam.snappy.decompress_raw(body, output_len=size) if size else b"")
    except cramjam.DecompressionError as exc:
        raise PayloadError(f"The body is not snappy: {exc}") from exc


def _is_zlib(body: bytes) -> bool:
    """Say whether a deflate stream has zlib's header, as it should; some senders leave it out."""
    return len(body) > 1 and body[0] & 0x0F == 8 and int.from_bytes(body[:2]) % 31 == 0


def _inflate(body: bytes, max_bytes: int, wbits: int, name: str) -> bytes:
    out, view, at, members = bytearray(), memoryview(body), 0, 0
    if not body:
        raise PayloadError(f"The {name} body is empty.")
    try:
        while at < len(view):
            members += 1
            if members > _FRAMES:
                raise PayloadError(f"The {name} body has more than {_FRAMES} members.")
            unzip = zlib.decompressobj(wbits)
            while not unzip.eof:
                if at >= len(view):
                    raise PayloadError(f"The {name} body ends too early.")
                piece: bytes | memoryview = view[at : at + _PIECE]
                at += len(piece)
                got = _GIVEN
                # Output that was held back comes although there is no more input.
                while not unzip.eof and (piece or got == _GIVEN):
                    more = unzip.decompress(piece, _GIVEN)
                    out += more
                    if len(out) > max_bytes:
                        raise _too_large(max_bytes)
                    piece, got = unzip.unconsumed_tail, len(more)
            at -= len(unzip.unused_data)
            if wbits != _GZIP and at < len(view):
                raise PayloadError(f"The {name} body goes on after its end.")
    except zlib.error as exc:
        raise PayloadError(f"The body is not {name}: {exc}") from exc
    return bytes(out)


def _unzstd(body: bytes, max_bytes: int) -> bytes:
    out, at, frames = bytearray(), 0, 0
    if not body:
        raise PayloadError("The zstd body is empty.")
    while at < len(body):
        frames += 1
        if frames > _FRAMES:
            raise PayloadError(f"The zstd body has more than {_FRAMES} frames.")
        unzip = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW).decompressobj()
        while not unzip.eof:
            if at >= len(body):
                raise PayloadError("The zstd body ends too early.")
            try:
                out += unzip.decompress(body[at : at + _ZSTD_STEP])
            except zstandard.ZstdError as exc:
                raise PayloadError(f"The body is not zstd: {exc}") from exc
            at = min(at + _ZSTD_STEP, len(body))
            if len(out) > max_bytes:
                raise _too_large(max_bytes)
        at -= len(unzip.unused_data)
    return bytes(out)


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(
        f"The payload is larger than {max_bytes} bytes after decompression (CAUSEGRAPH_MAX_BODY_BYTES): "
        "send smaller batches."
    )

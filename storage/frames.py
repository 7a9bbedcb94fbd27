"""A batch as the bytes of one frame of the spool: a small head that is read often, and the records, compressed.

The records are kept by the names of their fields, so that a newer program reads what an older one has left.
"""

from __future__ import annotations

import struct
from typing import Self

import msgspec
import zstandard

from domain.errors import StorageError
from storage.batch import Batch, Kind

_SIZE = struct.Struct(">H")
_encode = msgspec.msgpack.Encoder().encode
_LEVEL = 1  # a tenth of the bytes to sync, for about a microsecond a record


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a delivery without reading its records."""

    environment: str
    kind: Kind
    key: str
    records: int
    rejected: int
    received_us: int

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Return the head of a batch."""
        return cls(batch.environment, batch.kind, batch.key, batch.records, batch.rejected, batch.received_us)

    @property
    def delivery(self) -> tuple[str, str, str]:
        """What a retry has in common with it."""
        return self.environment, self.kind, self.key


_decode_head = msgspec.msgpack.Decoder(Head).decode
_decode_batch = msgspec.msgpack.Decoder(Batch).decode


def encode_frame(batch: Batch) -> bytes:
    """Return the payload of a batch's frame."""
    head = _encode(Head.of(batch))
    return _SIZE.pack(len(head)) + head + zstandard.ZstdCompressor(level=_LEVEL).compress(_encode(batch))


def read_head(payload: bytes) -> Head:
    """Return the head of a frame; raises StorageError for bytes that are none."""
    try:
        return _decode_head(payload[_SIZE.size : _SIZE.size + _SIZE.unpack_from(payload)[0]])
    except (struct.error, msgspec.DecodeError) as exc:
        raise StorageError(f"A delivery in the spool cannot be read: {exc}") from exc


def decode_frame(payload: bytes) -> Batch:
    """Return the batch of a frame; raises StorageError for one that another version wrote and this one cannot read."""
    try:
        start = _SIZE.size + _SIZE.unpack_from(payload)[0]
        return _decode_batch(zstandard.ZstdDecompressor().decompress(payload[start:]))
    except (struct.error, msgspec.DecodeError, zstandard.ZstdError) as exc:
        raise StorageError(f"A delivery in the spool cannot be read: {exc}") from exc

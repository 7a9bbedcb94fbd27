"""The facts of a file, by the names that the indexer uses, and their one spelling as bytes."""

from __future__ import annotations

import msgspec

from domain.code import CallSite, Chunk, FileFacts, Import, LogStatement, Symbol

__all__ = ["CallSite", "Chunk", "FileFacts", "Import", "LogStatement", "Symbol", "pack_facts", "unpack_facts"]

_DECODER = msgspec.msgpack.Decoder(FileFacts)


def pack_facts(facts: FileFacts) -> bytes:
    """Return facts as bytes, for another process or for the store."""
    return msgspec.msgpack.encode(facts)


def unpack_facts(packed: bytes) -> FileFacts:
    """Return the facts that `pack_facts` packed with the same FACTS_VERSION; raises msgspec.DecodeError for others."""
    return _DECODER.decode(packed)

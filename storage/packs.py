"""Packs: many small entries of the prompt store in one immutable object.

    "CGP1" | u32 length of the index | the index, zstd | the entries, one after the other

The index is columns: kinds, lengths, dictionaries, and the keys of chunks and lists. The keys of nodes are not stored: a node's
key is the hash of its parent's and its message's. References are numbers of entries, in this pack or in one it names.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import zstandard

from domain.errors import StorageError

type Ref = tuple[str, int]  # the name of a pack ("" while it is not written) and the number of an entry in it

KEY_BYTES: Final = 20
CHUNK, LIST, NODE, DICTIONARY = range(4)
_MAGIC = b"CGP1"
_LARGEST_INDEX = 1 << 28


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry to be written. `refs` are (pack name, number); an empty name means this pack."""

    kind: int
    key: bytes
    body: bytes = b""
    dictionary: Ref | None = None
    refs: tuple[Ref, ...] = ()


class _Index(msgspec.Struct, array_like=True):
    packs: list[str] = []
    kinds: bytes = b""
    lengths: list[int] = []
    dictionaries: list[int] = []
    keys: bytes = b""
    refs: list[list[int]] = []


@dataclass(slots=True)
class Pack:
    """A pack's index: where its entries are, and what they refer to. The keys of nodes are filled in by the reader."""

    name: str
    kinds: bytes
    starts: list[int]
    keys: list[bytes] = field(default_factory=list)
    refs: list[tuple[Ref, ...]] = field(default_factory=list)
    dictionaries: list[Ref | None] = field(default_factory=list)

    def needs(self) -> set[str]:
        """Return the names of the other packs that this one refers to."""
        named = {ref[0] for refs in self.refs for ref in refs} | {ref[0] for ref in self.dictionaries if ref}
        return named - {self.name}


def write_pack(entries: Sequence[Entry]) -> bytes:
    """Return the pack of some entries."""
    packs: dict[str, int] = {}

    def place(ref: Ref) -> list[int]:
        # 0 is this pack; numbers in it are told as they are.
        return [0 if not ref[0] else packs.setdefault(ref[0], len(packs) + 1), ref[1]]

    index = _Index(kinds=bytes(entry.kind for entry in entries))
    index.lengths = [len(entry.body) for entry in entries]
    index.dictionaries = [n for e in entries for n in (place(e.dictionary) if e.dictionary else [0, -1])]
    index.keys = b"".join(entry.key for entry in entries if entry.kind != NODE)
    index.refs = [
        [n for ref in entry.refs for n in place(ref)] for entry in entries if entry.refs or entry.kind == NODE
    ]
    index.packs = list(packs)
    packed = zstandard.ZstdCompressor(level=12).compress(msgspec.msgpack.encode(index))
    return b"".join((_MAGIC, struct.pack("<I", len(packed)), packed, *(entry.body for entry in entries)))


def read_pack(name: str, content: bytes) -> Pack:
    """Return a pack from its bytes; raises StorageError for what is none."""
    try:
        if content[:4] != _MAGIC:
            raise ValueError("it does not begin like one")
        (size,) = struct.unpack_from("<I", content, 4)
        packed = content[8 : 8 + size]
        if not 0 <= zstandard.frame_content_size(packed) <= _LARGEST_INDEX:
            raise ValueError("its index claims an absurd size")
        index = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(packed), type=_Index)
        return _from_index(name, content, 8 + size, index)
    except (ValueError, IndexError, struct.error, zstandard.ZstdError, msgspec.MsgspecError) as exc:
        raise StorageError(f"{name} is damaged: {exc}. Restore it from a backup.") from exc


def _from_index(name: str, content: bytes, start: int, index: _Index) -> Pack:
    def place(number: int, at: int) -> Ref:
        return (index.packs[number - 1] if number else name, at)

    starts = [start]
    for length in index.lengths:
        starts.append(starts[-1] + length)
    if starts[-1] != len(content) or len(index.kinds) != len(index.lengths):
        raise ValueError("its length is not what its index says")
    pack = Pack(name, index.kinds, starts)
    keys, refs = 0, iter(index.refs)
    for number, kind in enumerate(index.kinds):
        if kind == NODE:
            pack.keys.append(b"")
        else:
            pack.keys.append(index.keys[keys : keys + KEY_BYTES])
            keys += KEY_BYTES
        held = next(refs) if kind in (NODE, LIST) else []
        pack.refs.append(tuple(place(*held[at : at + 2]) for at in range(0, len(held), 2)))
        where, which = index.dictionaries[2 * number : 2 * number + 2]
        pack.dictionaries.append(None if which < 0 else place(where, which))
    return pack

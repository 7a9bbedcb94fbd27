"""The lower half of the prompt store: entries by their key, written in packs, read back and verified."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import zstandard
from blake3 import blake3

from domain.errors import StorageError
from storage.objects import Objects
from storage.packs import CHUNK, DICTIONARY, KEY_BYTES, LIST, NODE, Entry, Pack, Ref, read_pack, write_pack

PACK_PREFIX: Final = "blobs/"
_LEVEL = 9
_TRAIN_BYTES = 256 * 1024  # of samples, per kind of message
_TRAIN_SAMPLES = 16
_DICTIONARY_BYTES = 64 * 1024
_LARGEST = 1 << 28
_CACHED_PACK_BYTES = 256 * 1024 * 1024
_CACHED_CHUNKS = 1_024
_NOTHING: tuple[str, int] = ("", -1)


def make_key(content: bytes) -> bytes:
    """Return the key of some bytes: the first 20 bytes of their BLAKE3."""
    return blake3(content).digest(length=KEY_BYTES)


class Entries:
    """Chunks, lists of chunks, nodes and dictionaries. Not safe for several threads: its owner locks."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self.packs: dict[str, Pack] = {}
        self.places: dict[bytes, Ref] = {}
        self._pending: list[Entry] = []
        self.pending_bytes = 0
        self._contents: OrderedDict[str, bytes] = OrderedDict()
        self._chunks: OrderedDict[bytes, bytes] = OrderedDict()
        self._dictionaries: dict[Ref, zstandard.ZstdCompressionDict] = {}
        self._compressors: dict[Ref, zstandard.ZstdCompressor] = {}
        self._newest: dict[str, Ref] = {}
        self._samples: dict[str, list[bytes]] = {}

    # Writing

    def add(self, key: bytes, entry: Entry) -> None:
        """Take an entry under its key, if there is none yet."""
        if key not in self.places:
            self.places[key] = ("", len(self._pending))
            self._pending.append(entry)
            self.pending_bytes += len(entry.body) + 2 * KEY_BYTES

    def add_chunk(self, sort: str, key: bytes, content: bytes) -> None:
        """Take a chunk; `sort` is the kind of message it is of, which has a dictionary of its own."""
        if key in self.places:
            return
        self._learn(sort, content)
        name = self._newest.get(sort)
        compressor = self._compressors[name] if name else self._compressors.setdefault(_NOTHING, _plain_compressor())
        self.add(key, Entry(CHUNK, key, compressor.compress(content), name))

    def flush(self) -> None:
        """Write what is pending as one pack; raises StorageError, and then keeps it for the next time."""
        if not self._pending:
            return
        content = write_pack(self._pending)
        name = f"{PACK_PREFIX}{make_key(content).hex()}.pack"
        self.objects.put(name, content)

        def settle(place: Ref) -> Ref:
            return (name, place[1]) if place[0] == "" and place != _NOTHING else place

        self.places = {key: settle(place) for key, place in self.places.items()}
        self._dictionaries = {settle(place): held for place, held in self._dictionaries.items()}
        self._compressors = {settle(place): held for place, held in self._compressors.items()}
        self._newest = {sort: settle(place) for sort, place in self._newest.items()}
        self.packs[name] = pack = read_pack(name, content)
        for number, entry in enumerate(self._pending):
            pack.keys[number] = entry.key
        self._keep_content(name, content)
        self._pending, self.pending_bytes = [], 0

    def _learn(self, sort: str, content: bytes) -> None:
        """Train a dictionary for a kind of message once enough of it was seen."""
        if sort in self._newest:
            return
        samples = self._samples.setdefault(sort, [])
        samples.append(content)
        if len(samples) < _TRAIN_SAMPLES or sum(map(len, samples)) < _TRAIN_BYTES:
            return
        del self._samples[sort]
        try:
            raw = zstandard.train_dictionary(_DICTIONARY_BYTES, [*samples], level=_LEVEL).as_bytes()
        except zstandard.ZstdError:  # there was nothing to learn
            return
        told = sort.encode()[:16].ljust(16, b"\0") + raw
        key = make_key(told)
        self.add(key, Entry(DICTIONARY, key, zstandard.ZstdCompressor(level=19).compress(told)))
        self._use_dictionary(sort, self.places[key], raw)

    def _use_dictionary(self, sort: str, place: Ref, raw: bytes) -> None:
        held = zstandard.ZstdCompressionDict(raw)
        held.precompute_compress(level=_LEVEL)
        self._dictionaries[place] = held
        self._compressors[place] = zstandard.ZstdCompressor(dict_data=held, write_dict_id=False)
        self._newest[sort] = place

    # Reading

    def kind(self, place: Ref) -> int:
        """Return what an entry is."""
        return self.packs[place[0]].kinds[place[1]] if place[0] else self._pending[place[1]].kind

    def refs(self, place: Ref) -> tuple[Ref, ...]:
        """Return what an entry refers to."""
        return self.packs[place[0]].refs[place[1]] if place[0] else self._pending[place[1]].refs

    def key_at(self, place: Ref) -> bytes:
        """Return the key of an entry."""
        return self.packs[place[0]].keys[place[1]] if place[0] else self._pending[place[1]].key

    def read(self, key: bytes) -> bytes:
        """Return the bytes of a message, verified; raises StorageError naming what is damaged or missing."""
        place = self.places.get(key)
        if place is None:
            raise StorageError(f"{key.hex()} is missing from the prompt store.")
        if self.kind(place) != LIST:
            return self._read_chunk(key, place)
        content = b"".join(self._read_chunk(self.key_at(ref), ref) for ref in self.refs(place))
        if make_key(content) != key:
            raise StorageError(f"{key.hex()} of the prompt store is damaged.")
        return content

    def _read_chunk(self, key: bytes, place: Ref) -> bytes:
        if (known := self._chunks.get(key)) is not None:
            self._chunks.move_to_end(key)
            return known
        try:
            name = self.packs[place[0]].dictionaries[place[1]] if place[0] else self._pending[place[1]].dictionary
            content = _unpack(self._body(place), self._dictionary(name) if name else None)
        except (zstandard.ZstdError, KeyError, IndexError) as exc:
            raise StorageError(f"{key.hex()} in {place[0] or 'the prompt store'} is damaged: {exc}.") from exc
        if make_key(content) != key:
            raise StorageError(f"{key.hex()} in {place[0] or 'the prompt store'} is damaged: its bytes have changed.")
        self._chunks[key] = content
        if len(self._chunks) > _CACHED_CHUNKS:
            self._chunks.popitem(last=False)
        return content

    def _dictionary(self, place: Ref) -> zstandard.ZstdCompressionDict:
        if place not in self._dictionaries:
            self._dictionaries[place] = zstandard.ZstdCompressionDict(_unpack(self._body(place))[16:])
        return self._dictionaries[place]

    def _body(self, place: Ref) -> bytes:
        if not place[0]:
            return self._pending[place[1]].body
        pack = self.packs[place[0]]
        return self._content(place[0])[pack.starts[place[1]] : pack.starts[place[1] + 1]]

    def _content(self, name: str) -> bytes:
        if (held := self._contents.get(name)) is None:
            held = self.objects.get(name)
            if len(held) != self.packs[name].starts[-1]:
                raise StorageError(f"{name} is damaged: its length has changed. Restore it from a backup.")
            self._keep_content(name, held)
        return held

    def _keep_content(self, name: str, content: bytes) -> None:
        self._contents[name] = content
        while len(self._contents) > 1 and sum(map(len, self._contents.values())) > _CACHED_PACK_BYTES:
            self._contents.popitem(last=False)

    # Opening

    def open_new(self) -> Iterator[Pack]:
        """Open the packs that were not open yet, each after those it refers to; raises StorageError."""
        names = [name for name, _ in self.objects.list(PACK_PREFIX) if name.endswith(".pack")]
        waiting: dict[str, Pack] = {}
        for name in names:
            if name not in self.packs:
                content = self.objects.get(name)
                waiting[name] = read_pack(name, content)
                self._keep_content(name, content)
        while waiting:
            ready = [pack for pack in waiting.values() if not pack.needs() & waiting.keys()] or [*waiting.values()]
            for pack in ready:
                self.packs[pack.name] = waiting.pop(pack.name)
                yield pack
                self._open(pack)

    def _open(self, pack: Pack) -> None:
        for number, kind in enumerate(pack.kinds):
            if key := pack.keys[number]:
                self.places.setdefault(key, (pack.name, number))
            if kind == DICTIONARY:
                told = _unpack(self._body((pack.name, number)))
                sort = told[:16].rstrip(b"\0").decode("ascii", "replace")
                if sort not in self._newest:
                    self._use_dictionary(sort, (pack.name, number), told[16:])

    def stored_bytes(self) -> int:
        """Return the bytes of all packs, and roughly of what is pending."""
        return sum(pack.starts[-1] for pack in self.packs.values()) + self.pending_bytes

    def count(self, kind: int) -> int:
        """Return how many entries of a kind there are."""
        held = sum(pack.kinds.count(kind) for pack in self.packs.values())
        return held + sum(entry.kind == kind for entry in self._pending)


def _plain_compressor() -> zstandard.ZstdCompressor:
    return zstandard.ZstdCompressor(level=_LEVEL)


def _unpack(packed: bytes, dictionary: zstandard.ZstdCompressionDict | None = None) -> bytes:
    # A damaged header may claim any size.
    if not 0 <= zstandard.frame_content_size(packed) <= _LARGEST:
        raise zstandard.ZstdError("an absurd size is claimed")
    return zstandard.ZstdDecompressor(dict_data=dictionary).decompress(packed)


__all__ = ["CHUNK", "LIST", "NODE", "PACK_PREFIX", "Entries", "make_key"]

"""The prompt store: every prompt once, however many runs repeat it, rebuilt byte for byte and verified on the way.

A prompt is a chain of messages. A message's key is the hash of its bytes; a node's is the hash of the node before it and of
its message. So the last node names the whole prompt, prompts that begin alike share their beginning, and the first message in
which two differ is found by comparing hashes, without reading a text. Long messages are cut where their content says so: a
changed line costs a chunk. Chunks are packed with zstd and dictionaries trained on the store's own messages; each names its
dictionary, so that training again rewrites nothing.

Secrets are masked before anything is hashed: what every run shares cannot be deleted with one of them.
"""

from __future__ import annotations

import re
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from domain.errors import NotFound, StorageError
from storage.chunking import split_content
from storage.entries import CHUNK, LIST, NODE, PACK_PREFIX, Entries, make_key
from storage.objects import Objects
from storage.packs import Entry, Ref
from storage.prompt_styles import BY_NAME, COMPACT, NAMES, TEXT, Mask, Style, mask_message, recognise

_PACK_BYTES = 4 * 1024 * 1024
_KNOWN_MESSAGES = 50_000
_ID = re.compile(r"[0-9a-f]{40}")
# A prompt begins at the root of its style. Roots are no entries; references tell them by numbers below zero.
_ROOTS = [make_key(b"root\n" + name.encode()) for name in NAMES]
_ROOT_REFS: dict[bytes, Ref] = {key: ("", -1 - number) for number, key in enumerate(_ROOTS)}
_ROLES = frozenset(("system", "user", "assistant", "tool"))


@dataclass(frozen=True, slots=True)
class PromptStats:
    """What the store holds: nodes, chunks, packs, bytes as stored; and the bytes that this process put in."""

    nodes: int
    chunks: int
    packs: int
    stored_bytes: int
    put_bytes: int


class PromptStore:
    """Keeps prompts in packs below `blobs/`. Safe to use from several threads; methods may read and write objects.

    What was put is durable after `flush`, which the owner calls when a run ends. Several processes may write to one place.
    """

    def __init__(self, objects: Objects, mask: Mask = str) -> None:
        self.objects = objects
        self._mask = mask
        self._guard = threading.RLock()
        self._put_bytes = 0
        self._reset()

    def _reset(self) -> None:
        self._entries = Entries(self.objects)
        self._parents: dict[bytes, tuple[bytes, bytes]] = {}  # of a node: the node before it, and its message
        self._known: dict[bytes, bytes] = {}  # the message by its bytes before they were masked
        self.refresh()

    # Putting in

    def put(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """Keep a list of messages and return the prompt's id (40 hex characters): the same list, the same id."""
        return self._put_messages(COMPACT, messages)

    def put_text(self, text: str) -> str:
        """Keep a text and return its id. One that is a list of messages in JSON shares them with other prompts."""
        if (found := recognise(text)) is not None and found[1]:
            return self._put_messages(*found)
        content = self._mask(text).encode("utf-8", "surrogatepass")
        with self._guard:
            self._put_bytes += len(content)
            message = self._put_message("text", content)
            return self._finish(self._put_node(_ROOTS[NAMES.index(TEXT)], message))

    def _put_messages(self, style: Style, messages: Sequence[Mapping[str, Any]]) -> str:
        if not messages:
            raise StorageError("An empty prompt cannot be kept.")
        with self._guard:
            node = _ROOTS[NAMES.index(style.name)]
            for message in messages:
                raw = style.encode(message)
                self._put_bytes += len(raw)
                name = make_key(raw)
                if (key := self._known.get(name)) is None:
                    role = str(message.get("role", ""))
                    key = self._put_message(role, style.encode(mask_message(message, self._mask)))
                    if len(self._known) >= _KNOWN_MESSAGES:
                        self._known.clear()
                    self._known[name] = key
                node = self._put_node(node, key)
            return self._finish(node)

    def _finish(self, node: bytes) -> str:
        if self._entries.pending_bytes >= _PACK_BYTES:
            self._entries.flush()
        return node.hex()

    def _put_message(self, role: str, content: bytes) -> bytes:
        key, sort = make_key(content), role if role in _ROLES else "text"
        chunks = split_content(content)
        if key in self._entries.places:
            return key
        if len(chunks) == 1:
            self._entries.add_chunk(sort, key, content)
            return key
        keys = [make_key(chunk) for chunk in chunks]
        for chunk_key, chunk in zip(keys, chunks, strict=True):
            self._entries.add_chunk(sort, chunk_key, chunk)
        self._entries.add(key, Entry(LIST, key, refs=tuple(self._entries.places[chunk] for chunk in keys)))
        return key

    def _put_node(self, parent: bytes, message: bytes) -> bytes:
        node = _node_key(parent, message)
        if node not in self._parents:
            self._parents[node] = (parent, message)
            above = _ROOT_REFS.get(parent) or self._entries.places[parent]
            self._entries.add(node, Entry(NODE, node, refs=(above, self._entries.places[message])))
        return node

    def flush(self) -> None:
        """Make everything durable; raises StorageError, and then keeps it for the next time."""
        with self._guard:
            self._entries.flush()

    # Getting out

    def get(self, prompt_id: str) -> bytes:
        """Return a prompt's bytes as they were put (but for what was masked).

        Raises NotFound, or StorageError naming what is damaged.
        """
        with self._guard:
            style, chain = self._chain(prompt_id)
            contents = [self._entries.read(message) for _, message in chain]
        return b"".join(contents) if style == TEXT else BY_NAME[style].join(contents)

    def messages_from(self, prompt_id: str, first: int) -> list[bytes]:
        """Return a prompt's messages from a number on: what is new in it since another one."""
        with self._guard:
            return [self._entries.read(message) for _, message in self._chain(prompt_id)[1][first:]]

    def first_difference(self, one: str, other: str) -> int | None:
        """Return the number (from 0) of the first message in which two prompts differ, None where they are the same.

        Hashes alone are compared, no text is read. A prompt that goes on where the other ends differs at that place.
        """
        with self._guard:
            (style, first), (other_style, second) = self._chain(one), self._chain(other)
        if style != other_style:
            return 0
        shorter = min(len(first), len(second))
        # A node hashes everything before it: once two differ, they differ to the end.
        at = bisect_left(range(shorter), True, key=lambda number: first[number][0] != second[number][0])
        return None if at == len(first) == len(second) else at

    def _chain(self, prompt_id: str) -> tuple[str, list[tuple[bytes, bytes]]]:
        """Return a prompt's style and its (node, message) pairs from the first on."""
        if not _ID.fullmatch(prompt_id):
            raise NotFound(f"{prompt_id[:80]!r} is not the id of a prompt (40 hex characters).")
        node = bytes.fromhex(prompt_id)
        if node not in self._parents:
            self.refresh()
        chain: list[tuple[bytes, bytes]] = []
        while node not in _ROOT_REFS:
            if (held := self._parents.get(node)) is None:
                raise NotFound(f"There is no prompt {prompt_id}, or a part of it is missing.")
            chain.append((node, held[1]))
            node = held[0]
        return NAMES[_ROOTS.index(node)], chain[::-1]

    # Opening and cleaning

    def refresh(self) -> None:
        """Read the packs that others have written since."""
        with self._guard:
            for pack in self._entries.open_new():
                for number, kind in enumerate(pack.kinds):
                    if kind == NODE:
                        parent, message = (self._resolve(ref) for ref in pack.refs[number])
                        if parent and message:
                            pack.keys[number] = node = _node_key(parent, message)
                            self._parents.setdefault(node, (parent, message))

    def _resolve(self, ref: Ref) -> bytes:
        if ref[1] < 0:
            return _ROOTS[-1 - ref[1]]
        return self._entries.key_at(ref) if ref[0] in self._entries.packs else b""

    def collect(self, live: Iterable[str]) -> int:
        """Keep the prompts that are named (those of live runs), drop everything else, and return the bytes freed.

        What is named and is not here is passed over: traces may name prompts of another store.

        Nobody else may write meanwhile. Whenever it is stopped, no live prompt is lost: old packs go last.
        """
        with self._guard:
            self.flush()
            before = self._entries.stored_bytes()
            kept = PromptStore(_Memory())
            for prompt_id in sorted(set(live)):
                try:
                    style, chain = self._chain(prompt_id)
                except NotFound:
                    continue
                node = _ROOTS[NAMES.index(style)]
                for _, message in chain:
                    content = self._entries.read(message)
                    node = kept._put_node(node, kept._put_message(_guess_role(content), content))
            kept.flush()
            fresh = kept.objects.held if isinstance(kept.objects, _Memory) else {}
            for name, content in fresh.items():
                self.objects.put(name, content)
            for name in self._entries.packs.keys() - fresh.keys():
                self.objects.delete(name)
            self._reset()
            return before - self._entries.stored_bytes()

    def stats(self) -> PromptStats:
        """Return what the store holds."""
        with self._guard:
            entries = self._entries
            sizes = (entries.count(CHUNK), len(entries.packs), entries.stored_bytes())
            return PromptStats(len(self._parents), *sizes, self._put_bytes)


class _Memory:
    """Objects that are not kept, for the copy that `collect` makes."""

    def __init__(self) -> None:
        self.held: dict[str, bytes] = {}

    def put(self, name: str, content: bytes) -> None:
        self.held[name] = content

    def get(self, name: str) -> bytes:
        return self.held[name]

    def list(self, prefix: str) -> Iterator[tuple[str, str]]:
        yield from ((name, "") for name in sorted(self.held) if name.startswith(prefix))

    def delete(self, name: str) -> None:
        self.held.pop(name, None)


def _node_key(parent: bytes, message: bytes) -> bytes:
    return make_key(b"node\n" + parent + message)


def _guess_role(content: bytes) -> str:
    found = re.search(rb'"role": ?"(\w+)"', content[:2_000])
    return found[1].decode() if found else "text"


__all__ = ["PACK_PREFIX", "PromptStats", "PromptStore"]

"""A Merkle tree over the files of a root: its hash, the difference of two, and the proof that a file belongs to one.

A folder is a binary Merkle tree over its sorted entries, built as in RFC 6962 (section 2.1), so that a proof grows with
the logarithm of a folder's size. Folders, entries and contents are hashed in domains of their own: none can be passed
off as another. Only contents and names count; modes and times do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from blake3 import blake3

type Side = Literal["left", "right"]
type ChangeKind = Literal["added", "changed", "removed", "moved"]

_FILE, _FOLDER = b"F", b"D"
_LEAF = blake3(derive_key_context="causegraph merkle 1 entry")
_NODE = blake3(derive_key_context="causegraph merkle 1 node")
_EMPTY = blake3(derive_key_context="causegraph merkle 1 empty").digest()


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with everything below it."""

    hash: bytes
    files: Mapping[str, bytes]
    folders: Mapping[str, Folder]

    def leaves(self) -> Iterator[tuple[str, bytes]]:
        """Yield the path and the content hash of every file, unordered."""
        stack = [("", self)]
        while stack:
            prefix, folder = stack.pop()
            for name, content in folder.files.items():
                yield prefix + name, content
            stack += [(f"{prefix}{name}/", below) for name, below in folder.folders.items()]

    def hashes(self) -> dict[str, bytes]:
        """Return the hash of every folder by its path; this one's is under ""."""
        found, stack = {}, [("", self)]
        while stack:
            path, folder = stack.pop()
            found[path] = folder.hash
            stack += [(f"{path}/{name}" if path else name, below) for name, below in folder.folders.items()]
        return found


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs. `before` is where a moved file was; it is the path itself for all others."""

    kind: ChangeKind
    path: str
    before: str


@dataclass(frozen=True, slots=True)
class Level:
    """One folder of a proof, innermost first: the name that is proved in it, and what its hash is completed with."""

    name: str
    siblings: tuple[tuple[Side, bytes], ...]


@dataclass(frozen=True, slots=True)
class Proof:
    """That a file with this content is at this path of the tree with this hash. Small, and checked without the tree."""

    path: str
    content: bytes
    root: bytes
    levels: tuple[Level, ...]

    def holds(self) -> bool:
        """Say whether the proof is right: nothing but hashing, and no trust in who made it."""
        if [level.name for level in reversed(self.levels)] != self.path.split("/"):
            return False
        found, kind = self.content, _FILE
        for level in self.levels:
            found = _hash_entry(kind, level.name, found)
            for side, sibling in level.siblings:
                found = _hash_pair(sibling, found) if side == "left" else _hash_pair(found, sibling)
            kind = _FOLDER
        return found == self.root


def build_tree(leaves: Mapping[str, bytes], known: Mapping[str, bytes] | None = None) -> Folder:
    """Build the tree of path -> content hash. `known` holds the hashes of folders in which surely nothing changed."""
    nested: dict[str, dict[str, bytes]] = {}
    for path, content in leaves.items():
        folder, _, name = path.rpartition("/")
        nested.setdefault(folder, {})[name] = content
    return _assemble(nested, known or {})


def _assemble(nested: dict[str, dict[str, bytes]], known: Mapping[str, bytes]) -> Folder:
    for path in list(nested):
        while path:  # folders that hold only folders
            path = path.rpartition("/")[0]
            if path in nested:
                break
            nested[path] = {}
    nested.setdefault("", {})
    below: dict[str, dict[str, Folder]] = {}
    root = Folder(_EMPTY, {}, {})
    for path in sorted(nested, key=lambda path: path.count("/") + bool(path), reverse=True):
        files, folders = nested[path], below.pop(path, {})
        root = Folder(known.get(path) or _root_of(_entries(files, folders)), files, folders)
        parent, _, name = path.rpartition("/")
        below.setdefault(parent, {})[name] = root
    return root


def unchanged_folders(hashes: Mapping[str, bytes], changed: Iterable[str]) -> dict[str, bytes]:
    """Return the hashes (`Folder.hashes`) of the folders that are not above one of the changed paths."""
    kept = dict(hashes)
    for path in changed:
        while path:
            path = path.rpartition("/")[0]
            kept.pop(path, None)
    return kept


def diff_trees(old: Folder, new: Folder) -> list[Change]:
    """Return what leads from one tree to another, by path; only folders whose hashes differ are looked into.

    A file that is gone here and came there with the same content has moved.
    """
    added: dict[str, bytes] = {}
    removed: dict[str, bytes] = {}
    changed: list[str] = []
    stack = [("", old, new)]
    while stack:
        prefix, was, now = stack.pop()
        if was.hash == now.hash:
            continue
        for name in was.files.keys() | now.files.keys():
            before, after = was.files.get(name), now.files.get(name)
            if before is None and after is not None:
                added[prefix + name] = after
            elif before is not None and after is None:
                removed[prefix + name] = before
            elif before != after:
                changed.append(prefix + name)
        for name in was.folders.keys() | now.folders.keys():
            nothing = Folder(_EMPTY, {}, {})
            stack.append((f"{prefix}{name}/", was.folders.get(name, nothing), now.folders.get(name, nothing)))
    return name_changes(added, removed, changed)


def name_changes(added: Mapping[str, bytes], removed: Mapping[str, bytes], changed: Sequence[str]) -> list[Change]:
    """Return changes by path, where a path that came and one that went with the same content are one move."""
    gone: dict[bytes, list[str]] = {}
    for path in sorted(removed, reverse=True):
        gone.setdefault(removed[path], []).append(path)
    changes = [Change("changed", path, path) for path in changed]
    moved = set()
    for path in sorted(added):
        sources = gone.get(added[path])
        if sources:
            before = sources.pop()
            moved.add(before)
            changes.append(Change("moved", path, before))
        else:
            changes.append(Change("added", path, path))
    changes += [Change("removed", path, path) for path in removed if path not in moved]
    return sorted(changes, key=lambda change: change.path)


def prove(root: Folder, path: str) -> Proof | None:
    """Return the proof that a file belongs to a tree; None if it does not."""
    levels: list[Level] = []
    folder = root
    *parents, name = path.split("/")
    for parent in parents:
        below = folder.folders.get(parent)
        if below is None:
            return None
        levels.append(_level(folder, _FOLDER, parent))
        folder = below
    content = folder.files.get(name)
    if content is None:
        return None
    levels.append(_level(folder, _FILE, name))
    return Proof(path, content, root.hash, tuple(reversed(levels)))


def _level(folder: Folder, kind: bytes, name: str) -> Level:
    keys = sorted([(name, _FILE) for name in folder.files] + [(name, _FOLDER) for name in folder.folders])
    hashes = _entries(folder.files, folder.folders)
    return Level(name, tuple(_siblings(hashes, keys.index((name, kind)))))


def _entries(files: Mapping[str, bytes], folders: Mapping[str, Folder]) -> list[bytes]:
    entries = [(name, _FILE, content) for name, content in files.items()]
    entries += [(name, _FOLDER, folder.hash) for name, folder in folders.items()]
    entries.sort()
    return [_hash_entry(kind, name, hashed) for name, kind, hashed in entries]


def _hash_entry(kind: bytes, name: str, hashed: bytes) -> bytes:
    entry = _LEAF.copy()
    entry.update(kind + hashed + name.encode("utf-8", "surrogateescape"))  # kind and hash are of fixed size
    return entry.digest()


def _hash_pair(left: bytes, right: bytes) -> bytes:
    node = _NODE.copy()
    node.update(left + right)
    return node.digest()


def _root_of(hashes: list[bytes]) -> bytes:
    """Pair neighbours, and a last one without a neighbour goes up as it is: the shape of RFC 6962, from below."""
    while len(hashes) > 1:
        paired = [_hash_pair(hashes[at], hashes[at + 1]) for at in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(paired) * 2 :]
    return hashes[0] if hashes else _EMPTY


def _siblings(hashes: list[bytes], at: int) -> Iterator[tuple[Side, bytes]]:
    while len(hashes) > 1:
        if at ^ 1 < len(hashes):
            yield ("left" if at & 1 else "right"), hashes[at ^ 1]
        paired = [_hash_pair(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
        hashes = paired + hashes[len(paired) * 2 :]
        at >>= 1

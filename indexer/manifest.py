"""What the last sync saw of each file, so that an unchanged one is not read again.

The manifest is a cache beside the database, which holds the truth: it counts only while it belongs to the generation
that the database has. Without it, or with one of another generation, every file is read once more.
"""

from __future__ import annotations

import gc
import marshal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from blake3 import blake3

from domain.errors import StorageError
from indexer.walk import Stamp
from storage.durable_files import write_durably

type Entry = tuple[int, int, int, int, bytes | str]
"""A stamp and the content hash, or in its place the reason why the file does not count."""

_MAGIC = b"causegraph manifest 2\n"
_DIGEST = 32
_COARSEST_CLOCK_NS = 2_000_000_000  # of the file systems in use


@dataclass(frozen=True, slots=True)
class Seen:
    """What git named beside the files of a checkout: how to tell quickly that all is as it was.

    `digest` is a hash of what git printed; `folders` are those with files in them, `others` the names that are no files
    that count, with their types (0: gone). The rest is what the scan said of them.
    """

    digest: bytes
    folders: tuple[str, ...]
    others: dict[str, int]
    secrets: tuple[str, ...]
    problems: tuple[str, ...]
    links: int


@dataclass(slots=True)
class Manifest:
    """The entries of a root by path, and when the scan that saw them began."""

    generation: int = 0
    began_ns: int = 0
    entries: dict[str, Entry] = field(default_factory=dict)
    folders: dict[str, bytes] = field(default_factory=dict)
    """The Merkle hash of each folder, by its path."""
    seen: Seen | None = None
    """What the scan saw beside the files, where git listed them all."""

    @property
    def quiet_ns(self) -> int:
        """What was written before this moment was quiet when it was looked at."""
        return self.began_ns - _COARSEST_CLOCK_NS

    def leaves(self) -> dict[str, bytes]:
        """Return path -> content hash of the files that count."""
        return {path: entry[4] for path, entry in self.entries.items() if isinstance(entry[4], bytes)}

    def is_unchanged(self, path: str, stamp: Stamp) -> bool:
        """Say whether a file is surely what it was.

        A file that was written in the moment before it was last looked at may have been written again since without a
        trace in its times (git calls this racy): it is not sure.
        """
        entry = self.entries.get(path)
        if entry is None or entry[:4] != stamp:
            return False
        return max(entry[0], entry[3]) < self.quiet_ns


@contextmanager
def collecting_later() -> Iterator[None]:
    """Keep the garbage collector from walking through every new entry again and again: none of them is garbage."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()


def load_manifest(file: Path, generation: int) -> Manifest | None:
    """Return the manifest of a generation; None if there is none that is whole and of this generation."""
    try:
        content = file.read_bytes()
    except OSError:
        return None
    head, body = content[: len(_MAGIC) + _DIGEST], content[len(_MAGIC) + _DIGEST :]
    if head != _MAGIC + blake3(body).digest():  # torn, or of another version: marshal must not see it
        return None
    try:
        with collecting_later():
            found_generation, began_ns, entries, folders, seen = marshal.loads(body)  # noqa: S302 - our own file, whole as we wrote it
    except (ValueError, EOFError, TypeError):
        return None
    if found_generation != generation:
        return None
    return Manifest(found_generation, began_ns, entries, folders, Seen(*seen) if seen else None)


def save_manifest(file: Path, manifest: Manifest) -> None:
    """Swap the file for a new one in one step; raises StorageError."""
    seen = manifest.seen
    told = (seen.digest, seen.folders, seen.others, seen.secrets, seen.problems, seen.links) if seen else None
    body = marshal.dumps((manifest.generation, manifest.began_ns, manifest.entries, manifest.folders, told))
    write_durably(file, _MAGIC + blake3(body).digest() + body, 0o600)


def forget_manifest(file: Path) -> None:
    """Remove the file; raises StorageError."""
    try:
        file.unlink(missing_ok=True)
    except OSError as exc:
        raise StorageError(f"{file} cannot be removed: {exc.strerror or exc}") from exc

"""Blobs named by their content: the BLAKE3 of the plain bytes, kept with zstd under `ab/cd/<digest>.zst`.

Writing is atomic and durable, reading checks the digest. The files are the truth; table `blob_index` lists them.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections.abc import Iterable
from pathlib import Path

import zstandard
from blake3 import blake3

from domain.errors import NotFound, StorageError
from storage.database import Database
from storage.durable_files import translate_os_error, write_durably

logger = logging.getLogger(__name__)

_LEVEL = 3
_LARGEST = 1 << 30
_DIGEST = re.compile(r"[0-9a-f]{64}")


class BlobStore:
    """Stores bytes once, however often they are put."""

    def __init__(self, database: Database, folder: Path) -> None:
        self._database = database
        self._folder = folder
        self._late: set[asyncio.Task[int]] = set()

    async def put(self, content: bytes) -> str:
        """Store bytes and return their digest (64 hex characters); raises StorageFull or StorageError."""
        return (await self.put_many([content]))[0]

    async def put_many(self, contents: Iterable[bytes]) -> list[str]:
        """Store several and return their digests in order. All of them are on the disk when this returns."""
        named = [(blake3(content).hexdigest(), content) for content in contents]
        plain = dict(named)
        stored = await asyncio.to_thread(lambda: {digest: self._write(digest, plain[digest]) for digest in plain})
        now = time.time_ns() // 1000
        rows = [(digest, len(plain[digest]), size, now) for digest, size in sorted(stored.items())]
        if rows:
            await self._database.transaction(lambda tx: tx.execute_many("record_blob", rows))
        return [digest for digest, _ in named]

    async def keep(self, content: bytes, patience: float = 0.5) -> str:
        """Store bytes and return their digest, also where the database is away or hangs: then the file is not listed.

        Raises StorageFull or StorageError where the file cannot be written.
        """
        digest = blake3(content).hexdigest()
        size = await asyncio.to_thread(self._write, digest, content)
        row = (digest, len(content), size, time.time_ns() // 1000)
        listing = asyncio.create_task(self._database.transaction(lambda tx: tx.execute_many("record_blob", [row])))
        self._late.add(listing)
        listing.add_done_callback(self._note_listed)
        await asyncio.wait({listing}, timeout=patience)
        return digest

    def _note_listed(self, listing: asyncio.Task[int]) -> None:
        self._late.discard(listing)
        if not listing.cancelled() and (problem := listing.exception()) is not None:
            logger.warning("A blob is kept but not listed", extra={"reason": str(problem)})

    async def get(self, digest: str) -> bytes:
        """Return the bytes; raises NotFound, or StorageError naming the blob if it is damaged."""
        return await asyncio.to_thread(self._read, digest)

    def path(self, digest: str) -> Path:
        """Return where a blob is kept; raises NotFound for what is not a digest."""
        if not _DIGEST.fullmatch(digest):
            raise NotFound(f"{digest[:80]!r} is not the name of a blob (64 hex characters).")
        return self._folder / digest[:2] / digest[2:4] / f"{digest}.zst"

    def _write(self, digest: str, content: bytes) -> int:
        path = self.path(digest)
        if (size := self._size_if_sound(path, digest)) is not None:
            return size
        packed = zstandard.ZstdCompressor(level=_LEVEL).compress(content)
        write_durably(path, packed)
        return len(packed)

    def _size_if_sound(self, path: Path, digest: str) -> int | None:
        # A damaged blob is written again: whoever puts it holds the right bytes.
        try:
            self._read(digest)
            return path.stat().st_size
        except (StorageError, NotFound, OSError):
            return None

    def _read(self, digest: str) -> bytes:
        path = self.path(digest)
        try:
            packed = path.read_bytes()
        except FileNotFoundError as exc:
            raise NotFound(f"There is no blob {digest}.") from exc
        except OSError as exc:
            raise translate_os_error(exc, path) from exc
        try:
            content = _unpack(packed)
        except zstandard.ZstdError as exc:
            raise StorageError(f"Blob {digest} is damaged: {exc}. Restore {path} from a backup.") from exc
        if blake3(content).hexdigest() != digest:
            raise StorageError(f"Blob {digest} is damaged: its bytes have changed. Restore {path} from a backup.")
        return content


def _unpack(packed: bytes) -> bytes:
    # A damaged header may claim any size.
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= _LARGEST:
        raise zstandard.ZstdError(f"a size of {size} bytes is claimed")
    return zstandard.ZstdDecompressor().decompress(packed)

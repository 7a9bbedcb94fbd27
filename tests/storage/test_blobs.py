"""Blobs come back as they went in, survive crashes whole, and say so when they are damaged."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
from pathlib import Path
from typing import Any

import pytest
import zstandard
from blake3 import blake3

from domain.errors import NotFound, StorageError, StorageFull, StorageUnavailable
from storage.blobs import BlobStore
from storage.database import Database


async def test_bytes_come_back(blobs: BlobStore, database: Database) -> None:
    for content in (b"", b"x", os.urandom(100_000), b"the same line\n" * 10_000):
        digest = await blobs.put(content)
        assert digest == blake3(content).hexdigest()
        assert await blobs.get(digest) == content
        (row,) = await database.fetch("one_blob", (digest,))
        assert row[1:3] == (len(content), blobs.path(digest).stat().st_size)
    assert blobs.path(digest).stat().st_size < 1000
    assert blobs.path(digest).parent.parts[-2:] == (digest[:2], digest[2:4])


async def test_equal_bytes_are_stored_once(blobs: BlobStore) -> None:
    digest = await blobs.put(b"again")
    before = blobs.path(digest).stat()
    assert await blobs.put_many([b"again", b"other", b"again"]) == [digest, blake3(b"other").hexdigest(), digest]
    assert blobs.path(digest).stat().st_ino == before.st_ino
    assert await blobs.put_many([]) == []


async def test_many_writers_of_one_blob(blobs: BlobStore) -> None:
    content = os.urandom(50_000)
    digests = await asyncio.gather(*(blobs.put(content) for _ in range(8)))
    assert set(digests) == {blake3(content).hexdigest()}
    assert await blobs.get(digests[0]) == content
    assert [path.name for path in blobs.path(digests[0]).parent.iterdir()] == [f"{digests[0]}.zst"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda packed: packed[: len(packed) // 2],
        lambda packed: b"",
        lambda packed: b"not zstd at all",
        lambda packed: zstandard.ZstdCompressor().compress(b"other bytes"),
        lambda packed: packed[:-1] + bytes([packed[-1] ^ 1]),
        lambda packed: bytes.fromhex("28b52ffde0ffffffffffffff7f") + packed,
    ],
)
async def test_damage_is_found_named_and_healed(blobs: BlobStore, damage: object) -> None:
    content = os.urandom(2_000)
    digest = await blobs.put(content)
    path = blobs.path(digest)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(StorageError, match=digest):
        await blobs.get(digest)
    assert await blobs.put(content) == digest
    assert await blobs.get(digest) == content


async def test_a_blob_that_is_not_there(blobs: BlobStore) -> None:
    with pytest.raises(NotFound, match="no blob"):
        await blobs.get("0" * 64)
    for name in ("../../etc/passwd", "", "0" * 63, "A" * 64):
        with pytest.raises(NotFound, match="not the name"):
            await blobs.get(name)


async def test_a_full_disk_leaves_nothing_behind(
    blobs: BlobStore, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", full)
    content = os.urandom(100)
    with pytest.raises(StorageFull):
        await blobs.put(content)
    monkeypatch.undo()
    assert not [path for path in (tmp_path / "blobs").rglob("*") if path.is_file()]
    assert await database.fetch("one_blob", (blake3(content).hexdigest(),)) == []


async def test_a_folder_that_cannot_be_written(database: Database, tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file is in the way")
    with pytest.raises(StorageError, match="cannot be written") as caught:
        await BlobStore(database, tmp_path / "blobs").put(b"x")
    assert type(caught.value) is StorageError


async def test_what_is_kept_is_on_the_disk_although_the_database_hangs_or_is_away(tmp_path: Path) -> None:
    gone = asyncio.Event()

    class Hanging(Database):
        async def transaction(self, work: Any) -> Any:
            await gone.wait()
            raise StorageUnavailable

    store = BlobStore(Hanging("mariadb://nobody@127.0.0.1:1/none"), tmp_path)
    digest = await store.keep(b"a webhook", patience=0.01)
    assert await store.get(digest) == b"a webhook"
    gone.set()
    assert await store.get(await store.keep(b"another")) == b"another"

"""The power goes in the moment of an acknowledgement: only what was synced is on the disk then, and that is enough."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from domain.errors import StorageUnavailable
from domain.telemetry import Level, LogEvent
from storage import durable_files, spool
from storage.batch import Batch, PreparedBatch
from storage.database import QUERIES, Database
from storage.dead_letters import DeadLetters
from storage.ingest import IngestStore, Written
from storage.spooled import SpooledStore

QUERIES["power_cut_messages"] = "SELECT message FROM log_event WHERE environment = ? ORDER BY id"


class Disk:
    """What of a folder would be there after a power cut: files up to where they were synced, by names that were synced."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch) -> None:
        self._folder = folder
        self._synced: dict[Path, int] = {}
        self._named: dict[Path, set[str]] = {}
        sync_file, sync_folder = spool._sync, durable_files.sync_folder

        def synced_file(file: int) -> None:
            sync_file(file)
            self._synced[Path(f"/proc/self/fd/{file}").readlink()] = os.fstat(file).st_size

        def synced_folder(path: Path) -> None:
            sync_folder(path)
            self._named[path] = {entry.name for entry in path.iterdir()}

        patch.setattr(spool, "_sync", synced_file)
        patch.setattr(spool, "sync_folder", synced_folder)

    def after_a_power_cut(self, copy: Path) -> None:
        """Make a folder that holds what is left; also of the hint how far it was drained, which nobody syncs."""
        for path in self._folder.rglob("position"):
            place = copy / path.relative_to(self._folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
        for path in sorted(self._folder.rglob("*.segment")):
            if path.name in self._named.get(path.parent, ()):
                place = copy / path.relative_to(self._folder)
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(path.read_bytes()[: self._synced.get(path, 0)])


class Moody(IngestStore):
    """A store whose database can be away."""

    away = False

    async def write_all(self, batches: Sequence[tuple[PreparedBatch, int]]) -> list[Written]:
        if self.away:
            raise StorageUnavailable("away")
        return await super().write_all(batches)


def logs(environment: str, key: str) -> Batch:
    event = LogEvent(environment, 10**15, "web", Level.INFO, key, 7, "<*>")
    return Batch(environment, "logs", key, 10**15, logs=[event])


def build(store: IngestStore, folder: Path, **more: Any) -> SpooledStore:
    limits = {"max_bytes": 10_000_000, "wait_seconds": 20.0} | more
    return SpooledStore(store, folder / "spool", DeadLetters(folder / "dead"), **limits)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="open files cannot be named here")
async def test_what_is_acknowledged_is_on_the_disk_in_that_moment(
    database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = Disk(tmp_path / "running", monkeypatch)
    store = Moody(database)
    spooled = build(store, tmp_path / "running", wait_seconds=0.5)
    async with spooled.running():
        await spooled.take(logs(environment, "stored"))
        assert await spooled.wait_drained(30)
        store.away = True
        for number in range(4):
            taken = await spooled.take(logs(environment, f"k{number}"))
            disk.after_a_power_cut(tmp_path / f"cut{number}")
            assert taken.spooled
    monkeypatch.undo()
    shutil.rmtree(tmp_path / "running")
    for number in range(4):
        heir = build(IngestStore(database), tmp_path / f"cut{number}")
        async with heir.running():
            assert await heir.wait_drained(30)
        rows = await database.fetch("power_cut_messages", (environment,))
        assert [str(row[0]) for row in rows] == ["stored", *(f"k{n}" for n in range(number + 1))]

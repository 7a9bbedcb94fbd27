"""What a state folder tells about its shipper, whether that runs or not."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path

import msgspec

from domain.errors import ShippingError
from ingest.shipping.discovery import look_at
from ingest.shipping.state import STATEMENTS
from ingest.shipping.tail import decode_cursor

_DATABASE = "ship.db"


@dataclass(frozen=True, slots=True)
class FileStatus:
    """How far a file was read; `behind` is the bytes that were not, -1 if it is not at its path any more."""

    source: str
    path: str
    offset: int
    behind: int


@dataclass(frozen=True, slots=True)
class Status:
    """A shipper's place. Counters: read, accepted, duplicate, rejected, set_aside, `dropped RULE`, `counted RULE SERVICE`.

    `trouble` is why nothing can be delivered at present; times are microseconds since 1970, 0 for never.
    """

    is_running: bool
    counters: dict[str, int]
    waiting_batches: int
    waiting_bytes: int
    waiting_lines: int
    oldest_waiting_us: int
    sent_us: int
    trouble: str
    files: list[FileStatus]


def read_status(folder: Path) -> Status:
    """Read the state in a folder. Raises ShippingError if there is none."""
    path = folder / _DATABASE
    if not path.exists():
        raise ShippingError(f"No shipper has worked with the state folder {folder}: name another one with --state.")
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            waiting = connection.execute(STATEMENTS["waiting"]).fetchone()
            counters = {str(name): int(value) for name, value in connection.execute(STATEMENTS["counters"])}
            facts = dict(connection.execute(STATEMENTS["facts"]))
            cursors = list(connection.execute(STATEMENTS["all_cursors"]))
        finally:
            connection.close()
    except sqlite3.Error as exc:
        raise ShippingError(f"The state in {folder} cannot be read: {exc}") from exc
    return Status(
        is_running=_is_locked(folder),
        counters={
            " ".join(name.split("\n")): value for name, value in counters.items() if not name.startswith("reported\n")
        },
        waiting_batches=int(waiting[0]),
        waiting_bytes=int(waiting[1]),
        waiting_lines=int(waiting[2]),
        oldest_waiting_us=int(waiting[3]),
        sent_us=int(facts.get("sent_us", 0)),
        trouble=str(facts.get("trouble", "")),
        files=[found for source, _, value in cursors if (found := _file_status(str(source), bytes(value))) is not None],
    )


def seconds_since(moment_us: int) -> float:
    """Return the seconds that have passed since a moment."""
    return time.time() - moment_us / 1e6


def _file_status(source: str, value: bytes) -> FileStatus | None:
    try:
        cursor = decode_cursor(value)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None  # of another kind of source
    if cursor.copy_of:
        return None
    there = look_at(cursor.path)
    known = there is not None and there.identity == (cursor.device, cursor.inode)
    return FileStatus(source, cursor.path, cursor.offset, there.size - cursor.offset if there and known else -1)


def _is_locked(folder: Path) -> bool:
    try:
        fd = os.open(folder / "lock", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False

"""What outlives the shipper: cursors, the outbox of batches that are not acknowledged yet, and counters.

A batch and the cursors behind it are written in one transaction and synced; the batch leaves the outbox only when the
server has acknowledged it. So after a crash each line is either still to be read, or in the outbox, whose batches are sent
again byte for byte under the same Idempotency-Key.
"""

from __future__ import annotations

import fcntl
import os
import re
import sqlite3
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from domain.errors import ShippingError

_DATABASE = "ship.db"
_SET_ASIDE = "set-aside.ndjson"


def _load_statements(path: Path) -> dict[str, str]:
    parts = re.split(r"^-- name: (\w+)\s*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


STATEMENTS = _load_statements(Path(__file__).with_name("state.sql"))


@dataclass(frozen=True, slots=True)
class Batch:
    """A body to be sent, compressed, with the key under which the server counts it once."""

    id: int
    key: str
    body: bytes
    lines: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """What is in the outbox; `oldest_us` is when its oldest batch was read, 0 if it is empty."""

    batches: int
    size: int
    lines: int
    oldest_us: int


class State:
    """The state folder, held by one process at a time. Raises ShippingError where it cannot be used."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = -1
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._lock = _lock(folder)
            self._connection = sqlite3.connect(folder / _DATABASE, isolation_level=None)
            self._connection.execute("PRAGMA journal_mode = WAL")
            self._connection.execute("PRAGMA synchronous = FULL")
            for name in ("create_cursor", "create_outbox", "create_counter", "create_fact"):
                self._connection.execute(STATEMENTS[name])
            self._id = self.facts().get("id") or self._make_id()
        except (OSError, sqlite3.Error) as exc:
            self._unlock()
            raise ShippingError(f"The state folder {folder} cannot be used: {exc}") from exc

    def close(self) -> None:
        """Close the database and let another process have the folder."""
        self._connection.close()
        self._unlock()

    def cursors(self, source: str) -> dict[str, bytes]:
        """Return the cursors of a source."""
        return {str(key): bytes(value) for key, value in self._connection.execute(STATEMENTS["cursors"], (source,))}

    def save(
        self,
        cursors: Mapping[str, Mapping[str, bytes | None]],
        body: bytes | None,
        lines: int,
        counts: Mapping[str, int],
    ) -> None:
        """Move the cursors of each source, put a batch into the outbox, and count, all or nothing."""
        with self._writing() as run:
            for source, moved in cursors.items():
                for key, value in moved.items():
                    if value is None:
                        run("forget_cursor", (source, key))
                    else:
                        run("set_cursor", (source, key, value))
            if body is not None:
                now_us = time.time_ns() // 1000
                run("add_batch", (self._key(body, now_us), body, lines, now_us))
            for name, number in counts.items():
                run("add_to_counter", (name, number))

    def next_batch(self) -> Batch | None:
        """Return the oldest batch of the outbox."""
        row = self._connection.execute(STATEMENTS["oldest_batch"]).fetchone()
        return Batch(int(row[0]), str(row[1]), bytes(row[2]), int(row[3])) if row else None

    def finish(self, batch: Batch, counts: Mapping[str, int]) -> None:
        """Take a batch out of the outbox, since nothing of it has to be sent again."""
        with self._writing() as run:
            run("drop_batch", (batch.id,))
            for name, number in counts.items():
                run("add_to_counter", (name, number))
            run("set_fact", ("sent_us", str(time.time_ns() // 1000)))
            run("set_fact", ("trouble", ""))

    def note(self, name: str, value: str) -> None:
        """Keep a fact for `--status`."""
        with self._writing() as run:
            run("set_fact", (name, value))

    def set_aside(self, records: bytes) -> None:
        """Append records that the server will never take to a file, synced, for people to look at."""
        with (self.folder / _SET_ASIDE).open("ab") as file:
            file.write(records)
            file.flush()
            os.fsync(file.fileno())

    def waiting(self) -> Waiting:
        """Say what is in the outbox."""
        return Waiting(*map(int, self._connection.execute(STATEMENTS["waiting"]).fetchone()))

    def counters(self) -> dict[str, int]:
        """Return every counter."""
        return {str(name): int(value) for name, value in self._connection.execute(STATEMENTS["counters"])}

    def facts(self) -> dict[str, str]:
        """Return every fact."""
        return {str(name): str(value) for name, value in self._connection.execute(STATEMENTS["facts"])}

    def _make_id(self) -> str:
        made = uuid.uuid4().hex
        self.note("id", made)
        return made

    def _key(self, body: bytes, now_us: int) -> str:
        # With the body in it: two nodes made from one disk image share the id and the numbers, but not what they read.
        return blake2b(f"{self._id}\n{now_us}\n".encode() + body, digest_size=16).hexdigest()

    @contextmanager
    def _writing(self) -> Iterator[Callable[[str, tuple[object, ...]], None]]:
        def run(name: str, values: tuple[object, ...]) -> None:
            self._connection.execute(STATEMENTS[name], values)

        try:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield run
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as exc:
            raise ShippingError(f"The state in {self.folder} cannot be written: {exc}") from exc

    def _unlock(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _lock(folder: Path) -> int:
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(fd)
        raise ShippingError(
            f"Another shipper works with the state folder {folder}: stop it, or name another folder with --state."
        ) from exc
    return fd

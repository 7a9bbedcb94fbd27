"""What was sent and could not be stored, kept in a folder with the reason: a bounded number of files, the newest ones.

Each file is a line of JSON (`DeadLetter`) and the bytes that were sent after it: records as NDJSON, or a delivery as the
spool held it.
"""

from __future__ import annotations

import contextlib
import logging
import re
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import msgspec
from blake3 import blake3

from domain.errors import NotFound, StorageError
from storage.durable_files import translate_os_error, write_durably
from storage.frames import Head

logger = logging.getLogger(__name__)

MAX_REASONS = 20
_ID = re.compile(r"dead-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One letter. `form` says what its bytes are: `records` (as they were sent, NDJSON) or `delivery` (a spool's frame).

    `records` counts what was refused; where a letter would be too large, fewer than that are `kept`.
    """

    id: str
    kept_us: int
    form: Literal["records", "delivery"]
    kind: str
    source: str
    environment: str
    records: int
    kept: int
    reasons: tuple[str, ...]


class DeadLetters:
    """The letters of a data folder. Every method raises StorageError."""

    def __init__(self, folder: Path, *, max_letters: int = 1000, max_bytes: int = 64 * 1024 * 1024) -> None:
        self._folder = folder
        self._max_letters = max_letters
        self._max_bytes = max_bytes

    def keep_delivery(self, head: Head, frame: bytes, reason: str) -> str:
        """Keep a delivery that the database refused and return the letter's id."""
        letter = DeadLetter(
            "", 0, "delivery", head.kind, "spool", head.environment, head.records, head.records, (reason,)
        )
        return self.keep(letter, frame)

    def keep(self, letter: DeadLetter, body: bytes) -> str:
        """Keep a letter and return its id, which follows from what it holds; the oldest make room for it."""
        key = f"dead-{blake3(f'{letter.form} {letter.kind} {letter.source} {letter.environment}\n'.encode() + body).hexdigest(length=6)}"
        stamped = replace(letter, id=key, kept_us=time.time_ns() // 1000)
        write_durably(self._path(key), msgspec.json.encode(stamped) + b"\n" + body, 0o600)
        self._bound()
        return key

    def find_all(self) -> list[DeadLetter]:
        """Return all letters, the newest first."""
        found = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError, msgspec.DecodeError), path.open("rb") as file:
                found.append(_decode(file.readline()))
        return sorted(found, key=lambda letter: (letter.kept_us, letter.id), reverse=True)

    def count(self) -> int:
        """Return how many letters there are."""
        return len(self._files())

    def read(self, letter_id: str) -> tuple[DeadLetter, bytes]:
        """Return a letter and its bytes; raises NotFound."""
        try:
            head, _, body = self._path(letter_id).read_bytes().partition(b"\n")
            return _decode(head), body
        except FileNotFoundError as exc:
            raise _unknown(letter_id) from exc
        except OSError as exc:
            raise translate_os_error(exc, self._folder) from exc
        except msgspec.DecodeError as exc:
            raise StorageError(f"The dead letter {letter_id} cannot be read: {exc}") from exc

    def drop(self, letter_id: str) -> None:
        """Remove a letter; raises NotFound."""
        try:
            self._path(letter_id).unlink()
        except FileNotFoundError as exc:
            raise _unknown(letter_id) from exc
        except OSError as exc:
            raise translate_os_error(exc, self._folder) from exc

    def _path(self, letter_id: str) -> Path:
        if not _ID.fullmatch(letter_id):
            raise _unknown(letter_id)
        return self._folder / f"{letter_id}.letter"

    def _files(self) -> list[Path]:
        return list(self._folder.glob("dead-*.letter"))

    def _bound(self) -> None:
        sizes = []
        for path in self._files():
            with contextlib.suppress(FileNotFoundError):
                found = path.stat()
                sizes.append((found.st_mtime_ns, found.st_size, path))
        total, dropped = 0, 0
        for number, (_, size, path) in enumerate(sorted(sizes, reverse=True), 1):
            total += size
            if number > 1 and (number > self._max_letters or total > self._max_bytes):
                path.unlink(missing_ok=True)
                dropped += 1
        if dropped:
            logger.warning("The oldest dead letters were dropped to make room", extra={"letters": dropped})


def _decode(line: bytes) -> DeadLetter:
    return msgspec.json.decode(line, type=DeadLetter)


def _unknown(letter_id: str) -> NotFound:
    return NotFound(f"There is no dead letter {letter_id[:40]!r}: see `causegraph dead-letters list`.")

"""Reads one file of a root: whole, unchanged while it was read, and never through a link."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from typing import Literal

from blake3 import blake3

from indexer.secrets import holds_secret
from indexer.walk import Stamp

type Skipped = Literal["binary", "too large", "secret"]

CHANGING = "it changes while it is read; the next sync tries again"

_TRIES = 3
_LOOKED_AT = 8192  # where git, too, looks for a zero byte
_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class UnreadableFile(Exception):
    """Why a file could not be read, in words for the report."""


@dataclass(frozen=True, slots=True)
class ReadFile:
    """A file as it was for a moment. `hash` is the BLAKE3 of its content; `skipped` says why it does not count."""

    stamp: Stamp
    content: bytes
    hash: bytes = b""
    skipped: Skipped | None = None


def read_file(path: str, largest: int) -> ReadFile:
    """Read a file of at most `largest` bytes; raises UnreadableFile, FileNotFoundError if it is gone."""
    for _ in range(_TRIES):
        found = _read_once(path, largest)
        if found is not None:
            return found
    raise UnreadableFile(CHANGING)


def _read_once(path: str, largest: int) -> ReadFile | None:
    try:
        handle = os.open(path, _FLAGS)
    except FileNotFoundError:
        raise
    except OSError as exc:
        told = "it has become a link" if exc.errno == errno.ELOOP else exc.strerror
        raise UnreadableFile(told or str(exc)) from exc
    try:
        before = os.fstat(handle)
        if not stat.S_ISREG(before.st_mode):
            raise UnreadableFile("it is no longer a file")
        if before.st_size > largest:
            binary = b"\0" in os.read(handle, _LOOKED_AT)
            return ReadFile(_stamp(before), b"", skipped="binary" if binary else "too large")
        content = os.read(handle, before.st_size + 1)
        while 0 < len(content) <= before.st_size and (more := os.read(handle, before.st_size + 1 - len(content))):
            content += more
        if _stamp(os.fstat(handle)) != _stamp(before) or len(content) != before.st_size:
            return None
    except OSError as exc:
        raise UnreadableFile(exc.strerror or str(exc)) from exc
    finally:
        os.close(handle)
    return ReadFile(_stamp(before), content, blake3(content).digest(), _judge(content))


def _judge(content: bytes) -> Skipped | None:
    if b"\0" in content[:_LOOKED_AT] and content[:2] not in (b"\xff\xfe", b"\xfe\xff"):  # UTF-16 is text
        return "binary"
    return "secret" if holds_secret(content) else None


def _stamp(found: os.stat_result) -> Stamp:
    return (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)

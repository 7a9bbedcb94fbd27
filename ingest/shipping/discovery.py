"""Which files there are: patterns to paths, and what a rotation has made of a file that was being read."""

from __future__ import annotations

import glob
import os
import stat as modes
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from ingest.shipping.tail import Cursor, holds, is_beginning

COMPRESSED = (".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip", ".Z")
_MAX_SIBLINGS = 10_000


@dataclass(frozen=True, slots=True)
class Found:
    """A regular file at a path."""

    path: str
    device: int
    inode: int
    size: int
    mtime_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


def find_files(patterns: Sequence[str], excluded: Sequence[str]) -> Iterator[Found]:
    """Yield every regular file that a pattern names (`**` goes through folders), each path once, never a compressed one."""
    seen: set[str] = set()
    for pattern in patterns:
        for path in sorted(glob.iglob(pattern, recursive=True)):  # noqa: PTH207 - patterns are absolute or relative
            if path in seen or is_excluded(path, excluded):
                continue
            seen.add(path)
            found = look_at(path)
            if found is not None:
                yield found


def is_excluded(path: str, excluded: Sequence[str]) -> bool:
    """Say whether a path or its last part fits one of the patterns, or a compressed file's."""
    name = path.rpartition("/")[2]
    if name.endswith(COMPRESSED):
        return True
    return any(fnmatch(name, pattern) or fnmatch(path, pattern) for pattern in excluded)


def look_at(path: str) -> Found | None:
    """Return the regular file at a path, through symbolic links; None if there is none."""
    try:
        stat = os.stat(path)  # noqa: PTH116 - called for thousands of paths a second
    except OSError:
        return None
    if not modes.S_ISREG(stat.st_mode):
        return None
    return Found(path, stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)


def find_moved(cursor: Cursor) -> Found | None:
    """Return where a file has gone that is no longer at its path: the same inode in the same folder."""
    for entry in _siblings(cursor.path):
        if entry.inode() == cursor.inode:
            found = look_at(entry.path)
            if found is not None and found.identity == (cursor.device, cursor.inode):
                return found
    return None


def find_copy(cursor: Cursor) -> Found | None:
    """Return the newest file beside this one that begins with what was read of it: what copytruncate leaves."""
    copies = []
    stem = _stem(cursor.path.rpartition("/")[2])
    for entry in _siblings(cursor.path):
        if entry.name.startswith(stem) and not is_excluded(entry.path, ()):
            found = look_at(entry.path)
            if found is not None and found.inode != cursor.inode and holds_at(cursor, found):
                copies.append(found)
    return max(copies, key=lambda found: found.mtime_ns, default=None)


def may_be_copy(cursor: Cursor, path: str) -> bool:
    """Say whether a rotation would give a copy of the file this path: `app.log.1`, `app.log-20260101`, `app-1.log`.

    By now the file itself may have been given a name of that kind: the copy of what is `app.log.1` is `app.log.2`.
    """
    folder, _, name = path.rpartition("/")
    home, _, base = cursor.path.rpartition("/")
    numbered = len(name) == len(base) and name != base and name[-1].isdigit() and base[-1].isdigit()
    return folder == home and (len(name) > len(base) or numbered) and name.startswith(_stem(base))


def _stem(name: str) -> str:
    return name.partition(".")[0]


def is_there(found: Found) -> bool:
    """Say whether a file is still at the path where it was found: a rotation renames many at once."""
    there = look_at(found.path)
    return there is not None and there.identity == found.identity


def holds_at(cursor: Cursor, found: Found) -> bool:
    """Say whether a file begins with what was read of a file; False where it is not at its path any more."""
    try:
        with Path(found.path).open("rb") as file:
            return os.fstat(file.fileno()).st_ino == found.inode and holds(cursor, file.fileno(), found.size)
    except OSError:
        return False


def is_copy(fd: int, original: Cursor, original_fd: int = -1) -> bool:
    """Say whether an open file is a copy, perhaps not finished, of another one as it is now or as far as it was read.

    `original_fd` is the other file where it is open: by its path it may not be found any more.
    """
    try:
        with ExitStack() as closing:
            size = os.fstat(fd).st_size
            if original_fd < 0:
                original_fd = closing.enter_context(Path(original.path).open("rb")).fileno()
            is_it = os.fstat(original_fd).st_ino == original.inode
            return is_it and (is_beginning(fd, size, original_fd) or holds(original, fd, size))
    except OSError:
        return False


def _siblings(path: str) -> Iterator[os.DirEntry[str]]:
    """Yield what lies beside a file; of a link that still leads somewhere, beside what it leads to."""
    folder = Path(path).resolve().parent
    with suppress(OSError), os.scandir(folder) as entries:
        for number, entry in enumerate(entries):
            if number >= _MAX_SIBLINGS:
                return
            yield entry

"""One followed file: what of it was read, and whether it is still the file that was read.

A file is known by device, inode and content: its first bytes and those just before the place that was read to must still
be there. So a file that was cut short and has grown again, or an inode that belongs to another file by now, is noticed before a byte of
it is taken for the continuation.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from ingest.shipping.joining import Held
from ingest.shipping.line import MAX_LINE_BYTES

CHUNK_BYTES = 256 * 1024
_HEAD_BYTES = 128
_TAIL_BYTES = 64
_COMPARE_BYTES = 64 * 1024


class Piece(msgspec.Struct, omit_defaults=True):
    """The parts so far of a line that a container runtime has split; `cut` bytes were left out."""

    text: str
    cut: int = 0


class Cursor(msgspec.Struct, omit_defaults=True):
    """The place in one file. `head` and `tail` are its first bytes and the last ones before `offset`.

    Everything before `offset` was shipped or is in `held`, `pieces` and `prefix`: events that may go on, by stream;
    lines that a container runtime has split; the beginning of a line too long to keep, with `cut` bytes left out of it.
    `copy_of` marks a copy that a rotation has made of another file, by that one's key: it is not read twice. When the
    other is cut short, the copy takes its place; `-` is a copy that nobody needs any more.
    """

    path: str
    device: int
    inode: int
    offset: int = 0
    head: bytes = b""
    tail: bytes = b""
    held: dict[str, Held] = {}
    pieces: dict[str, Piece] = {}
    prefix: bytes = b""
    cut: int = 0
    was_flushed: bool = False
    copy_of: str = ""
    is_latin: bool = False


_decoder = msgspec.msgpack.Decoder(Cursor)
_encoder = msgspec.msgpack.Encoder()


def encode_cursor(cursor: Cursor) -> bytes:
    """Return a cursor as it is saved."""
    try:
        return _encoder.encode(cursor)
    except UnicodeEncodeError:  # a file's name is any bytes
        path = os.fsencode(cursor.path).decode("latin-1")
        return _encoder.encode(msgspec.structs.replace(cursor, path=path, is_latin=True))


def decode_cursor(saved: bytes) -> Cursor:
    """Return a saved cursor; raises msgspec.DecodeError or its ValidationError for what is none."""
    cursor = _decoder.decode(saved)
    if cursor.is_latin:
        cursor.path, cursor.is_latin = os.fsdecode(cursor.path.encode("latin-1")), False
    return cursor


class Replaced(Exception):
    """The file holds something else than what was read: it was cut short, or its inode was used again."""


@dataclass(slots=True)
class Chunk:
    """Whole lines, without their newlines. `size` counts the bytes read; `cut` those left out of the only line."""

    lines: list[bytes]
    size: int
    cut: int = 0
    note: str = ""


@dataclass(slots=True, eq=False)
class Tail:
    """A file that is followed. Only `cursor` outlives the process; times are of the monotonic clock, in seconds."""

    key: str
    cursor: Cursor
    fd: int = -1
    size: int = 0
    mtime_ns: int = -1
    seen_scan: int = 0
    missing_since: float = 0.0
    read_at: float = 0.0
    partial: tuple[int, float] = (0, 0.0)
    is_queued: bool = False
    is_checked: bool = False

    @property
    def identity(self) -> tuple[int, int]:
        return self.cursor.device, self.cursor.inode

    def open(self) -> bool:
        """Open the file at its path; False if another one is there by now, or none. Raises OSError where it may not."""
        if self.fd >= 0:
            return True
        try:
            fd = os.open(self.cursor.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        stat = os.fstat(fd)
        if (stat.st_dev, stat.st_ino) != self.identity:
            os.close(fd)
            return False
        self.fd = fd
        return True

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def has_more(self) -> bool:
        """Say whether an open file has changed since it was read to its end; keeps its size and time."""
        stat = os.fstat(self.fd)
        changed = stat.st_size != self.cursor.offset + self.partial[0] or stat.st_mtime_ns != self.mtime_ns
        self.size, self.mtime_ns = stat.st_size, stat.st_mtime_ns
        return changed

    def read(self, now: float, flush_after: float) -> Chunk | None:
        """Return the next whole lines; None at the end. A last line without its newline waits for `flush_after` s.

        Raises Replaced. The file must be open.
        """
        cursor = self.cursor
        self.read_at = now
        kept = len(cursor.tail)
        data = os.pread(self.fd, kept + CHUNK_BYTES, cursor.offset - kept)
        if not data.startswith(cursor.tail) or os.pread(self.fd, len(cursor.head), 0) != cursor.head:
            raise Replaced
        if len(data) == kept:
            self.partial = (0, 0.0)
            return None
        if cursor.prefix:
            return self._skip(data, kept)
        end = data.rfind(b"\n") + 1
        if end <= kept:
            return self._wait_for_newline(data, kept, now, flush_after)
        lines = data[kept : end - 1].split(b"\n")
        note = "continued" if cursor.was_flushed else ""
        cursor.was_flushed = False
        if cursor.offset == 0 and lines[0].startswith(b"\xef\xbb\xbf"):
            lines[0] = lines[0][3:]
        self._advance(data, kept, end)
        return Chunk(lines, end - kept, note=note)

    def _wait_for_newline(self, data: bytes, kept: int, now: float, flush_after: float) -> Chunk | None:
        waiting = len(data) - kept
        if waiting > MAX_LINE_BYTES:
            self.cursor.prefix = data[kept : kept + MAX_LINE_BYTES]
            self.cursor.cut = waiting - MAX_LINE_BYTES
            self._advance(data, kept, len(data))
            return Chunk([], waiting)
        if self.partial[0] != waiting:
            self.partial = (waiting, now)
        if now - self.partial[1] < flush_after:
            return None
        note = "continued" if self.cursor.was_flushed else "partial"
        self.cursor.was_flushed = True
        self._advance(data, kept, len(data))
        return Chunk([data[kept:]], waiting, note=note)

    def _skip(self, data: bytes, kept: int) -> Chunk:
        """Go over the rest of a line that is too long to keep."""
        cursor = self.cursor
        newline = data.find(b"\n", kept)
        if newline < 0:
            cursor.cut += len(data) - kept
            self._advance(data, kept, len(data))
            return Chunk([], len(data) - kept)
        line, cut = cursor.prefix, cursor.cut + newline - kept
        cursor.prefix, cursor.cut = b"", 0
        self._advance(data, kept, newline + 1)
        return Chunk([line], newline + 1 - kept, cut)

    def take_prefix(self) -> tuple[bytes, int]:
        """Return the beginning of an overlong line that will not end any more, and the bytes left out of it."""
        taken = self.cursor.prefix, self.cursor.cut
        self.cursor.prefix, self.cursor.cut = b"", 0
        return taken

    def _advance(self, data: bytes, kept: int, end: int) -> None:
        cursor = self.cursor
        if len(cursor.head) < _HEAD_BYTES and cursor.offset == len(cursor.head):
            cursor.head += data[kept : min(end, kept + _HEAD_BYTES - len(cursor.head))]
        cursor.offset += end - kept
        cursor.tail = data[max(0, end - _TAIL_BYTES) : end]
        self.partial = (0, 0.0)

    def go_to_end(self, size: int) -> None:
        """Place the cursor behind the last whole line of the first `size` bytes. The file must be open."""
        start = max(0, size - _COMPARE_BYTES)
        data = os.pread(self.fd, size - start, start)
        end = start + data.rfind(b"\n") + 1
        self.cursor.offset = end if end > start else size
        begin = max(0, self.cursor.offset - _TAIL_BYTES)
        self.cursor.tail = os.pread(self.fd, self.cursor.offset - begin, begin)
        self.cursor.head = os.pread(self.fd, min(_HEAD_BYTES, self.cursor.offset), 0)

    def fall_asleep(self, copy_of: str) -> None:
        """Take the file for a copy of another; it must be open and is not read."""
        self.go_to_end(os.fstat(self.fd).st_size)
        self.cursor.copy_of = copy_of

    def begin_again(self) -> None:
        """Take the file for a new one."""
        old = self.cursor
        self.cursor = Cursor(old.path, old.device, old.inode)
        self.partial = (0, 0.0)
        self.is_checked = False  # an inode that is used again may be that of a copy


def holds(cursor: Cursor, fd: int, size: int) -> bool:
    """Say whether an open file begins with what was read of a file, as far as that can be told from both ends of it."""
    if not 0 < cursor.offset <= size:
        return False
    place = cursor.offset - len(cursor.tail)
    return _at(fd, len(cursor.head), 0) == cursor.head and _at(fd, len(cursor.tail), place) == cursor.tail


def is_beginning(fd: int, size: int, original: int) -> bool:
    """Say whether all of an open file is what another one begins with."""
    ends = (0, max(0, size - _COMPARE_BYTES))
    return size > 0 and all(_at(fd, _COMPARE_BYTES, at)[: size - at] == _at(original, size - at, at) for at in ends)


def _at(fd: int, count: int, place: int) -> bytes:
    return os.pread(fd, min(count, _COMPARE_BYTES), place)

"""An append-only log of frames in one folder: what is appended is on the disk when `append` returns.

    <folder>/lock                       held (flock) by the process that appends and drains
    <folder>/position                   the last sequence that was drained; a hint that saves work, never needed
    <folder>/<first sequence>.segment   frames, one after another

A frame is a header (magic, length, sequence, CRC-32 of all but the magic) and its payload. A segment is never appended
to by another process than the one that made it, so what a crash left at its end stays at its end: an unfinished frame
there was never acknowledged. Frames that do not match their CRC are kept aside in `damaged/`, and reading goes on at the
next frame that does.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StorageError
from storage.durable_files import sync_folder, translate_os_error, write_durably

logger = logging.getLogger(__name__)

MAX_FRAME_BYTES = 1 << 30
_MAGIC = b"CGf1"
_HEADER = struct.Struct(">4sIQI")
_CHECKED = struct.Struct(">IQ")
_POSITION = struct.Struct(">QI")
_SEGMENT_BYTES = 16 * 1024 * 1024
_sync = getattr(os, "fdatasync", os.fsync)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a frame's payload lies."""

    segment: Path
    offset: int
    length: int
    sequence: int


NOWHERE = Place(Path(), 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes of a segment that are no whole frame. `torn`: an unfinished frame at its end, which nobody was told of."""

    segment: str
    offset: int
    length: int
    torn: bool


@dataclass(slots=True)
class _Segment:
    path: Path
    last: int  # the highest sequence in it, 0 while it is empty
    size: int


class Spool:
    """The frames of one folder. Not for use by two threads at once; every method raises StorageError."""

    def __init__(self, folder: Path, lock: int, segment_bytes: int) -> None:
        self.folder = folder
        self.damages: list[Damage] = []
        self.drained = read_position(folder)
        self.last = self.drained
        self._lock = lock
        self._segment_bytes = segment_bytes
        self._segments: list[_Segment] = []
        self._file = -1
        self._position = os.open(folder / "position", os.O_RDWR | os.O_CREAT, 0o600)

    @classmethod
    def open(cls, folder: Path, segment_bytes: int = _SEGMENT_BYTES) -> Spool | None:
        """Return the spool of a folder, made if need be; None while another process holds it."""
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(lock)
                return None
            return cls(folder, lock, segment_bytes)
        except OSError as exc:
            raise translate_os_error(exc, folder) from exc

    @property
    def size(self) -> int:
        """Bytes in segments, drained ones that still stand among them."""
        return sum(segment.size for segment in self._segments)

    def recover(self) -> Iterator[tuple[Place, bytes]]:
        """Yield what an earlier process left and had not drained, in order. To be called once, before `append`."""
        for path in sorted(self.folder.glob("*.segment")):
            try:
                segment = _Segment(path, 0, path.stat().st_size)
            except OSError as exc:
                raise translate_os_error(exc, path) from exc
            self._segments.append(segment)
            self.last = max(self.last, int(path.stem) - 1)
            for place, payload in self._read_segment(path):
                segment.last = max(segment.last, place.sequence)
                self.last = max(self.last, place.sequence)
                if place.sequence > self.drained:
                    yield place, payload
        self.release(self.drained)

    def append(self, payloads: Sequence[bytes], at_least: int = 0) -> list[Place]:
        """Append frames, sync them to the disk with one call, and return their places; all of them or none.

        Sequences go up by one, from `at_least` on where that is ahead. Raises StorageFull or StorageError: then none
        of them is there.
        """
        first = max(self.last + 1, at_least)
        segment = self._writable(first)
        places: list[Place] = []
        parts: list[bytes] = []
        offset = segment.size
        for sequence, payload in enumerate(payloads, first):
            parts += (_header(sequence, payload), payload)
            offset += _HEADER.size
            places.append(Place(segment.path, offset, len(payload), sequence))
            offset += len(payload)
        try:
            _write_all(self._file, b"".join(parts))
            _sync(self._file)
        except OSError as exc:
            self._undo(segment)
            raise translate_os_error(exc, segment.path) from exc
        segment.size, segment.last = offset, places[-1].sequence
        self.last = segment.last
        return places

    def read(self, place: Place) -> bytes:
        """Return a frame's payload; raises StorageError if it is not what was written."""
        try:
            with place.segment.open("rb") as file:
                file.seek(place.offset - _HEADER.size)
                header, payload = file.read(_HEADER.size), file.read(place.length)
        except OSError as exc:
            raise translate_os_error(exc, place.segment) from exc
        if header != _header(place.sequence, payload) or len(payload) != place.length:
            raise StorageError(
                f"{place.segment} is damaged at {place.offset}: the disk does not hold what was written."
            )
        return payload

    def read_raw(self, place: Place) -> bytes:
        """Return the bytes where a payload should be, whatever they are; empty where there are none."""
        with contextlib.suppress(OSError), place.segment.open("rb") as file:
            file.seek(place.offset)
            return file.read(place.length)
        return b""

    def release(self, sequence: int) -> None:
        """Say that everything up to `sequence` is drained: segments that hold nothing else are removed."""
        self.drained = max(self.drained, sequence)
        try:
            packed = self.drained.to_bytes(8, "big")
            os.pwrite(self._position, _POSITION.pack(self.drained, zlib.crc32(packed)), 0)
            current = self._segments[-1] if self._file >= 0 else None
            if current is not None and current.size >= self._segment_bytes and current.last <= self.drained:
                self._close_segment()
                current = None
            kept = []
            for segment in self._segments:
                if segment is current or segment.last > self.drained:
                    kept.append(segment)
                else:
                    segment.path.unlink(missing_ok=True)
            self._segments = kept
        except OSError as exc:
            raise translate_os_error(exc, self.folder) from exc

    def close(self) -> None:
        """Give the folder free for another process; segments with nothing left in them are removed."""
        self._close_segment()
        with contextlib.suppress(StorageError):
            self.release(self.drained)
        os.close(self._position)
        os.close(self._lock)

    # -- segments ------------------------------------------------------------------------------------------------------

    def _writable(self, first: int) -> _Segment:
        if self._file >= 0 and self._segments[-1].size < self._segment_bytes:
            return self._segments[-1]
        self._close_segment()
        path = self.folder / f"{first:020d}.segment"
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
            sync_folder(self.folder)
        except OSError as exc:
            self._close_segment()
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            raise translate_os_error(exc, path) from exc
        self._segments.append(_Segment(path, 0, 0))
        return self._segments[-1]

    def _close_segment(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _undo(self, segment: _Segment) -> None:
        """Take back a failed append, and never write to that file again: after a failed sync its state is unknown."""
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, segment.size)
        self._close_segment()
        if not segment.last:
            self._segments.remove(segment)
            with contextlib.suppress(OSError):
                segment.path.unlink(missing_ok=True)
        self.last += 1  # the next segment needs a name of its own

    def _read_segment(self, path: Path) -> Iterator[tuple[Place, bytes]]:
        try:
            content = path.read_bytes()
        except OSError as exc:
            raise translate_os_error(exc, path) from exc
        at = 0
        while at < len(content):
            found = _frame_at(content, at)
            if found is None:
                after = _next_frame(content, at + 1)
                self._note_damage(path, content, at, after)
                at = after
                continue
            sequence, payload = found
            yield Place(path, at + _HEADER.size, len(payload), sequence), payload
            at += _HEADER.size + len(payload)

    def _note_damage(self, path: Path, content: bytes, start: int, end: int) -> None:
        torn = end == len(content) and _is_unfinished(content[start:])
        self.damages.append(Damage(path.name, start, end - start, torn))
        facts = {"segment": str(path), "offset": start, "bytes": end - start}
        if torn:
            with contextlib.suppress(OSError):
                os.truncate(path, start)
            logger.warning("The spool ended in an unfinished frame, which was never acknowledged: cut off", extra=facts)
            return
        logger.error("The spool is damaged; the bytes are kept aside, the rest is drained", extra=facts)
        write_durably(self.folder / "damaged" / f"{path.stem}-{start}.bytes", content[start:end], 0o600)


def read_position(folder: Path) -> int:
    """Return the last drained sequence that a spool's folder tells of, or 0."""
    with contextlib.suppress(OSError, struct.error):
        sequence, crc = _POSITION.unpack((folder / "position").read_bytes()[: _POSITION.size])
        if crc == zlib.crc32(sequence.to_bytes(8, "big")):
            return int(sequence)
    return 0


def read_last(folder: Path) -> int:
    """Return the last sequence in a folder that another process may be appending to, from its headers alone."""
    last = 0
    for path in sorted(folder.glob("*.segment"))[-1:]:
        last = int(path.stem) - 1
        with contextlib.suppress(OSError), path.open("rb") as file:
            while len(header := file.read(_HEADER.size)) == _HEADER.size:
                magic, length, sequence, _ = _HEADER.unpack(header)
                if magic != _MAGIC:
                    break
                last = max(last, sequence)
                file.seek(length, os.SEEK_CUR)
    return last


def _header(sequence: int, payload: bytes) -> bytes:
    crc = zlib.crc32(payload, zlib.crc32(_CHECKED.pack(len(payload), sequence)))
    return _HEADER.pack(_MAGIC, len(payload), sequence, crc)


def _frame_at(content: bytes, at: int) -> tuple[int, bytes] | None:
    """Return the sequence and the payload of the frame that begins there; None if there is no whole one."""
    if len(content) - at < _HEADER.size:
        return None
    magic, length, sequence, _ = _HEADER.unpack_from(content, at)
    start = at + _HEADER.size
    if magic != _MAGIC or length > min(MAX_FRAME_BYTES, len(content) - start):
        return None
    payload = content[start : start + length]
    return (sequence, payload) if _header(sequence, payload) == content[at:start] else None


def _next_frame(content: bytes, at: int) -> int:
    while (at := content.find(_MAGIC, at)) >= 0:
        if _frame_at(content, at) is not None:
            return at
        at += 1
    return len(content)


def _is_unfinished(rest: bytes) -> bool:
    """Tell whether the end of a segment is the beginning of a frame that was not written to its end."""
    if len(rest) < _HEADER.size:
        return _MAGIC.startswith(rest[:4])
    magic, length, _, _ = _HEADER.unpack_from(rest)
    return bool(magic == _MAGIC and length > len(rest) - _HEADER.size)


def _write_all(file: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(file, view) :]

"""The source that follows files: found by patterns, read in turn, through every way in which logs are rotated."""

from __future__ import annotations

import os
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo

import msgspec

from ingest.raw_lines import LineReader
from ingest.shipping.assembly import Assembler, Naming
from ingest.shipping.discovery import (
    Found,
    find_copy,
    find_files,
    find_moved,
    holds_at,
    is_copy,
    is_there,
    look_at,
    may_be_copy,
)
from ingest.shipping.formats import Form
from ingest.shipping.line import Line
from ingest.shipping.source import Portion
from ingest.shipping.tail import Chunk, Cursor, Replaced, Tail, decode_cursor, encode_cursor, holds

_STARTED = "started"  # the key that says that this source has run before
_GONE_SECONDS = 3600.0
_IDLE_SECONDS = 60.0
_DELETED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class FileOptions:
    """Which files, and how they are read. `name_file` gives a path's names; times are in seconds."""

    patterns: Sequence[str]
    name_file: Callable[[str], Naming]
    excluded: Sequence[str] = ()
    form: Form | None = "plain"
    from_end: bool = True
    joins: bool = True
    parses: bool = False
    encoding: str = "utf-8"
    join_seconds: float = 1.0
    partial_seconds: float = 10.0
    scan_seconds: float = 1.0
    max_open: int = 256
    zone: tzinfo | None = None


class FileSource:
    """Follows files. With `once` it reads what is there and is then finished."""

    def __init__(
        self, name: str, options: FileOptions, *, once: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.name = name
        self._options = options
        self._once = once
        self._clock = clock
        self._reader = LineReader(options.zone or UTC) if options.parses else None
        self._tails: dict[tuple[int, int], Tail] = {}
        self._assemblers: dict[str, Assembler] = {}
        self._open: OrderedDict[str, Tail] = OrderedDict()
        self._ready: deque[Tail] = deque()
        self._pending: dict[str, bytes | None] = {}
        self._scans = 0
        self._next_scan = 0.0
        self._next_idle = 0.0
        self._unreadable: set[str] = set()
        self._is_new = True
        self._is_finished = False
        self._said: deque[str] = deque(maxlen=100)

    async def start(self, cursors: Mapping[str, bytes]) -> None:
        """Take up the files that the cursors name, wherever a rotation has put them."""
        self._is_new = _STARTED not in cursors
        for key, value in cursors.items():
            if key != _STARTED:
                cursor = decode_cursor(value)
                self._tails[cursor.device, cursor.inode] = Tail(key, cursor)
        self._pending[_STARTED] = b""

    async def read(self) -> Portion | None:
        """Return a chunk of the next file that has one."""
        now = self._clock()
        if now >= self._next_scan:
            self._scan(now)
            self._next_scan = now + self._options.scan_seconds
        for last_try in (False, True):
            while self._ready:
                tail = self._ready.popleft()
                tail.is_queued = False
                portion = self._read_tail(tail, now)
                if portion is not None:
                    return self._with_pending(portion)
            if not last_try:
                self._poll(now)
        idle = self._flush_idle(now)
        if idle is None and self._once:
            idle = self._finish()
        return self._with_pending(idle or Portion()) if idle or self._pending else None

    def is_finished(self) -> bool:
        return self._is_finished

    async def close(self) -> None:
        for tail in list(self._open.values()):
            self._close(tail)

    def describe(self) -> list[str]:
        said = list(self._said)
        self._said.clear()
        return said

    # -- what there is -------------------------------------------------------------------------------------------------

    def _scan(self, now: float) -> None:
        self._scans += 1
        unknown: list[Found] = []
        for found in find_files(self._options.patterns, self._options.excluded):
            tail = self._tails.get(found.identity)
            if tail is None:
                unknown.append(found)
            elif tail.seen_scan != self._scans:  # else another name of the same file
                self._note_seen(tail, found)
        for found in unknown:
            if found.identity not in self._tails:
                self._adopt(found)
        for tail in [tail for tail in self._tails.values() if tail.seen_scan != self._scans]:
            self._follow_missing(tail, now)
        self._is_new = False

    def _note_seen(self, tail: Tail, found: Found) -> None:
        tail.seen_scan, tail.missing_since = self._scans, 0.0
        if tail.cursor.path != found.path:
            tail.cursor.path = found.path
        if tail.fd >= 0:
            return
        touched = found.mtime_ns != tail.mtime_ns
        tail.size, tail.mtime_ns = found.size, found.mtime_ns
        if tail.cursor.copy_of:
            if touched and not self._is_still_copy(tail, found):
                tail.begin_again()
                self._make_ready(tail)
        elif touched or found.size != tail.cursor.offset:
            self._make_ready(tail)

    def _adopt(self, found: Found) -> None:
        """Take in a file that is not known by its inode: a new one, or a known one of a disk that was renumbered."""
        for other in () if self._is_new else self._tails.values():
            cursor = other.cursor
            if cursor.path == found.path and cursor.inode == found.inode and holds_at(cursor, found):
                del self._tails[other.identity]
                cursor.device = found.device
                self._tails[other.identity] = other
                self._note_seen(other, found)
                return
        tail = self._add(found)
        tail.is_checked = self._is_new
        if self._is_new and self._options.from_end and found.size and self._open_tail(tail):
            tail.go_to_end(found.size)
            self._save(tail)
        self._make_ready(tail)

    def _add(self, found: Found) -> Tail:
        cursor = Cursor(found.path, found.device, found.inode)
        tail = Tail(uuid.uuid4().hex, cursor, size=found.size, mtime_ns=found.mtime_ns, seen_scan=self._scans)
        self._tails[found.identity] = tail
        self._save(tail)
        return tail

    def _is_copy(self, tail: Tail) -> bool:
        """Before the first byte of a file is read: say whether a rotation is making it from one that is being read."""
        if tail.is_checked or tail.cursor.offset:
            return False
        for other in self._tails.values():
            original = other.cursor
            if other is tail or original.copy_of or not may_be_copy(original, tail.cursor.path):
                continue
            if is_copy(tail.fd, original, other.fd):  # by its path, another file may be found by now
                if not original.offset:  # without a mark in it, its being cut short would not be noticed
                    tail.mtime_ns = -1
                    self._make_ready(other)
                    return True
                tail.fall_asleep(other.key)
                self._save(tail)
                self._said.append(f"{tail.cursor.path} is a copy of {original.path} and is not read twice")
                return True
        tail.is_checked = os.fstat(tail.fd).st_size > 0
        return False

    def _is_still_copy(self, tail: Tail, found: Found) -> bool:
        try:
            if not tail.open():
                tail.mtime_ns = -1  # it has been renamed since: it is looked at again
                return True
            if not holds(tail.cursor, tail.fd, found.size):
                return False
            original = next((other for other in self._tails.values() if other.key == tail.cursor.copy_of), None)
            return (
                original is None or found.size == tail.cursor.offset or is_copy(tail.fd, original.cursor, original.fd)
            )
        except OSError:
            return False
        finally:
            tail.close()

    def _follow_missing(self, tail: Tail, now: float) -> None:
        """Look after a file that no pattern finds any more: renamed by a rotation, or deleted."""
        if tail.fd >= 0:
            return  # what is still written to it is read through the open file
        there = look_at(tail.cursor.path)
        moved = there if there is not None and there.identity == tail.identity else find_moved(tail.cursor)
        if moved is not None:
            self._note_seen(tail, moved)
        elif not tail.missing_since:
            tail.missing_since = now
        elif now - tail.missing_since > _GONE_SECONDS:
            self._forget(tail)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _poll(self, now: float) -> None:
        for tail in list(self._open.values()):
            if tail.has_more() or tail.partial[0]:
                self._make_ready(tail)
            elif now - tail.read_at > _IDLE_SECONDS and not self._assembler(tail).is_waiting:
                self._close(tail)

    def _read_tail(self, tail: Tail, now: float) -> Portion | None:
        if self._tails.get(tail.identity) is not tail or not self._open_tail(tail):
            return None
        if self._is_copy(tail):
            self._close(tail)
            return None
        try:
            chunk = tail.read(now, 0.0 if self._once else self._options.partial_seconds)
        except Replaced:
            return self._begin_again(tail)
        except OSError as exc:
            self._said.append(f"{tail.cursor.path} cannot be read: {exc.strerror or exc}")
            self._close(tail)
            return None
        if chunk is None:
            self._drop_deleted(tail, now)
            return None
        self._make_ready(tail)
        return self._portion(tail, self._assembler(tail).add(chunk, time.time_ns() // 1000), chunk.size)

    def _portion(self, tail: Tail, lines: list[Line], size: int = 0) -> Portion:
        return Portion(lines, {tail.key: encode_cursor(tail.cursor)}, size)

    def _begin_again(self, tail: Tail) -> Portion:
        """The file was cut short or is another one: finish what was read, go on in the copy if there is one."""
        path = tail.cursor.path
        copy, lines = self._wake_copy(tail)
        if copy is None:
            self._said.append(f"{path} was cut short; lines written just before may have been lost with it")
            lines += self._finish_file(tail)
        for other in self._tails.values():
            if other.cursor.copy_of == tail.key:
                other.cursor.copy_of = "-"
                self._save(other)
        tail.begin_again()
        self._assemblers.pop(tail.key, None)
        self._make_ready(tail)
        portion = self._portion(tail, lines)
        if copy is not None:
            portion.cursors[copy.key] = encode_cursor(copy.cursor)
        return portion

    def _finish_file(self, tail: Tail) -> list[Line]:
        """Return what is held back of a file of which nothing more will come."""
        prefix, cut = tail.take_prefix()
        assembler = self._assembler(tail)
        return assembler.add(Chunk([prefix] if prefix else [], 0, cut), time.time_ns() // 1000) + assembler.flush()

    def _wake_copy(self, tail: Tail) -> tuple[Tail | None, list[Line]]:
        """Return the copy that takes a file's place, if there is one, and what that ends of another file."""
        found = find_copy(tail.cursor)
        if found is None:
            return None, []
        copy, lines = self._tails.get(found.identity), []
        if copy is not None and copy.cursor.copy_of != tail.key and copy.cursor.offset:
            if holds_at(copy.cursor, found) or not is_there(found):
                return None, []  # it is read already
            lines = self._finish_file(copy)  # its inode was that of another file
        copy = copy or self._add(found)
        state = msgspec.structs.asdict(tail.cursor)
        copy.cursor = Cursor(**(state | {"path": found.path, "device": found.device, "inode": found.inode}))
        copy.seen_scan, copy.is_checked = self._scans, True
        self._assemblers.pop(copy.key, None)
        self._make_ready(copy)
        return copy, lines

    def _flush_idle(self, now: float) -> Portion | None:
        """Ship events that nothing was joined to for a while."""
        if now < self._next_idle:
            return None
        self._next_idle = now + self._options.join_seconds
        whole = Portion()
        for tail in list(self._tails.values()):
            assembler = self._assemblers.get(tail.key) or (self._assembler(tail) if tail.cursor.held else None)
            if assembler is not None and assembler.is_waiting and (lines := assembler.flush_idle()):
                whole.lines.extend(lines)
                whole.cursors[tail.key] = encode_cursor(tail.cursor)
        return whole if whole.lines else None

    def _finish(self) -> Portion | None:
        """Ship what is held back at the end of everything there is."""
        self._is_finished = True
        whole = Portion()
        for tail in self._tails.values():
            if tail.cursor.held and (lines := self._assembler(tail).flush()):
                whole.lines.extend(lines)
                whole.cursors[tail.key] = encode_cursor(tail.cursor)
        return whole if whole.lines else None

    def _drop_deleted(self, tail: Tail, now: float) -> None:
        if tail.seen_scan == self._scans or self._assembler(tail).is_waiting:
            return
        tail.missing_since = tail.missing_since or now
        if now - tail.missing_since > _DELETED_SECONDS:
            self._close(tail)

    # -- bookkeeping ---------------------------------------------------------------------------------------------------

    def _assembler(self, tail: Tail) -> Assembler:
        found = self._assemblers.get(tail.key)
        if found is None:
            options = self._options
            naming = options.name_file(tail.cursor.path)
            found = Assembler(
                tail.cursor,
                naming,
                options.form,
                joins=options.joins,
                encoding=options.encoding,
                reader=self._reader,
                zone=options.zone,
            )
            self._assemblers[tail.key] = found
        return found

    def _make_ready(self, tail: Tail) -> None:
        if not tail.is_queued:
            tail.is_queued = True
            self._ready.append(tail)

    def _open_tail(self, tail: Tail) -> bool:
        if tail.fd < 0:
            try:
                if not tail.open():
                    return False
            except OSError as exc:
                if tail.key not in self._unreadable:
                    self._unreadable.add(tail.key)
                    self._said.append(f"{tail.cursor.path} cannot be opened: {exc.strerror}")
                tail.mtime_ns = -1  # so that it is tried again
                return False
            self._unreadable.discard(tail.key)
            self._open[tail.key] = tail
            while len(self._open) > self._options.max_open:
                self._close(next(iter(self._open.values())))
        self._open.move_to_end(tail.key)
        return True

    def _close(self, tail: Tail) -> None:
        self._open.pop(tail.key, None)
        tail.close()

    def _save(self, tail: Tail) -> None:
        self._pending[tail.key] = encode_cursor(tail.cursor)

    def _forget(self, tail: Tail) -> None:
        self._close(tail)
        del self._tails[tail.identity]
        self._assemblers.pop(tail.key, None)
        self._pending[tail.key] = None

    def _with_pending(self, portion: Portion) -> Portion:
        """Add the cursors that changed without a line: of files that were found, moved or forgotten."""
        cursors = self._pending | portion.cursors
        self._pending = {}
        return Portion(portion.lines, cursors, portion.size)

"""Journals of traces: each event of a running trace in a file at once, so that a killed process loses none.

A journal is one file per trace and process, one JSON line per event, locked while its writer lives. It is written through
memory that the file is mapped into: that survives the process, and costs no call of the system per event. Its room is
reserved before it is mapped, so that a full disk is an error and not a fault. It goes when the trace is stored; what is left
of a process that died is read by `TraceStore.reconcile`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import logging
import mmap
import os
import re
import secrets
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracing.events import Event

logger = logging.getLogger(__name__)

_NAME = re.compile(r"(trc_\d{8}_\d{6}_[0-9a-f]{8})\.[0-9a-f]{8}\.journal")
_OPEN_AT_ONCE = 256
_STEP_BYTES = 64 * 1024


@dataclass(slots=True)
class _Journal:
    path: Path
    handle: int
    room: mmap.mmap
    at: int = 0
    broken: bool = False

    def append(self, line: bytes) -> None:
        """Add a line; raises OSError without room for it, and then nothing was added."""
        if (needed := self.at + len(line) - len(self.room)) > 0:
            _reserve(self.handle, len(self.room), needed + _STEP_BYTES)
            size = len(self.room) + needed + _STEP_BYTES
            self.room.close()
            self.room = mmap.mmap(self.handle, size)
        self.room[self.at : self.at + len(line)] = line
        self.at += len(line)

    def close(self) -> None:
        """Let go of the file."""
        self.room.close()
        os.close(self.handle)


class Journals:
    """Writes the journals of this process and finds those of processes that died."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, _Journal] = {}
        self._guard = threading.Lock()
        self._told = False

    def note(self, event: Event) -> None:
        """Append an event; when this returns, it survives the process. Never raises: a full disk must not hurt a run."""
        with self._guard:
            try:
                journal = self._open.get(event.trace_id) or self._begin(event.trace_id)
                if not journal.broken:
                    journal.append(_encode_line(event))
            except (OSError, ValueError) as exc:
                if event.trace_id in self._open:
                    self._open[event.trace_id].broken = True
                if not self._told:
                    self._told = True
                    # At a low level: the sink warns when the file cannot be written either.
                    logger.info("Traces have no journal", extra={"reason": str(exc)})

    def drop(self, trace_id: str) -> None:
        """Take away the journal of a trace that is stored elsewhere."""
        with self._guard:
            if journal := self._open.pop(trace_id, None):
                journal.close()
                with contextlib.suppress(OSError):
                    journal.path.unlink(missing_ok=True)

    def leave(self, trace_id: str) -> None:
        """Close the journal of a trace that is stored nowhere yet; `left_behind` finds it."""
        with self._guard:
            if journal := self._open.pop(trace_id, None):
                journal.close()

    def left_behind(self) -> Iterator[tuple[Path, Sequence[Event]]]:
        """Yield the journals that nobody writes any more, with their events; a torn last line is left out.

        Whoever has stored the events takes the file away.
        """
        for path in sorted(self._folder.glob("*.journal")):
            if _NAME.fullmatch(path.name) and (events := _read_if_left(path)) is not None:
                yield path, events

    def of_trace(self, trace_id: str) -> Sequence[Event]:
        """Return what the journals of one trace hold, also those that are being written."""
        paths = sorted(self._folder.glob(f"{trace_id}.*.journal"))
        return [event for path in paths for event in _read(path)]

    def _begin(self, trace_id: str) -> _Journal:
        while len(self._open) >= _OPEN_AT_ONCE:
            self._open.pop(next(iter(self._open))).close()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{trace_id}.{secrets.token_hex(4)}.journal"
        if not _NAME.fullmatch(path.name):
            raise ValueError(f"{trace_id[:80]!r} is not the id of a trace")
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _reserve(handle, 0, _STEP_BYTES)
            self._open[trace_id] = journal = _Journal(path, handle, mmap.mmap(handle, _STEP_BYTES))
        except OSError:
            os.close(handle)
            path.unlink(missing_ok=True)
            raise
        return journal


def _reserve(handle: int, start: int, size: int) -> None:
    """Take room for so many bytes of a file; raises OSError where there is none."""
    if os.pwrite(handle, bytes(size), start) != size:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _encode_line(event: Event) -> bytes:
    """Return an event as `Event.to_json` has it, without reading its payload, which is JSON already."""
    # The ids and the type are ours and plain; a span's id may be anybody's.
    return (
        f'{{"trace_id":"{event.trace_id}","event_id":"{event.event_id}","type":"{event.type}",'
        f'"span_id":{json.dumps(event.span_id)},"segment":{event.segment},"number":{event.number},'
        f'"time_us":{event.time_us},"data":{event.payload}}}\n'
    ).encode()


def _read_if_left(path: Path) -> Sequence[Event] | None:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return _read(path)
    except OSError:  # its writer lives, or another process was faster
        return None


def _read(path: Path) -> Sequence[Event]:
    events: list[Event] = []
    try:
        lines = path.read_bytes().partition(b"\0")[0].split(b"\n")
    except OSError:
        return events
    for line in lines:
        # Only the last line can be torn; whatever else cannot be read was not written by us.
        with contextlib.suppress(ValueError, KeyError, TypeError):
            events.append(Event.from_json(json.loads(line)))
    return events

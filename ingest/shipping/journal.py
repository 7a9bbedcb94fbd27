"""The source that follows systemd's journal, through `journalctl -o json` as a child process."""

from __future__ import annotations

import asyncio
import logging
import random
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from domain.errors import ShippingError
from ingest.shipping.assembly import Naming
from ingest.shipping.joining import cut_text
from ingest.shipping.line import Attribute, Line, guess_level
from ingest.shipping.source import Portion

logger = logging.getLogger(__name__)

_CURSOR = "cursor"
_LINE_LIMIT = 4 * 1024 * 1024
_MAX_LINES = 2000
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 30.0
_SEVERITIES = ("fatal", "fatal", "fatal", "error", "warn", "info", "info", "debug")
_FIELDS = (
    "MESSAGE,PRIORITY,SYSLOG_IDENTIFIER,_SYSTEMD_UNIT,_SYSTEMD_USER_UNIT,_COMM,_PID,_HOSTNAME,_TRANSPORT,"
    "_SOURCE_REALTIME_TIMESTAMP,CONTAINER_NAME,CONTAINER_ID,CODE_FILE,CODE_LINE,CODE_FUNC,UNIT"
)


@dataclass(frozen=True, slots=True)
class JournalOptions:
    """What of the journal is read. `arguments` are added to journalctl's, such as `--directory=/var/log/journal`."""

    naming: Naming
    units: Sequence[str] = ()
    arguments: Sequence[str] = ()
    from_end: bool = True
    command: Sequence[str] = ("journalctl",)


class JournalSource:
    """Follows the journal. The child is started again if it ends; its pause grows up to half a minute.

    `start` raises ShippingError where there is no journalctl.
    """

    def __init__(self, name: str, options: JournalOptions, *, once: bool = False) -> None:
        self.name = name
        self._options = options
        self._once = once
        self._child: asyncio.subprocess.Process | None = None
        self._cursor = ""
        self._wait = _FIRST_WAIT_SECONDS
        self._start_at = 0.0
        self._is_finished = False
        self._said: list[str] = []
        self._errors = b""
        self._listening: asyncio.Task[None] | None = None

    async def start(self, cursors: Mapping[str, bytes]) -> None:
        if shutil.which(self._options.command[0]) is None:
            raise ShippingError(
                f"The journal cannot be read: there is no {self._options.command[0]} here. "
                "Install systemd, or take the source `journal` out of the configuration."
            )
        self._cursor = cursors.get(_CURSOR, b"").decode("utf-8", "replace")

    async def read(self) -> Portion | None:
        if self._is_finished:
            return None
        if self._child is None:
            if time.monotonic() < self._start_at:
                return None
            await self._start_child()
        entries = await self._read_entries()
        lines = [line for entry in entries if (line := self._line(entry)) is not None]
        if not entries:
            return None
        self._wait = _FIRST_WAIT_SECONDS
        return Portion(lines, {_CURSOR: self._cursor.encode()}, sum(map(len, entries)))

    def is_finished(self) -> bool:
        return self._is_finished

    async def close(self) -> None:
        if self._child is not None:
            with suppress(ProcessLookupError):
                self._child.terminate()
            await self._child.wait()
            self._child = None
        if self._listening is not None:
            self._listening.cancel()

    def describe(self) -> list[str]:
        said, self._said = self._said, []
        return said

    async def _start_child(self) -> None:
        options = self._options
        arguments = ["--output=json", "--all", "--no-pager", "--quiet", f"--output-fields={_FIELDS}"]
        arguments += [f"--unit={unit}" for unit in options.units]
        if not self._once:
            arguments.append("--follow")
        if self._cursor:
            arguments += [f"--after-cursor={self._cursor}", "--no-tail"]
        else:
            arguments.append("--lines=0" if options.from_end and not self._once else "--no-tail")
        self._child = await asyncio.create_subprocess_exec(
            *options.command,
            *arguments,
            *options.arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        self._errors = b""
        self._listening = asyncio.create_task(self._listen(self._child))

    async def _listen(self, child: asyncio.subprocess.Process) -> None:
        assert child.stderr is not None  # noqa: S101 - it was asked for
        while piece := await child.stderr.read(4096):
            self._errors = (self._errors + piece)[-2000:]

    async def _read_entries(self) -> list[bytes]:
        """Return the lines that are there; the journal is not waited for."""
        assert self._child is not None  # noqa: S101
        assert self._child.stdout is not None  # noqa: S101
        entries: list[bytes] = []
        while len(entries) < _MAX_LINES:
            try:
                async with asyncio.timeout(0):
                    line = await self._child.stdout.readline()
            except TimeoutError:
                break
            except ValueError:
                self._said.append(f"an entry of the journal is longer than {_LINE_LIMIT} bytes and was left out")
                continue
            if not line.endswith(b"\n"):
                await self._child_ended()
                break
            entries.append(line)
        return entries

    async def _child_ended(self) -> None:
        assert self._child is not None  # noqa: S101
        status = await self._child.wait()
        if self._listening is not None:
            await self._listening
        self._child = None
        if self._once and status == 0:
            self._is_finished = True
            return
        told = self._errors.decode("utf-8", "replace").strip().replace("\n", "; ")
        self._said.append(f"journalctl ended with status {status} and is started again: {told or 'it said nothing'}")
        self._start_at = time.monotonic() + self._wait * random.uniform(0.5, 1.0)  # noqa: S311
        self._wait = min(self._wait * 2, _LONGEST_WAIT_SECONDS)

    def _line(self, raw: bytes) -> Line | None:
        """Return an entry as a line; None for what is no entry or has no text. Moves the cursor."""
        try:
            entry = msgspec.json.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            self._said.append("journalctl wrote a line that is not JSON; it was left out")
            return None
        if not isinstance(entry, dict):
            return None
        cursor = entry.get("__CURSOR")
        if isinstance(cursor, str) and cursor:
            self._cursor = cursor
        return read_entry(entry, self._options.naming)


def read_entry(entry: Mapping[str, Any], naming: Naming) -> Line | None:
    """Return a journal entry as a line; None if it has no text.

    The service is the unit's name without `.service`, else the syslog identifier, else the command. MESSAGE may be text,
    an array of bytes, or null where it is too large.
    """
    message, cut = cut_text(_text(entry.get("MESSAGE")).replace("\0", " "))
    if not message.strip():
        return None
    unit = _text(entry.get("_SYSTEMD_USER_UNIT")) or _text(entry.get("_SYSTEMD_UNIT"))
    identifier = _text(entry.get("SYSLOG_IDENTIFIER")) or _text(entry.get("_COMM"))
    container = _text(entry.get("CONTAINER_NAME"))
    of_unit = unit.removesuffix(".service") if unit.endswith(".service") else ""
    attributes: dict[str, Attribute] = dict(naming.attributes)
    for name, field in _ATTRIBUTES.items():
        if value := _text(entry.get(field)):
            attributes[name] = value
    if cut:
        attributes["log.cut_bytes"] = cut
    priority = _text(entry.get("PRIORITY"))
    level = _SEVERITIES[int(priority)] if len(priority) == 1 and priority in "01234567" else ""
    if level in ("", "info"):  # what a service prints has no priority of its own
        level = guess_level(message) or level
    return Line(
        timestamp=_moment(entry),
        service=naming.service or container or of_unit or identifier or "journal",
        message=message,
        level=level,
        node=_text(entry.get("_HOSTNAME")) or naming.node or socket.gethostname(),
        environment=naming.environment,
        attributes=attributes,
    )


_ATTRIBUTES = {
    "systemd.unit": "_SYSTEMD_UNIT",
    "syslog.identifier": "SYSLOG_IDENTIFIER",
    "process.pid": "_PID",
    "container.id": "CONTAINER_ID",
    "code.file.path": "CODE_FILE",
    "code.line.number": "CODE_LINE",
    "code.function.name": "CODE_FUNC",
}


def _moment(entry: Mapping[str, Any]) -> int:
    for field in ("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"):
        text = _text(entry.get(field))
        if text.isascii() and text.isdigit() and len(text) <= 16:
            return int(text)
    return time.time_ns() // 1000


def _text(value: Any) -> str:
    """Return a field's text: of several values the first, of bytes what they mean in UTF-8."""
    if isinstance(value, str):
        return value
    if isinstance(value, list) and value:
        if all(isinstance(item, int) and 0 <= item < 256 for item in value):
            return bytes(value).decode("utf-8", "backslashreplace")
        return _text(value[0])
    return ""

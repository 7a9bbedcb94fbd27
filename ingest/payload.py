"""Bodies to JSON values: arrays, single objects and NDJSON.

`Decoded` is what every decoder of this folder makes of such a body.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from domain.errors import PayloadError, UnsupportedMediaType
from ingest.mended_json import read_json
from tracing.events import Event

# body, Content-Type, environment of records that name none, time of arrival
type Decode = Callable[[bytes, str, str, int], Decoded[Any]]

MAX_ERRORS = 20
_REFUSED_BYTES = 1024 * 1024

_NDJSON_TYPES = {"application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"}
_JSON_TYPES = {"", "application/json", "text/json", "text/plain"}


@dataclass(slots=True)
class Decoded[R]:
    """The records of a payload, and what was wrong with those that could not be taken.

    `undated` holds the indexes of records that had no time and were given that of their arrival. `refused` holds records
    that were not taken, as JSON, where they can be sent again by themselves: up to 1 MB of them. `agent_records` holds
    the spans of agent traces that came among telemetry, each as events of the trace log.
    """

    records: list[R] = field(default_factory=list)
    rejected: int = 0
    errors: list[str] = field(default_factory=list)
    undated: set[int] = field(default_factory=set)
    refused: list[bytes] = field(default_factory=list)
    agent_records: list[list[Event]] = field(default_factory=list)
    _refused_bytes: int = 0

    def reject(self, reason: str, count: int = 1) -> None:
        """Count records that are not taken; the first reasons are kept for the sender."""
        self.rejected += count
        self.note(reason)

    def refuse(self, reason: str, raw: Any, count: int = 1) -> None:
        """Count a record that is not taken (`count` where it holds several), and keep it as it was sent."""
        self.refuse_as(reason, lambda: raw, count)

    def refuse_as(self, reason: str, make: Callable[[], Any], count: int = 1) -> None:
        """Count a record that is not taken, and keep what `make` makes of it; it is not asked where there is no room."""
        self.reject(reason, count)
        if not self.has_room:
            return
        raw = make()
        record = raw.line if isinstance(raw, Unreadable) else msgspec.json.encode(raw)
        self._refused_bytes += len(record)
        if self.has_room:
            self.refused.append(record)

    @property
    def has_room(self) -> bool:
        """Whether more refused records are kept."""
        return self._refused_bytes <= _REFUSED_BYTES

    def note(self, reason: str) -> None:
        """Tell the sender something, if not much was told yet."""
        if len(self.errors) < MAX_ERRORS:
            self.errors.append(reason[:500])


def media_type(content_type: str) -> str:
    """Return the bare, lower-case media type of a Content-Type header."""
    return content_type.partition(";")[0].strip().lower()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A line that is not JSON, and why."""

    reason: str
    line: bytes


def _read_line(number: int, line: bytes) -> Any:
    try:
        return read_json(line)
    except PayloadError as exc:
        raise PayloadError(f"Line {number} of the NDJSON body is not JSON: {exc}") from exc


def _readable_line(number: int, line: bytes) -> Any:
    try:
        return _read_line(number, line)
    except PayloadError as exc:
        return Unreadable(str(exc), line)


def parse_json(body: bytes, content_type: str = "", each_line: Callable[[int, bytes], Any] = _read_line) -> Any:
    """Return the value of a JSON body; NDJSON becomes a list of what `each_line` makes of a line and its number.

    Raises UnsupportedMediaType, or PayloadError that says where the text stops being JSON (for NDJSON, the line).
    """
    kind = media_type(content_type)
    if kind in _NDJSON_TYPES:
        return _parse_lines(body, each_line)
    if kind not in _JSON_TYPES and not kind.endswith("+json"):
        raise UnsupportedMediaType(
            f"Content-Type {kind[:64]!r} is not taken: send application/json or application/x-ndjson."
        )
    try:
        return read_json(body)
    except PayloadError as exc:
        if _looks_like_lines(body):
            return _parse_lines(body, each_line)
        raise PayloadError(f"The body is not JSON: {exc}") from exc


def parse_records(body: bytes, content_type: str = "") -> list[Any]:
    """Return the records of a JSON body: an array, one object, or one object a line.

    A line that is not JSON stands in its place as `Unreadable`, since the others are no worse for it.
    """
    value = parse_json(body, content_type, each_line=_readable_line)
    if isinstance(value, list):
        return value
    if isinstance(value, dict):
        return [value]
    raise PayloadError("The body must be a JSON array of objects, one object, or NDJSON.")


def _looks_like_lines(body: bytes) -> bool:
    first, newline, rest = body.lstrip().partition(b"\n")
    if not newline or not rest.strip() or b"{" not in first[:4]:
        return False
    try:
        return isinstance(read_json(first), dict)
    except PayloadError:
        return False


def _parse_lines(body: bytes, each_line: Callable[[int, bytes], Any]) -> list[Any]:
    return [each_line(number, line) for number, line in enumerate(body.split(b"\n"), 1) if line.strip()]

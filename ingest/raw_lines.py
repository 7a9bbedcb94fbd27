"""Raw log lines to records: header cut off, time and level read, what the text says made fields.

    reader = LineReader()
    reader.learn("/var/log/app.log", first_lines, now_us)   # optional: else it learns from what it reads
    record = reader.read("/var/log/app.log", line, now_us)

A source is whatever writes in one way: a file, a container's stream, a syslog program. One reader per process; it is
cheap to ask and bounded in memory, and not meant for several threads at once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from typing import Any

import msgspec

from domain.telemetry import Attributes, Level, Scalar
from ingest import structured_lines as keys
from ingest.fields import MESSAGE_BYTES, clean_attributes, clean_name, clean_text, parse_level
from ingest.headers import (
    MIN_LINES,
    SAMPLE_LINES,
    Column,
    Kind,
    Layout,
    cut_header,
    guess_layout,
    learn_layout,
    level_of,
)
from ingest.said_fields import guess_level, read_said_fields, read_trace_ids
from ingest.structured_lines import read_object, take
from ingest.timestamps import clock_in, moment_in, parse_said_time

_SOURCES = 10_000
_MISSES = 0.5
_SAMPLE_CHARS = 500


class RawRecord(msgspec.Struct, frozen=True, gc=False):
    """What a raw line says. What it does not say is None or empty; `has_header` is False for a line that goes on."""

    message: str
    time_us: int | None = None
    level: Level | None = None
    service: str = ""
    node: str = ""
    trace_id: str = ""
    span_id: str = ""
    attributes: Attributes = {}
    has_header: bool = False


@dataclass(slots=True)
class _Source:
    layout: Layout | None = None
    sample: list[str] = field(default_factory=list)
    misses: int = 0


class LineReader:
    """Reads the raw lines of many sources; remembers how each of the last 10,000 writes its header.

    Times that name no zone are of `zone`.
    """

    def __init__(self, zone: tzinfo = UTC) -> None:
        self._zone = zone
        self._sources: OrderedDict[str, _Source] = OrderedDict()

    def learn(self, source: str, lines: Sequence[str], now_us: int) -> Layout:
        """Learn the header of a source from its first lines, and return it."""
        known = self._source(source)
        known.layout, known.sample, known.misses = learn_layout(lines, now_us), [], 0
        return known.layout

    def read(self, source: str, line: str, now_us: int) -> RawRecord:
        """Return the record of one line (or of one event of several lines). `now_us` fills in years that are not said.

        Never raises; the message is cut to 64 KiB.
        """
        line = line.rstrip("\r\n")
        zone = self._zone
        fields = read_object(line)
        if fields is not None:
            return _structured(fields, line, now_us, zone)
        known = self._source(source)
        head, _, rest = line.partition("\n")
        columns = self._cut(known, head, clock_in(zone, now_us))
        message = head[columns[-1].next :] if columns else head
        if fields := read_object(message):
            return _structured(fields, message, now_us, zone, _from_columns(columns, "", now_us, zone))
        return _from_columns(columns, f"{message}\n{rest}" if rest else message, now_us, zone)

    def _source(self, name: str) -> _Source:
        known = self._sources.get(name)
        if known is None:
            known = self._sources[name] = _Source()
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        else:
            self._sources.move_to_end(name)
        return known

    def _cut(self, known: _Source, head: str, now_us: int) -> list[Column]:
        columns = cut_header(head, known.layout, now_us) if known.layout is not None else None
        if columns is not None:
            known.misses = max(0, known.misses - 1)
            return columns
        if head[:1].strip():
            self._sample(known, head, now_us)
        return cut_header(head, guess_layout(head, now_us), now_us) or []

    def _sample(self, known: _Source, head: str, now_us: int) -> None:
        """Keep a line that the layout does not fit; learn the header (again) once there are enough of them."""
        if len(known.sample) < SAMPLE_LINES:
            known.sample.append(head[:_SAMPLE_CHARS])
        known.misses += 1
        first = known.layout is None and len(known.sample) >= MIN_LINES
        if first or known.misses >= SAMPLE_LINES * _MISSES:
            known.layout, known.sample, known.misses = learn_layout(known.sample, now_us), [], 0


# -- records -----------------------------------------------------------------------------------------------------------


def _from_columns(columns: Sequence[Column], message: str, now_us: int, zone: tzinfo) -> RawRecord:
    message = clean_text(message, MESSAGE_BYTES)
    level = level_of(columns)
    trace_id, span_id = read_trace_ids(message)
    named = _name_columns(columns)
    time = next((column for column in columns if column.kind is Kind.TIME), None)
    return RawRecord(
        message=message,
        time_us=None if time is None else time.time_us if time.zoned else moment_in(zone, time.time_us, now_us),
        level=guess_level(message) if level is None else level,
        service=named.pop("service", ""),
        node=named.pop("node", ""),
        trace_id=trace_id,
        span_id=span_id,
        attributes=clean_attributes([*named.items(), *read_said_fields(message).items()]),
        has_header=any(column.kind in (Kind.TIME, Kind.LEVEL) for column in columns),
    )


def _name_columns(columns: Sequence[Column]) -> dict[str, str]:
    """Name the columns that are not time or level: host and program as syslog writes them, pid, thread, logger."""
    kinds = [column.kind for column in columns]
    named: dict[str, str] = {}
    left: list[str] = []
    for at, column in enumerate(columns):
        text = clean_name(column.text)
        match column.kind:
            case Kind.TAG if text.rpartition(":")[2].isdigit():
                named["code.file.path"], _, named["code.line.number"] = text.rpartition(":")
            case Kind.TAG:
                name, pid = _split_tag(text)
                named |= {"pid": pid} if pid else {}
                syslog = kinds[max(0, at - 2) : at] == [Kind.TIME, Kind.WORD]
                named["service" if syslog else "logger"] = name
                if syslog and left:
                    named["node"] = left.pop()
            case Kind.NUMBER if "thread" not in named:
                named["thread" if "pid" in named else "pid"] = text
            case Kind.BRACKET if text:
                named.setdefault("thread", text)
            case Kind.WORD if text:
                left.append(text)
            case _:
                pass
    if left and left[-1] in ("stdout", "stderr"):
        named["stream"] = left.pop()
    if Kind.LEVEL in kinds and "logger" not in named and left and left[-1].replace(".", "").isidentifier():
        named["logger"] = left.pop()
    if left:
        named["header"] = " ".join(left)
    return named


def _split_tag(text: str) -> tuple[str, str]:
    name, opened, rest = text.partition("[")
    pid = rest.rstrip("]") if opened and rest.endswith("]") else ""
    return (name, pid) if pid.isdigit() and name else (text, "")


def _structured(
    fields: dict[str, Any], line: str, now_us: int, zone: tzinfo, outer: RawRecord | None = None
) -> RawRecord:
    """Return the record of a line that is an object; what it does not say itself, the header around it may."""
    outer = outer or RawRecord("")
    said_time, said_level = take(fields, keys.TIME_KEYS), take(fields, keys.LEVEL_KEYS)
    message = take(fields, keys.MESSAGE_KEYS)
    text = clean_text(message if isinstance(message, str) else line, MESSAGE_BYTES)
    if message is not None and not isinstance(message, str):
        fields["message"] = message
    trace_id, span_id = read_trace_ids(text)
    level = parse_level(said_level) if isinstance(said_level, str | int | float) else None
    named: list[tuple[str, Scalar]] = [
        (name, clean_name(str(value)))
        for name, names in (("logger", keys.LOGGER_KEYS), ("thread", keys.THREAD_KEYS), ("pid", keys.PID_KEYS))
        if (value := take(fields, names)) is not None
    ]
    return RawRecord(
        message=text,
        time_us=_time_of(said_time, now_us, zone) or outer.time_us,
        level=level or outer.level or guess_level(text),
        service=_name_of(fields, keys.SERVICE_KEYS) or outer.service,
        node=_name_of(fields, keys.NODE_KEYS) or outer.node,
        trace_id=_name_of(fields, keys.TRACE_KEYS).replace("-", "").lower() or trace_id,
        span_id=_name_of(fields, keys.SPAN_KEYS).replace("-", "").lower() or span_id,
        attributes={**outer.attributes, **clean_attributes([*named, *fields.items(), *_said_of(fields, text)])},
        has_header=True,
    )


def _said_of(fields: dict[str, Any], text: str) -> list[tuple[str, Scalar]]:
    """Return what the message says, and a stack trace in a field of its own."""
    stack = next(
        (str(fields[name]) for name in ("stack_trace", "stack", "exc_info", "exception") if fields.get(name)), ""
    )
    return list(read_said_fields(f"{text}\n{stack}" if stack else text).items())


def _name_of(fields: dict[str, Any], names: tuple[str, ...]) -> str:
    value = take(fields, names)
    return clean_name(str(value)) if isinstance(value, str | int) else ""


def _time_of(value: Any, now_us: int, zone: tzinfo) -> int | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return parse_said_time(value, now_us, zone)
    except ValueError:
        return None

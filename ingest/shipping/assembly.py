"""From the raw lines of one file to lines to ship: decoded, put together, named."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import tzinfo

from domain.telemetry import Level
from ingest.raw_lines import LineReader, RawRecord
from ingest.shipping.formats import Form, name_stream, read_entries, sniff_form
from ingest.shipping.joining import Joined, Joiner
from ingest.shipping.line import Attribute, Line, guess_level
from ingest.shipping.tail import Chunk, Cursor


@dataclass(frozen=True, slots=True)
class Naming:
    """What every line of a file is said to be. A service that was only guessed yields to one that a line names."""

    service: str
    node: str = ""
    environment: str = ""
    attributes: dict[str, Attribute] = field(default_factory=dict)
    is_guess: bool = True


class Assembler:
    """Assembles one file's lines. Its state is in the cursor: `held` and `pieces`.

    With a reader the header of a line (time, level, process ...) becomes fields, and so do the fields of a JSON line.
    `zone` is that of times of syslog that name none, by default the machine's; a reader has its own.
    """

    def __init__(
        self,
        cursor: Cursor,
        naming: Naming,
        form: Form | None,
        *,
        joins: bool,
        encoding: str,
        reader: LineReader | None = None,
        zone: tzinfo | None = None,
    ) -> None:
        self._reader = reader
        self._zone = zone
        self._source = cursor.path
        self._pieces = cursor.pieces
        self._naming = naming
        self._form = form
        self._encoding = encoding
        self._joiner = Joiner(joins, cursor.held)
        self._touched: set[str] = set()
        self._last_us = 0

    @property
    def is_waiting(self) -> bool:
        """Say whether something is held back that may go on."""
        return bool(self._joiner.held)

    def add(self, chunk: Chunk, now_us: int) -> list[Line]:
        """Return the events that a chunk completes. Lines without a time of their own get that of their reading."""
        if not chunk.lines:
            return []
        text = b"\n".join(chunk.lines).decode(self._encoding, "backslashreplace")
        lines = text.split("\n")
        if "\r" in text:
            lines = [line.removesuffix("\r") for line in lines]
        if "\0" in text:  # what a writer leaves that goes on at its old place in a file that was cut short
            lines = [line.lstrip("\0") for line in lines]
        form = self._form
        if form is None:
            form = self._form = sniff_form(lines[0])
        done: list[Line] = []
        cut, note, add, held = chunk.cut, chunk.note, self._joiner.add, self._joiner.held
        now_us = max(now_us, self._last_us)
        for time_us, stream, line, more in read_entries(form, lines, self._pieces, self._zone):
            now_us += 1  # so that lines without a time keep their order
            joined = add(time_us or now_us, line, stream, cut + more, note)
            if joined is not None:
                done.append(self._name(joined, form))
            cut, note = 0, ""
            self._touched.add(stream)
        self._last_us = now_us
        if chunk.note == "partial" and not held.keys().isdisjoint({""}):
            done += self.flush()
        return done

    def flush(self) -> list[Line]:
        """Return everything that is held back."""
        self._touched.clear()
        return [self._name(joined, self._form or "plain") for joined in self._joiner.flush()]

    def flush_idle(self) -> list[Line]:
        """Return what was held back by streams that have brought nothing since the last call."""
        held = self._joiner.held
        idle = {stream: held.pop(stream) for stream in list(held) if stream not in self._touched}
        self._touched.clear()
        return [self._name(joined, self._form or "plain") for joined in Joiner(held=idle).flush()]

    def _name(self, joined: Joined, form: Form) -> Line:
        naming = self._naming
        service, node, level, more = name_stream(form, joined.stream)
        read = self._read(joined)
        if read.attributes or more or joined.cut or joined.note:
            more = {**read.attributes, **naming.attributes, **more}
            if joined.cut:
                more["log.cut_bytes"] = joined.cut
            if joined.note:
                more["log.part"] = joined.note
        else:
            more = naming.attributes
        level = level or (read.level.name.lower() if read.level else "") or ("error" if joined.is_trace else "")
        said = read.service if naming.is_guess else ""
        return Line(
            # A runtime's or a syslog daemon's time is that of the writing; what a line itself says comes next.
            timestamp=(read.time_us if form == "plain" else None) or joined.time_us,
            service=service or said or naming.service,
            message=read.message,
            level=level,
            node=node or naming.node,
            environment=naming.environment,
            trace_id=read.trace_id,
            span_id=read.span_id,
            attributes=more,
        )

    def _read(self, joined: Joined) -> RawRecord:
        if self._reader is not None:
            read = self._reader.read(f"{self._source} {joined.stream}", joined.text, joined.time_us)
            if read.message:
                return read
        level = guess_level(joined.text)
        return RawRecord(joined.text, level=Level[level.upper()] if level else None)

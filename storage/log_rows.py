"""Log events as what is written of them: lines of text for one bulk load, and their counts. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from domain.telemetry import Attributes, LogEvent
from domain.times import SLOT_US
from storage.database import Row

# ASCII's unit and record separators: the text of a log event is cleaned of control characters.
_FIELD, _LINE = "\x1f", "\x1e"
_FIELDS = 10
_BLANKS = str.maketrans({_FIELD: " ", _LINE: " "})


@dataclass(frozen=True, slots=True)
class LogRows:
    """The log events of a delivery as rows of `log_event`, all but their `seq`, in one text; `count` is how many."""

    text: str = ""
    count: int = 0

    def load(self, seq: int) -> str:
        """Return the rows with their `seq`, as `ingest_load_logs` reads them."""
        return f"{seq}{_FIELD}{self.text.replace(_LINE, f'{_LINE}{seq}{_FIELD}')}{_LINE}" if self.count else ""

    def rows(self, seq: int) -> list[Row]:
        """Return the rows with their `seq`, as `ingest_add_logs` reads them."""
        return [(seq, *line.split(_FIELD)) for line in self.text.split(_LINE)] if self.count else []


def make_log_rows(events: Sequence[LogEvent], encode: Callable[[Attributes], str]) -> LogRows:
    """Return log events as rows; `encode` makes the text of their attributes."""
    lines = [
        f"{e.environment}\x1f{e.time_us}\x1f{e.service}\x1f{e.level:d}\x1f{e.template_id}\x1f{e.node}\x1f{e.trace_id}\x1f"
        f"{e.span_id}\x1f{e.message}\x1f{encode(e.attributes)}"
        for e in events
    ]
    text = _LINE.join(lines)
    if lines and (text.count(_LINE) != len(lines) - 1 or text.count(_FIELD) != len(lines) * (_FIELDS - 1)):
        text = _LINE.join(_FIELD.join(_blanked(event, encode)) for event in events)
    return LogRows(text, len(lines))


def _blanked(e: LogEvent, encode: Callable[[Attributes], str]) -> Iterable[str]:
    fields = (
        e.environment,
        e.time_us,
        e.service,
        int(e.level),
        e.template_id,
        e.node,
        e.trace_id,
        e.span_id,
        e.message,
    )
    return (str(field).translate(_BLANKS) for field in (*fields, encode(e.attributes)))


def count_arrivals(events: Iterable[LogEvent]) -> tuple[Row, ...]:
    """Return the rows of `log_arrival`, all but their `seq`, in key order.

    Events per environment, service, node, template, level and slot: how many, the time of the first and of the last.
    """
    found: dict[tuple[str, str, str, int, int, int], list[int]] = {}
    for event in events:
        time_us = event.time_us
        key = (
            event.environment,
            event.service,
            event.node,
            event.template_id,
            event.level,
            time_us - time_us % SLOT_US,
        )
        count = found.get(key)
        if count is None:
            found[key] = [1, time_us, time_us]
        else:
            count[0] += 1
            if time_us < count[1]:
                count[1] = time_us
            elif time_us > count[2]:
                count[2] = time_us
    return tuple((*key[:4], int(key[4]), key[5], *count) for key, count in sorted(found.items()))


def merge_counts(arrivals: Iterable[Row]) -> Sequence[Row]:
    """Return the rows of `log_count` that rows of `count_arrivals` come to, in key order."""
    found: dict[Row, tuple[int, int, int]] = {}
    for environment, service, _, template_id, level, slot_us, count, first_us, last_us in arrivals:
        key = (environment, slot_us, service, template_id, level)
        known = found.get(key)
        if known is not None:
            count, first_us, last_us = count + known[0], min(first_us, known[1]), max(last_us, known[2])
        found[key] = (count, first_us, last_us)
    return [(*key, *values) for key, values in sorted(found.items())]

"""A bound on the templates of one service: a line of a kind beyond it is stored and counted under one common template.

A service that writes prose, dumps or somebody else's payloads would otherwise fill the table of templates and every
statistic over it, and slow down its neighbours. The bound starts anew each hour, so a flood does not last.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from msgspec.structs import replace

from domain.telemetry import LogEvent
from domain.times import HOUR_US
from ingest.mask_words import VARIABLE
from ingest.template import template_id

OVERFLOW_TEXT = f"{VARIABLE} (of too many kinds of lines)"
_OVERFLOW_ID = template_id(OVERFLOW_TEXT)
_SOURCES = 2_000  # remembered at a time; the one heard of first is forgotten, and its bound starts anew


class TemplateBudget:
    """The templates that each service of each environment used within the hour. Safe to use from many threads.

    `limit` is how many one service may have, `overflowed` how many lines were beyond it since this process began.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._hour = -1
        self._used: dict[tuple[str, str], set[int]] = {}
        self._lock = threading.Lock()
        self.overflowed = 0

    def apply(self, events: Sequence[LogEvent], arrived_us: int) -> Sequence[LogEvent]:
        """Return the events, those beyond the bound with the common template."""
        with self._lock:
            hour = arrived_us // HOUR_US
            if hour != self._hour:
                self._hour, self._used = hour, {}
            beyond = [at for at, event in enumerate(events) if not self._take(event)]
            self.overflowed += len(beyond)
        if not beyond:
            return events
        kept = list(events)
        for at in beyond:
            kept[at] = replace(kept[at], template_id=_OVERFLOW_ID, template=OVERFLOW_TEXT)
        return kept

    def _take(self, event: LogEvent) -> bool:
        key = (event.environment, event.service)
        used = self._used.get(key)
        if used is None:
            while len(self._used) >= _SOURCES:
                del self._used[next(iter(self._used))]
            used = self._used[key] = set()
        if event.template_id in used:
            return True
        if len(used) >= self._limit:
            return False
        used.add(event.template_id)
        return True

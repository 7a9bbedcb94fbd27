"""Small builders of spans: a request trace is written as nested calls."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from domain.observed import SpanRow
from domain.telemetry import SpanKind

_ids = itertools.count(1)


class TraceBuilder:
    """Builds one request trace; every call returns the span's id so that children can name their parent."""

    def __init__(self, start_us: int) -> None:
        self.trace_id = f"{next(_ids):032x}"
        self.start_us = start_us
        self.spans: list[SpanRow] = []

    def span(
        self,
        service: str,
        name: str,
        kind: SpanKind,
        duration_us: int,
        parent: str = "",
        *,
        error: str = "",
        peer: str = "",
        offset_us: int = 0,
    ) -> str:
        span_id = f"{next(_ids):016x}"
        self.spans.append(
            SpanRow(
                self.trace_id,
                span_id,
                parent,
                service,
                name,
                int(kind),
                self.start_us + offset_us,
                duration_us,
                bool(error),
                error,
                peer,
                "",
                "",
            )
        )
        return span_id

    def call(
        self, caller: str, callee: str, duration_us: int, parent: str, *, error: str = "", server_error: str = ""
    ) -> str:
        """A client span of the caller and the server span of the callee under it; returns the server span's id."""
        client = self.span(
            caller, f"POST {callee}", SpanKind.CLIENT, duration_us + 1000, parent, error=error, peer=f"{callee}:80"
        )
        return self.span(callee, f"POST /{callee}", SpanKind.SERVER, duration_us, client, error=server_error)


def flatten(traces: Sequence[TraceBuilder]) -> list[SpanRow]:
    """Return the spans of several traces."""
    return [span for trace in traces for span in trace.spans]

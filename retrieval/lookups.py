"""Look-ups that write down what they looked at: window, filter, rows, and whether the source was speaking at all."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Sized

from domain.errors import CausegraphError
from domain.evidence import LedgerEntry
from domain.times import Window
from tracing.trace import current_trace


class SearchLedger:
    """The queries of one investigation, in the order in which they ended."""

    def __init__(self) -> None:
        self.entries: list[LedgerEntry] = []

    async def note[T: Sized](
        self,
        query: str,
        window: Window,
        lookup: Awaitable[T],
        *,
        filter: str = "",  # noqa: A002
        scanned: int | None = None,
        reporting: bool | None = None,
    ) -> T:
        """Await a look-up and record it; a failed one is recorded with its error and raised."""
        began = time.perf_counter()
        returned, error = 0, ""
        try:
            result = await lookup
            returned = len(result)
            return result
        except CausegraphError as exc:
            error = str(exc)
            raise
        finally:
            entry = LedgerEntry(
                query=query,
                window=window,
                filter=filter,
                rows_scanned=returned if scanned is None else scanned,
                rows_returned=returned,
                reporting=reporting if reporting is not None or error else (True if returned else None),
                seconds=round(time.perf_counter() - began, 4),
                error=error,
            )
            self.entries.append(entry)
            current_trace().ledger(entry)

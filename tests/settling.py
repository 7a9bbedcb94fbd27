"""Waiting until alerts are grouped."""

from __future__ import annotations

import time

from agents.triage import AlertTriage


async def settle(triage: AlertTriage) -> None:
    """Take steps until everything that was ingested is grouped."""
    end = time.monotonic() + 60
    while True:
        await triage.advance()
        waiting = await triage.store.waiting(1)
        if waiting.after == waiting.upto:
            return
        assert time.monotonic() < end, waiting

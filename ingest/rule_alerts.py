"""Alerts that log rules gave end by themselves: when their time is over, as deliveries like any other."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby

from blake3 import blake3

from domain.errors import StorageError
from domain.telemetry import Alert
from domain.times import MINUTE_US
from ingest.log_rules import SOURCE
from storage.alerts import open_alerts
from storage.database import Database
from storage.ingest import Batch, Sink

logger = logging.getLogger(__name__)

LASTS_US = 15 * MINUTE_US
_POLL_SECONDS = 30.0
_AT_ONCE = 500


class RuleAlerts:
    """A follower of the ingest: a quarter of an hour after its first line an alert of a log rule is resolved.

    Lines that still match by then are a new alert.
    """

    def __init__(self, database: Database, sink: Sink) -> None:
        self._database = database
        self._sink = sink

    async def resolve(self) -> int:
        """Resolve what is due and return how many alerts that were. Raises StorageError."""
        now_us = time.time_ns() // 1000
        due = await open_alerts(self._database, SOURCE, now_us - LASTS_US, _AT_ONCE)
        for environment, alerts in groupby(due, key=lambda alert: alert.environment):
            await self._sink.take(_end_of(environment, list(alerts), now_us))
        return len(due)

    async def run(self, stop: asyncio.Event) -> None:
        """Resolve until `stop` is set; outlives failures of the database."""
        while not stop.is_set():
            try:
                while await self.resolve() == _AT_ONCE:
                    pass
            except StorageError as exc:
                logger.warning("Alerts of log rules could not be resolved", extra={"reason": str(exc)})
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _POLL_SECONDS)


def _end_of(environment: str, alerts: Sequence[Alert], now_us: int) -> Batch:
    ended = [replace(alert, status="resolved", ended_us=alert.time_us + LASTS_US) for alert in alerts]
    told = "\n".join(sorted(f"{alert.fingerprint} {alert.time_us}" for alert in alerts))
    key = blake3(f"{SOURCE}\n{told}".encode()).hexdigest()
    return Batch(environment, "alerts", key, now_us, alerts=ended)

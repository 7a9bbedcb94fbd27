"""Alerts that are open, of any environment."""

from __future__ import annotations

import json

from domain.telemetry import Alert
from storage.database import Database


async def open_alerts(database: Database, source: str, before_us: int, limit: int) -> list[Alert]:
    """Return alerts of a source that fire since before a moment, those of one environment together."""
    rows = await database.fetch("open_alerts", (source, before_us, limit))
    return [
        Alert(
            environment=str(environment),
            time_us=int(time_us),
            source=source,
            name=str(name),
            status="firing",
            fingerprint=str(fingerprint),
            service=str(service),
            severity=str(severity),
            summary=str(summary),
            runbook_url=str(runbook_url),
            labels=json.loads(labels),
        )
        for environment, time_us, name, fingerprint, service, severity, summary, runbook_url, labels in rows
    ]

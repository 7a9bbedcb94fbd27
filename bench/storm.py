"""A storm of alerts: how fast it is taken in over HTTP, how fast it is grouped, and how many incidents it becomes.

    .venv/bin/python -m bench.storm --alerts 10000

The alternative beside it is what an address without grouping does: one incident, and one message in a chat, for each alert.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import batched
from pathlib import Path
from typing import Any

import httpx

from agents.services import Services
from agents.triage import AlertTriage
from api.app import build_app
from cli.services import open_services
from cli.stack import stop_stack
from domain.settings import Settings

_SERVICES = ("storefront", "checkout", "payment", "search", "mail")
_RULES = ("HighErrors", "Slow", "Saturated", "Restarting")
_GROUP = 50


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alerts", type=int, default=10_000)
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="causegraph-storm-") as folder:
        try:
            asyncio.run(_run(Path(folder), parser.parse_args().alerts))
        finally:
            stop_stack(Path(folder))


async def _run(folder: Path, count: int) -> None:
    settings = Settings(data_dir=folder, embedder="none", alert_investigations_per_hour=0)
    async with open_services(settings) as services, services.projecting():
        await _state_topology(services)
        key = await services.keys.ensure_local_key(folder)
        transport = httpx.ASGITransport(build_app(replace(services)))
        async with httpx.AsyncClient(
            transport=transport, base_url="http://bench", headers={"X-API-Key": key}
        ) as client:
            taken = await _send(client, count)
        await services.spool.wait_drained(60)
        triage = AlertTriage(services)
        began = time.perf_counter()
        while (waiting := await triage.store.waiting(1)).after < waiting.upto:
            await triage.advance()
        grouped = time.perf_counter() - began
        incidents = await services.incidents.list("storm", status="live", limit=500)
        kept = [await triage.log.get(incident.id) for incident in incidents]
        held = sum(incident.profile.alerts for incident in kept)
        print(
            f"{count:,} alerts in {-(-count // _GROUP):,} webhooks taken in {taken:.1f} s, grouped in {grouped:.1f} s"
        )
        print(f"{len(incidents)} incidents hold {held:,} alerts; one for each alert: {count:,} incidents")


async def _state_topology(services: Services) -> None:
    from ingest.service import Delivery

    calls = [("storefront", "checkout"), ("checkout", "payment"), ("search", "index"), ("mail", "relay")]
    edges = json.dumps([{"source": source, "target": target} for source, target in calls]).encode()
    receipt = await services.ingest.accept_topology(Delivery(edges, environment="storm"))
    await services.projection.wait_for(receipt.watermark, 30)


async def _send(client: httpx.AsyncClient, count: int) -> float:
    began = time.perf_counter()
    for group in batched(_alerts(count), _GROUP):
        body = {"version": "4", "groupKey": "{}", "alerts": group}
        reply = await client.post("/ingest/alerts/alertmanager?environment=storm", json=body)
        reply.raise_for_status()
    return time.perf_counter() - began


def _alerts(count: int) -> Iterator[dict[str, Any]]:
    start = datetime.now(UTC) - timedelta(minutes=1)
    for number in range(count):
        service = _SERVICES[number % len(_SERVICES)]
        rule = _RULES[number // len(_SERVICES) % len(_RULES)]
        yield {
            "status": "firing",
            "labels": {
                "alertname": rule,
                "service": service,
                "severity": "critical",
                "instance": f"{service}-{number}",
            },
            "annotations": {"summary": f"{rule} of {service}"},
            "startsAt": (start + timedelta(seconds=60 * number / count)).isoformat(),
        }


if __name__ == "__main__":
    main()

"""The whole application on the session's servers, and an incident to ask about."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from api.app import build_app
from cli.services import build_services
from domain.settings import Settings
from domain.times import SECOND_US
from graph.topology import TopologyGraph
from storage.database import Database

HOSTILE = "<script>alert(1)</script> [red]boom[/red] \u202e \x1b[31mred"


@pytest.fixture(scope="module")
async def services(database: Database, topology: TopologyGraph, data_dir: Path) -> AsyncIterator[Services]:
    """Every service, with the topology being followed."""
    built = build_services(Settings(data_dir=data_dir, embedder="none"), database, topology)
    async with built.projecting():
        yield built


@pytest.fixture(scope="module")
async def admin_key(services: Services, data_dir: Path) -> str:
    return await services.keys.ensure_local_key(data_dir)


@pytest.fixture(scope="module")
async def transport(services: Services) -> httpx.ASGITransport:
    return httpx.ASGITransport(build_app(services, "the-test"), raise_app_exceptions=False)


@pytest.fixture
async def client(transport: httpx.ASGITransport, admin_key: str) -> AsyncIterator[httpx.AsyncClient]:
    """A client with the admin key."""
    headers = {"X-API-Key": admin_key}
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as opened:
        yield opened


@pytest.fixture
async def browser(transport: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    """A client without a key, which keeps cookies."""
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as opened:
        yield opened


@pytest.fixture
async def incident(client: httpx.AsyncClient, environment: str) -> str:
    """An environment in which payment began to fail a minute ago, after a deploy, with hostile words everywhere."""
    for path, body, query in incident_bodies(environment):
        await _post(client, path, body, query)
    return environment


def incident_bodies(environment: str) -> list[tuple[str, Any, str]]:
    """Return what to send of such an incident: (path, body, environment of the query)."""
    now = time.time_ns() // 1000
    onset = now - 60 * SECOND_US
    spans = {"storefront": [], "payment": []}  # type: dict[str, list[dict[str, Any]]]
    for number in range(180):
        start = now - (180 - number) * SECOND_US
        bad = start >= onset
        trace = f"{now:016x}{number:016x}"
        told = f"charge refused {HOSTILE}"
        spans["storefront"].append(_span(trace, 1, 0, "POST /checkout", 2, start, 90_000, bad, told))
        spans["storefront"].append(_span(trace, 2, 1, "POST", 3, start + 1000, 80_000, bad, told))
        spans["payment"].append(_span(trace, 3, 2, "POST /charges", 2, start + 2000, 60_000, bad, told))
    body = {"resourceSpans": [_resource(service, environment, held) for service, held in spans.items()]}
    logs = [
        {"timestamp": onset + n * SECOND_US, "service": "payment", "level": "error", "message": f"KeyError {HOSTILE}"}
        for n in range(50)
    ]
    change = {
        "timestamp": onset - SECOND_US,
        "service": "payment",
        "kind": "deploy",
        "version": "2",
        "summary": HOSTILE,
    }
    return [
        ("/v1/traces", body, ""),
        ("/ingest/logs", logs, environment),
        ("/ingest/changes", [change], environment),
    ]


async def _post(client: httpx.AsyncClient, path: str, body: Any, environment: str) -> None:
    reply = await client.post(path, json=body, params={"environment": environment} if environment else {})
    assert reply.status_code == 200, reply.text


def _resource(service: str, environment: str, spans: list[dict[str, Any]]) -> dict[str, Any]:
    attributes = [
        {"key": "service.name", "value": {"stringValue": service}},
        {"key": "deployment.environment.name", "value": {"stringValue": environment}},
    ]
    return {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": spans}]}


def _span(
    trace: str, number: int, parent: int, name: str, kind: int, start_us: int, took_us: int, bad: bool, told: str
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start_us * 1000),
        "endTimeUnixNano": str((start_us + took_us) * 1000),
        "status": {"code": 2, "message": told} if bad else {},
    }

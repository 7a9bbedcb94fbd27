"""A full spool turns every way in back with 429 and a time to come again; nothing of it is stored, and a retry is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from api.app import build_app
from cli.services import build_services
from domain.settings import Settings
from graph.topology import TopologyGraph
from storage.database import QUERIES, Database

QUERIES["back_pressure_lines"] = "SELECT COUNT(*) FROM log_event WHERE environment = ?"

AT = 1_790_000_000


def _resource(environment: str, name: str, records: str, record: dict[str, Any]) -> list[dict[str, Any]]:
    attributes = [
        {"key": key, "value": {"stringValue": value}}
        for key, value in {"service.name": "web", "deployment.environment.name": environment}.items()
    ]
    return [{"resource": {"attributes": attributes}, name: [{records: [record]}]}]


def deliveries(environment: str) -> dict[str, Any]:
    """Return a body for each of the ways in, by its address."""
    nanos = f"{AT}000000000"
    log = {"timeUnixNano": nanos, "severityNumber": 9, "body": {"stringValue": "by otlp"}}
    span = {
        "traceId": "ab" * 16,
        "spanId": "cd" * 8,
        "name": "op",
        "startTimeUnixNano": nanos,
        "endTimeUnixNano": nanos,
    }
    point = {"timeUnixNano": nanos, "asDouble": 1.0}
    metric = {"name": "m", "gauge": {"dataPoints": [point]}}
    return {
        "/ingest/logs": [{"timestamp": AT, "service": "web", "level": "info", "message": "plain"}],
        "/ingest/changes": [{"timestamp": AT, "service": "web", "kind": "deploy", "summary": "v2"}],
        "/ingest/events": [{"timestamp": AT, "kind": "Pod", "object": "web-1", "text": "killed"}],
        "/ingest/alerts/generic": {"name": "down", "status": "firing", "service": "web"},
        "/v1/logs": {"resourceLogs": _resource(environment, "scopeLogs", "logRecords", log)},
        "/v1/traces": {"resourceSpans": _resource(environment, "scopeSpans", "spans", span)},
        "/v1/metrics": {"resourceMetrics": _resource(environment, "scopeMetrics", "metrics", metric)},
        "/api/v2/logs": [{"message": "by datadog", "service": "web", "ddtags": f"env:{environment}"}],
    }


async def test_a_full_spool_is_429_on_every_way_in(
    database: Database,
    topology: TopologyGraph,
    environment: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = build_services(Settings(data_dir=tmp_path, embedder="none"), database, topology)
    headers = {"X-API-Key": await services.keys.ensure_local_key(tmp_path)}
    transport = httpx.ASGITransport(build_app(services, "the-test"))
    async with (
        services.spool.running(),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers, timeout=60) as client,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(services.spool, "_max_bytes", 1)
            for path, body in deliveries(environment).items():
                turned = await client.post(path, params={"environment": environment}, json=body)
                assert (turned.status_code, turned.headers.get("Retry-After")) == (429, "5"), (path, turned.text)
                assert "spool is full" in turned.text
        assert services.spool.status().deliveries == 0
        assert await database.fetch("back_pressure_lines", (environment,)) == [(0,)]
        for path, body in deliveries(environment).items():
            taken = await client.post(path, params={"environment": environment}, json=body)
            assert taken.status_code in (200, 202), (path, taken.text)
        assert await services.spool.wait_drained(30)
    assert await database.fetch("back_pressure_lines", (environment,)) == [(3,)]

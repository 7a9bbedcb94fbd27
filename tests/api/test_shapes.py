"""Systems that send less than everything: the same question, answered from what there is, and no more claimed."""

from __future__ import annotations

import random
import time
from typing import Any

import httpx

QUIET_S, BROKEN_S = 1500, 180


async def _post(client: httpx.AsyncClient, path: str, body: Any, environment: str) -> None:
    reply = await client.post(path, json=body, params={"environment": environment})
    assert reply.status_code == 200, reply.text
    assert reply.json()["rejected"] == 0, reply.text


async def _ask(client: httpx.AsyncClient, question: str, environment: str, **more: Any) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": question, "environment": environment, **more})
    assert reply.status_code == 200, reply.text
    answer: dict[str, Any] = reply.json()
    return answer


def _lines(now: float, broken: bool) -> list[dict[str, Any]]:
    """A web shop's logs: an always noisy mailer, and (if broken) web and cart failing for the last three minutes."""
    rng = random.Random(5)
    rows = []
    for number in range(QUIET_S + BROKEN_S):
        at = now - QUIET_S - BROKEN_S + number
        bad = broken and number >= QUIET_S
        rows.append((at, "mailer", "ERROR" if rng.random() < 0.5 else "INFO", f"bounce from host {rng.randrange(99)}"))
        if bad and number % 2:
            rows.append((at, "web", "ERROR", f"GET /basket/{number} failed: dial tcp cart:8080: connection refused"))
        else:
            rows.append((at, "web", "INFO", f"GET /basket/{number} 200 in {rng.randrange(9)} ms"))
        if not bad:
            rows.append((at, "cart", "INFO", f"basket {number} read in {rng.randrange(9)} ms"))
        elif number % 10 == 0:
            rows.append((at, "cart", "FATAL", "panic: missing environment variable REDIS_URL"))
    return [{"timestamp": t, "service": s, "level": level, "message": m} for t, s, level, m in rows]


async def _send_shop(client: httpx.AsyncClient, environment: str, broken: bool) -> None:
    now = time.time()
    edges = [("web", "cart"), ("web", "mailer"), ("cart", "redis")]
    await _post(client, "/ingest/topology", {"edges": [{"source": s, "target": t} for s, t in edges]}, environment)
    await _post(client, "/ingest/logs", _lines(now, broken), environment)
    if not broken:
        return
    events = [
        {
            "timestamp": now - BROKEN_S + 5 + 20 * number,
            "kind": "Warning",
            "object": "pod/cart-6d4cf56db6-x8k2p",
            "reason": "BackOff",
            "text": "Back-off restarting failed container",
        }
        for number in range(5)
    ]
    await _post(client, "/ingest/events", events, environment)
    change = {"timestamp": now - BROKEN_S - 10, "service": "cart", "kind": "config", "summary": "tidy variables"}
    decoy = {"timestamp": now - BROKEN_S - 5, "service": "mailer", "kind": "deploy", "summary": "new footer"}
    await _post(client, "/ingest/changes", [change, decoy], environment)


async def test_logs_events_and_stated_edges_without_spans(client: httpx.AsyncClient, environment: str) -> None:
    await _send_shop(client, environment, broken=True)
    answer = await _ask(client, "why does web fail?", environment)
    verdict = answer["verdict"]
    assert [cause["service"] for cause in verdict["causes"]] == ["cart"], answer["answer"]
    assert verdict["causes"][0]["path"] == ["cart", "web"]
    assert verdict["outcome"] in ("CONFIRMED", "LIKELY")
    assert "mailer" not in {cause["service"] for cause in verdict["causes"]}
    assert any("spans" in line for line in verdict["not_seen"])


async def test_a_healthy_system_with_a_loud_log_is_healthy(client: httpx.AsyncClient, environment: str) -> None:
    await _send_shop(client, environment, broken=False)
    answer = await _ask(client, "why does web fail?", environment)
    assert answer["verdict"]["outcome"] == "HEALTHY", answer["answer"]


async def test_no_data_is_not_health(client: httpx.AsyncClient, environment: str) -> None:
    answer = await _ask(client, "why did checkout fail?", environment)
    assert answer["verdict"]["outcome"] == "INCONCLUSIVE"
    assert answer["verdict"]["causes"] == []


async def test_an_alert_that_names_no_service_is_no_verdict(client: httpx.AsyncClient, environment: str) -> None:
    alert = {"name": "disk is full", "status": "firing", "starts_at": time.time() - 60}
    await _post(client, "/ingest/alerts/generic", [alert], environment)
    answer = await _ask(client, "what is wrong?", environment)
    assert answer["verdict"]["outcome"] == "INCONCLUSIVE", answer["answer"]
    assert answer["verdict"]["causes"] == []


async def test_the_past_is_asked_about_as_it_was(client: httpx.AsyncClient, environment: str) -> None:
    """Asked for a moment before the trouble began, nothing of it may be known."""
    await _send_shop(client, environment, broken=True)
    answer = await _ask(client, "why does web fail?", environment, at=time.time() - BROKEN_S - 60)
    assert answer["verdict"]["outcome"] == "HEALTHY", answer["answer"]


def _edge_metrics(now: float, broken: str) -> dict[str, Any]:
    """A mesh's metrics per edge, every half minute: requests, errors and duration, of source and destination."""
    rng = random.Random(9)
    upstream = {"pricing": [("web", "cart"), ("cart", "pricing")], "": []}[broken]
    edges = [("web", "cart"), ("cart", "pricing"), ("web", "search"), ("cart", "stock"), ("search", "stock")]
    points: dict[str, list[dict[str, Any]]] = {"request_count": [], "request_errors": [], "request_duration_ms": []}
    for step in range((QUIET_S + BROKEN_S) // 30):
        at = now - QUIET_S - BROKEN_S + 30 * step
        for source, destination in edges:
            bad = at >= now - BROKEN_S and (source, destination) in upstream
            values = {
                "request_count": 300 + rng.randrange(20),
                "request_errors": 120 + rng.randrange(20) if bad else rng.randrange(3),
                "request_duration_ms": 20 + rng.random(),
            }
            for name, value in values.items():
                attributes = [
                    {"key": "source", "value": {"stringValue": source}},
                    {"key": "destination", "value": {"stringValue": destination}},
                ]
                points[name].append({"timeUnixNano": str(int(at * 1e9)), "asDouble": value, "attributes": attributes})
    metrics = [{"name": name, "gauge": {"dataPoints": held}} for name, held in points.items()]
    mesh = {"attributes": [{"key": "service.name", "value": {"stringValue": "mesh"}}]}
    return {"resourceMetrics": [{"resource": mesh, "scopeMetrics": [{"metrics": metrics}]}]}


async def test_edge_metrics_and_four_deploys_at_once(client: httpx.AsyncClient, environment: str) -> None:
    now = time.time()
    reply = await client.post("/v1/metrics", json=_edge_metrics(now, "pricing"), params={"environment": environment})
    assert reply.status_code == 200, reply.text
    changes = [
        {
            "timestamp": now - BROKEN_S - 20 + n,
            "service": service,
            "kind": "deploy",
            "version": "2",
            "summary": "weekly",
        }
        for n, service in enumerate(("search", "pricing", "stock", "web"))
    ]
    await _post(client, "/ingest/changes", changes, environment)
    answer = await _ask(client, "why does web fail?", environment)
    verdict = answer["verdict"]
    assert verdict["ranking"][0]["service"] == "pricing", answer["answer"]
    assert [cause["service"] for cause in verdict["causes"]] in ([], ["pricing"])
    assert verdict["outcome"] != "CONFIRMED"  # metrics alone are too coarse for that


async def test_quiet_edge_metrics_are_healthy(client: httpx.AsyncClient, environment: str) -> None:
    reply = await client.post("/v1/metrics", json=_edge_metrics(time.time(), ""), params={"environment": environment})
    assert reply.status_code == 200, reply.text
    answer = await _ask(client, "why does cart fail?", environment)
    assert answer["verdict"]["outcome"] == "HEALTHY", answer["answer"]


def _counters(now: float, broken: bool) -> dict[str, Any]:
    """The same mesh as a proxy counts it: totals since it started, one series per answer; stock fails cart's requests."""
    rng = random.Random(3)
    edges = [("web", "cart"), ("cart", "stock"), ("web", "search")]
    totals = {(edge, status): 1e6 * rng.random() for edge in edges for status in ("200", "503")}
    points: list[dict[str, Any]] = []
    for step in range((QUIET_S + BROKEN_S) // 15):
        at = now - QUIET_S - BROKEN_S + 15 * step
        for edge in edges:
            bad = broken and at >= now - BROKEN_S and edge[1] in ("cart", "stock")
            totals[edge, "200"] += 50 + rng.randrange(10)
            totals[edge, "503"] += 40 if bad else rng.random() < 0.05
            for status in ("200", "503"):
                said = {"source": edge[0], "destination": edge[1], "response_code": status}
                attributes = [{"key": key, "value": {"stringValue": value}} for key, value in said.items()]
                value = str(int(totals[edge, status]))
                points.append({"timeUnixNano": str(int(at * 1e9)), "asInt": value, "attributes": attributes})
    total = {"dataPoints": points, "aggregationTemporality": 2, "isMonotonic": True}
    mesh = {"attributes": [{"key": "service.name", "value": {"stringValue": "proxy"}}]}
    metrics = [{"name": "requests_total", "sum": total}]
    return {"resourceMetrics": [{"resource": mesh, "scopeMetrics": [{"metrics": metrics}]}]}


async def test_counters_by_status_are_read_by_their_growth(client: httpx.AsyncClient, environment: str) -> None:
    quiet = f"{environment}-quiet"
    for place, broken in ((environment, True), (quiet, False)):
        sent = _counters(time.time(), broken)
        reply = await client.post("/v1/metrics", json=sent, params={"environment": place})
        assert reply.status_code == 200, reply.text
    verdict = (await _ask(client, "why does web fail?", environment))["verdict"]
    assert [cause["service"] for cause in verdict["causes"]] == ["stock"], verdict["reasons"]
    assert verdict["causes"][0]["path"] == ["stock", "cart", "web"]
    verdict = (await _ask(client, "why does web fail?", quiet))["verdict"]
    assert (verdict["outcome"], verdict["causes"]) == ("HEALTHY", []), verdict["reasons"]

"""Questions and time: two troubles in one hour, what was not yet known at the moment of asking, a day to look over."""

from __future__ import annotations

import time
from typing import Any

import httpx
import pytest

from domain.times import HOUR_US, MINUTE_US, SECOND_US, parse_time_us

QUESTION = "why does the storefront fail?"


async def send_requests(client: httpx.AsyncClient, environment: str, requests: list[tuple[int, int, str]]) -> None:
    """Send request traces of (start, duration, the service that fails or none): storefront calls payment or stock."""
    spans: dict[str, list[dict[str, Any]]] = {"storefront": [], "payment": [], "stock": []}
    for number, (start, took, failing) in enumerate(requests):
        trace = f"{start:020x}{number:012x}"
        inner = failing or ("payment" if number % 2 else "stock")
        spans["storefront"].append(_span(trace, 1, 0, "GET /", 2, start, took, failing))
        spans["storefront"].append(_span(trace, 2, 1, "call", 3, start + 1_000, took - 2_000, failing))
        spans[inner].append(_span(trace, 3, 2, f"serve {inner}", 2, start + 2_000, took - 4_000, failing))
    resources = [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]},
            "scopeSpans": [{"spans": held}],
        }
        for service, held in spans.items()
    ]
    reply = await client.post("/v1/traces", json={"resourceSpans": resources}, params={"environment": environment})
    assert reply.status_code == 200, reply.text


def _span(
    trace: str, number: int, parent: int, name: str, kind: int, start_us: int, took_us: int, failing: str
) -> dict[str, Any]:
    return {
        "traceId": trace,
        "spanId": f"{number:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": name,
        "kind": kind,
        "startTimeUnixNano": str(start_us * 1000),
        "endTimeUnixNano": str((start_us + took_us) * 1000),
        "status": {"code": 2, "message": f"{failing} broke"} if failing else {},
    }


async def _ask(client: httpx.AsyncClient, environment: str, **more: Any) -> dict[str, Any]:
    reply = await client.post("/chat", json={"question": QUESTION, "environment": environment, **more})
    assert reply.status_code == 200, reply.text
    body: dict[str, Any] = reply.json()
    return body


def steady(begin: int, end: int, every: int = SECOND_US) -> list[tuple[int, int, str]]:
    return [(at, 20_000, "") for at in range(begin, end, every)]


def failing(service: str, begin: int, end: int, every: int = SECOND_US) -> list[tuple[int, int, str]]:
    return [(at, 20_000, service) for at in range(begin + every // 2, end, every)]


async def test_of_two_troubles_the_one_that_goes_on_is_answered_and_the_other_is_mentioned(
    client: httpx.AsyncClient, environment: str
) -> None:
    now = time.time_ns() // 1000
    over, running = (now - 40 * MINUTE_US, now - 35 * MINUTE_US), (now - 3 * MINUTE_US, now)
    requests = steady(now - 55 * MINUTE_US, now)
    requests += failing("payment", *over) + failing("payment", *over) + failing("stock", *running)
    await send_requests(client, environment, requests)
    verdict = (await _ask(client, environment))["verdict"]
    assert [cause["service"] for cause in verdict["causes"]] == ["stock"]
    assert any("outside the question" in line and "until" in line for line in verdict["not_seen"])
    past = await _ask(client, environment, **{"from": over[0] - MINUTE_US, "to": over[1] + MINUTE_US})
    assert [cause["service"] for cause in past["verdict"]["causes"]] == ["payment"]


async def test_a_request_that_had_not_ended_at_the_moment_of_asking_is_not_known(
    client: httpx.AsyncClient, environment: str
) -> None:
    moment = time.time_ns() // 1000 - 10 * MINUTE_US
    under_way = [(moment - at * SECOND_US // 10, 60 * SECOND_US, "payment") for at in range(1, 200)]
    await send_requests(client, environment, steady(moment - 30 * MINUTE_US, moment - SECOND_US) + under_way)
    assert (await _ask(client, environment, at=moment))["verdict"]["outcome"] == "HEALTHY"
    assert (await _ask(client, environment, at=moment + 2 * MINUTE_US))["verdict"]["outcome"] != "HEALTHY"


async def test_asked_again_after_other_deliveries_the_same_records_are_the_same_evidence(
    client: httpx.AsyncClient, environment: str
) -> None:
    now = time.time_ns() // 1000 - MINUTE_US
    await send_requests(
        client, environment, steady(now - 20 * MINUTE_US, now) + failing("payment", now - 2 * MINUTE_US, now)
    )
    first = await _ask(client, environment, at=now)
    lines = [{"timestamp": now, "service": "other", "level": "info", "message": "hello"}]
    await client.post("/ingest/logs", params={"environment": environment + "-other"}, json=lines)
    again = await _ask(client, environment, at=now)
    assert first["claims"] == again["claims"]
    assert any(i.startswith("requests-") for claim in first["claims"] for i in claim["evidence"])


@pytest.mark.parametrize("hours", [2, 24])
async def test_the_onset_is_exact_however_long_the_window(
    client: httpx.AsyncClient, environment: str, hours: int
) -> None:
    now = time.time_ns() // 1000
    onset = now - 31 * MINUTE_US - 17 * SECOND_US
    requests = steady(now - hours * HOUR_US, now, 20 * SECOND_US) + failing("payment", onset, now, 4 * SECOND_US)
    await send_requests(client, environment, requests)
    body = await _ask(client, environment, **{"from": now - hours * HOUR_US})
    assert [cause["service"] for cause in body["verdict"]["causes"]] == ["payment"]
    assert abs(parse_time_us(body["window"]["from"]) - onset) < 10 * SECOND_US

"""Datadog's log intake, with the bodies that its agent and its clients send."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from functools import partial
from typing import Any

import httpx
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import PayloadError
from domain.telemetry import Level
from ingest import datadog
from storage.batch import Batch, prepare
from storage.database import Database

NOW = 1_800_000_000_000_000
AGENT = {
    "message": "GET /cart 502",
    "status": "error",
    "timestamp": 1709289720123,
    "hostname": "i-012345678",
    "service": "cart",
    "ddsource": "nginx",
    "ddtags": "env:staging,version:5.1,kube_namespace:shop,pod_name:cart-1,team:a,team:b,urgent",
}


def decode(value: Any, content_type: str = "application/json", **defaults: str) -> Any:
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return datadog.decode_logs(defaults, body, content_type, "default", NOW)


def test_an_item_of_the_agent() -> None:
    (event,) = decode([AGENT]).records
    assert (event.environment, event.service, event.node, event.level) == (
        "staging",
        "cart",
        "i-012345678",
        Level.ERROR,
    )
    assert (event.time_us, event.message) == (1_709_289_720_123_000, "GET /cart 502")
    assert event.attributes == {
        "ddsource": "nginx", "env": "staging", "version": "5.1", "k8s.namespace.name": "shop",
        "k8s.pod.name": "cart-1", "team": "a,b", "urgent": "true",
    }  # fmt: skip


@pytest.mark.parametrize("nested", [True, False])
def test_a_message_that_is_json_speaks_for_itself(nested: bool) -> None:
    inner = {
        "level": "warn", "msg": "slow query", "time": "2024-03-01T10:42:00Z", "rows": 3, "error": {"kind": "Timeout"},
        **({"dd": {"trace_id": "123456789", "span_id": "255"}} if nested else {"dd.trace_id": "123456789", "dd.span_id": "255"}),
    }  # fmt: skip
    for message in (json.dumps(inner), inner):
        (event,) = decode({**AGENT, "message": message}).records
        assert (event.message, event.level, event.time_us) == ("slow query", Level.WARN, 1_709_289_720_000_000)
        assert (event.trace_id, event.span_id) == (f"{123456789:032x}", "00000000000000ff")
        assert (event.attributes["rows"], event.attributes["error"]) == (3, '{"kind":"Timeout"}')


def test_only_the_message_is_needed() -> None:
    decoded = decode([{"message": "hello"}, {"message": "{oops"}, {"message": {"a": 1}}])
    assert [event.message for event in decoded.records] == ["hello", "{oops", '{"a":1}']
    assert {(event.service, event.time_us, event.environment) for event in decoded.records} == {
        ("unknown_service", NOW, "default")
    }
    assert decoded.undated == {0, 1, 2}


def test_lines_of_text_take_what_the_query_says() -> None:
    decoded = decode(b"one\n\ntwo\r\n", "text/plain", service="cart", ddtags="env:prod", hostname="n1")
    assert [(e.message, e.service, e.environment, e.node) for e in decoded.records] == [
        ("one", "cart", "prod", "n1"), ("two", "cart", "prod", "n1"),
    ]  # fmt: skip


def test_bad_items_are_named_and_the_question_of_an_agent_is_no_item() -> None:
    decoded = decode([{}, 5, {"service": "x"}, {"message": ""}, {"message": "x", "ddtags": "env:" + "e" * 65}])
    assert (decoded.records, decoded.rejected) == ([], 4)
    assert decoded.errors == [
        "item 2: not a JSON object", "item 3: message: missing", "item 4: message: missing",
        "item 5: longer than 64 characters",
    ]  # fmt: skip
    assert decode({}).rejected == 0


def squeeze(name: str) -> Callable[[bytes], bytes]:
    kinds: dict[str, Callable[[bytes], bytes]] = {
        "": bytes, "gzip": gzip.compress, "deflate": zlib.compress, "zstd": zstandard.compress,
    }  # fmt: skip
    return kinds[name]


@pytest.mark.parametrize("encoding", ["", "gzip", "deflate", "zstd"])
async def test_the_agent_is_answered_as_it_expects(
    browser: httpx.AsyncClient, admin_key: str, database: Database, environment: str, encoding: str
) -> None:
    item = {**AGENT, "ddtags": f"env:{environment}"}
    headers = {"DD-API-KEY": admin_key, "Content-Type": "application/json", "Content-Encoding": encoding}
    for body in ([item, item], [item, item]):
        content = squeeze(encoding)(json.dumps(body).encode())
        reply = await browser.post("/api/v2/logs", content=content, headers=headers)
        assert (reply.status_code, reply.json()) == (202, {})
    assert await stored(database, environment) == 2
    reply = await browser.post("/api/v2/logs", content=squeeze(encoding)(b"{}"), headers=headers)
    assert (reply.status_code, reply.json()) == (202, {})


async def stored(database: Database, environment: str) -> int:
    def work(tx: Any) -> int:
        tx._cursor.execute("SELECT COUNT(*) FROM log_event WHERE environment = ?", (environment,))
        return int(tx._cursor.fetchall()[0][0])

    return await database.transaction(work)


async def test_equal_text_of_two_services_is_two_deliveries(
    client: httpx.AsyncClient, database: Database, environment: str
) -> None:
    for service in ("a", "b", "b"):
        reply = await client.post(
            "/api/v2/logs",
            params={"environment": environment, "service": service},
            content=b"started",
            headers={"Content-Type": "text/plain"},
        )
        assert reply.status_code == 202
    assert await stored(database, environment) == 2


async def test_what_is_not_taken_is_told_in_their_shape(client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    reply = await client.post("/api/v2/logs", json=[{"service": "x"}, {"message": "fine"}])
    assert (reply.status_code, reply.json()["rejected"]) == (202, 1)
    for content, status in ((b"{", 400), (b'[{"service":"x"}]', 400), (b"x" * 70_000_000, 413)):
        reply = await client.post("/api/v2/logs", content=content, headers={"Content-Type": "application/json"})
        assert (reply.status_code, reply.json()["errors"][0]["status"]) == (status, str(status))
    assert (await browser.post("/api/v2/logs", json=[], headers={"DD-API-KEY": "cg_wrong"})).status_code == 401
    assert (await client.get("/api/v1/validate")).json() == {"valid": True}
    assert (await browser.get("/api/v1/validate")).status_code == 401


KEYS = ("message", "status", "timestamp", "hostname", "service", "ddtags", "env", "dd", "dd.trace_id", "level", "date")
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=20)
values = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.sampled_from(KEYS), scalars)
items = st.dictionaries(st.sampled_from(KEYS), values | values.map(lambda value: json.dumps(value)))


@given(st.lists(items | values, max_size=3) | items | values, st.sampled_from(["", "text/plain", "application/json"]))
@settings(max_examples=300, deadline=None)
def test_any_json_is_answered(value: Any, content_type: str) -> None:
    body = json.dumps(value).encode("utf-8", "replace")
    decode_one = partial(datadog.decode_logs, {}, body, content_type, "e", NOW)
    try:
        decoded = decode_one()
    except PayloadError:
        return
    prepare(Batch("e", "logs", "k", NOW, logs=decoded.records))


@given(st.binary(max_size=200), st.sampled_from(["", "text/plain", "application/json", "application/x-ndjson"]))
def test_any_bytes_are_answered(body: bytes, content_type: str) -> None:
    try:
        datadog.decode_logs({}, body, content_type, "e", NOW)
    except PayloadError:
        return

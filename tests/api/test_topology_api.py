"""The topology over HTTP: as JSON, as a picture, as a page."""

from __future__ import annotations

import html
import re
import xml.etree.ElementTree as ET
from typing import Any

import httpx
import pytest

from agents.plain import show_plain
from agents.services import Services
from domain.errors import GraphUnavailable

HOSTILE = "<script>alert(1)</script> \u202e \"'&"


async def _state(client: httpx.AsyncClient, environment: str, *pairs: tuple[str, str], **more: Any) -> None:
    edges = [{"source": source, "target": target} for source, target in pairs]
    body = {"edges": edges, "observed_by": "test", **more}
    reply = await client.post("/ingest/topology", json=body, params={"environment": environment})
    assert reply.status_code == 200, reply.text


@pytest.fixture
async def stated(client: httpx.AsyncClient, environment: str) -> str:
    """An environment in which a new database took over at noon."""
    await _state(client, environment, ("web", "cart"), ("web", "search"))
    old = {"valid_from": "2026-01-01T00:00:00Z", "valid_to": "2026-01-01T12:00:00Z"}
    await _state(client, environment, ("cart", "old-db"), **old)
    await _state(client, environment, ("cart", "new-db"), ("cart", HOSTILE), valid_from="2026-01-01T12:00:00Z")
    return environment


async def test_who_called_whom_at_a_moment(client: httpx.AsyncClient, stated: str) -> None:
    reply = await client.get("/topology", params={"environment": stated, "at": "2026-01-01T06:00:00Z"})
    assert reply.status_code == 200
    body = reply.json()
    assert (body["environment"], body["at"], body["up_to_date"]) == (stated, "2026-01-01T06:00:00Z", True)
    assert [(edge["source"], edge["target"]) for edge in body["edges"]] == [
        ("cart", "old-db"),
        ("web", "cart"),
        ("web", "search"),
    ]
    assert body["edges"][0] == {
        "source": "cart",
        "target": "old-db",
        "kind": "CALLS",
        "calls": None,
        "errors": None,
        "since": "2026-01-01T00:00:00Z",
        "last_seen": None,
        "until": "2026-01-01T12:00:00Z",
        "observed_by": ["test"],
        "stated": True,
        "lately": None,
    }
    assert body["edges"][1]["since"] is None
    now = (await client.get("/topology", params={"environment": stated})).json()
    assert ("cart", "new-db") in {(edge["source"], edge["target"]) for edge in now["edges"]}


async def test_observed_calls_are_counted(client: httpx.AsyncClient, incident: str) -> None:
    edges = (await client.get("/topology", params={"environment": incident})).json()["edges"]
    assert [(edge["source"], edge["target"], edge["calls"]) for edge in edges] == [("storefront", "payment", 180)]
    assert 55 <= edges[0]["errors"] <= 65
    assert (edges[0]["observed_by"], edges[0]["stated"]) == (["traces"], False)
    assert edges[0]["since"] < edges[0]["last_seen"] < edges[0]["until"]


async def test_paths_and_differences(client: httpx.AsyncClient, stated: str) -> None:
    asked = {"environment": stated, "cause": "new-db", "symptom": "web"}
    assert (await client.get("/topology/path", params=asked)).json()["paths"] == [["new-db", "cart", "web"]]
    then = await client.get("/topology/path", params={**asked, "at": "2026-01-01T06:00:00"})
    assert then.json()["paths"] == []
    times = {"from": "2026-01-01T06:00:00Z", "to": "1767312000"}
    diff = (await client.get("/topology/diff", params={"environment": stated, **times})).json()
    assert {edge["source"] for edge in diff["added"]} == {"cart"}
    assert [edge["target"] for edge in diff["added"] if "script" not in edge["target"]] == ["new-db"]
    assert [edge["target"] for edge in diff["removed"]] == ["old-db"]
    assert (diff["from"], diff["to"]) == ("2026-01-01T06:00:00Z", "2026-01-02T00:00:00Z")


async def test_what_is_wrong_with_a_question_is_told(client: httpx.AsyncClient, stated: str) -> None:
    asked = {"environment": stated, "cause": "new", "symptom": "web"}
    reply = await client.get("/topology/path", params=asked)
    assert reply.status_code == 404
    assert "did you mean new-db?" in reply.json()["message"]
    reply = await client.get("/topology", params={"at": "soon"})
    assert (reply.status_code, "`at`: not a time" in reply.json()["message"]) == (422, True)
    assert (await client.get("/topology/diff", params={"from": "1"})).status_code == 422
    assert (await client.get("/topology/diff", params={"from": "", "to": "1"})).status_code == 422
    assert (await client.get("/topology/path", params={"cause": "x"})).status_code == 422
    assert (await client.get("/topology", params={"environment": "x" * 65})).status_code == 422
    nothing = await client.get("/topology", params={"environment": "never-heard-of"})
    assert (nothing.status_code, nothing.json()["edges"]) == (200, [])


async def test_a_graph_that_is_away_is_503_at_once(
    client: httpx.AsyncClient, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(self: object, query: str, call: object) -> None:
        raise GraphUnavailable

    monkeypatch.setattr("graph.connection.GraphConnection._ask", refuse)
    for path in ("/topology", "/topology.svg", "/topology/diff?from=1&to=2", "/topology/path?cause=a&symptom=b"):
        assert (await client.get(path)).status_code == 503


@pytest.mark.parametrize(
    "path", ["/topology", "/topology.svg", "/topology/path?cause=a&symptom=b", "/topology/diff?from=1&to=2"]
)
async def test_the_role_read_is_needed(browser: httpx.AsyncClient, services: Services, path: str) -> None:
    assert (await browser.get(path)).status_code == 401
    _, ingest_only = await services.keys.create_key("test", "ingest")
    assert (await browser.get(path, headers={"X-API-Key": ingest_only})).status_code == 403
    _, reader = await services.keys.create_key("test", "read")
    assert (await browser.get(path, headers={"X-API-Key": reader})).status_code in (200, 404)


async def test_the_picture_is_well_formed_and_may_do_nothing(client: httpx.AsyncClient, stated: str) -> None:
    reply = await client.get("/topology.svg", params={"environment": stated})
    assert reply.headers["content-type"].startswith("image/svg+xml")
    ET.fromstring(reply.text)  # noqa: S314 - our own
    assert "new-db" in reply.text
    assert "<script" not in reply.text
    policies = reply.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert policies[0].startswith("default-src 'none'; style-src 'sha256-")
    assert reply.headers["x-content-type-options"] == "nosniff"


async def test_the_page_shows_picture_and_calls(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, stated: str, admin_key: str
) -> None:
    assert (await browser.get("/ui/topology")).status_code == 303
    await browser.post("/login", data={"key": admin_key, "next": "/"})
    page = await browser.get("/ui/topology", params={"environment": stated})
    assert page.status_code == 200
    assert 'class="topology"' in page.text
    assert "new-db" in page.text
    assert re.findall(r"<script(?! src=\"/static/)", page.text) == []
    assert "<style" not in page.text
    assert "style=" not in page.text
    assert "\u202e" not in page.text
    assert html.escape(show_plain("alert(1)</script>"), quote=False) in page.text
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'self'")
    style = re.search(r'href="(/static/topology.css)"', page.text)
    assert style
    assert (await browser.get(style[1])).headers["content-type"].startswith("text/css")
    link = re.search(r'href="(/topology.svg[^"]+)"', page.text)
    assert link
    assert (await browser.get(html.unescape(link[1]))).status_code == 200
    wrong = await browser.get("/ui/topology", params={"environment": stated, "at": "<soon>"})
    assert wrong.status_code == 422
    assert "not a time" in wrong.text
    empty = await browser.get("/ui/topology", params={"environment": "never-heard-of"})
    assert "Nothing is known" in empty.text


async def test_an_incident_is_drawn_where_it_happened(
    browser: httpx.AsyncClient, client: httpx.AsyncClient, incident: str, admin_key: str
) -> None:
    answer = (await client.post("/chat", json={"question": "why did checkout fail?", "environment": incident})).json()
    assert answer["verdict"]["causes"][0]["path"] == ["payment", "storefront"]
    await browser.post("/login", data={"key": admin_key, "next": "/"})
    page = await browser.get(f"/ui/incidents/{answer['incident_id']}")
    assert 'class="topology traced"' in page.text
    assert 'class="service chain cause"' in page.text
    assert "/static/topology.css" in page.text


async def test_the_logo_is_small_without_a_style_sheet(browser: httpx.AsyncClient) -> None:
    assert '<svg width="20" height="20"' in (await browser.get("/login")).text


async def test_calls_minute_by_minute(client: httpx.AsyncClient, incident: str) -> None:
    query = {"environment": incident, "caller": "storefront", "callee": "payment"}
    body = (await client.get("/topology/calls", params=query)).json()
    assert sum(minute["calls"] for minute in body["minutes"]) == 180
    assert {minute["observed_by"] for minute in body["minutes"]} == {"traces"}
    assert body["minutes"][-1]["p50_ms"] == pytest.approx(80, rel=0.1)
    (line,) = [
        line
        for line in (await client.get("/topology", params={"environment": incident})).json()["edges"]
        if line["target"] == "payment"
    ]
    assert line["lately"]["calls"] == 180
    drawn = (await client.get("/topology.svg", params={"environment": incident})).text
    assert "in the last 15 minutes 180 calls" in drawn
    late = {**query, "from": "2020-01-01T00:00:00Z", "to": "2020-01-01T01:00:00Z"}
    assert (await client.get("/topology/calls", params=late)).json()["minutes"] == []
    assert (await client.get("/topology/calls", params={**late, "to": "2021-01-01"})).status_code in (400, 422)


async def test_manifests_are_taken_as_they_are(client: httpx.AsyncClient, environment: str) -> None:
    manifests = """
{apiVersion: v1, kind: Service, metadata: {name: cart}, spec: {selector: {app: cart}}}
---
apiVersion: v1
kind: Pod
metadata: {name: web-1, labels: {app: web}}
spec: {nodeName: n1, containers: [{name: c, env: [{name: CART_URL, value: "http://cart:80"}]}]}
"""
    place = {"environment": environment}
    reply = await client.post("/ingest/topology/manifests", content=manifests.encode(), params=place)
    assert (reply.status_code, reply.json()["accepted"]) == (200, 3)
    body = (await client.get("/topology", params=place)).json()
    assert [(edge["source"], edge["target"]) for edge in body["edges"]] == [("web-1", "cart")]
    assert body["services"][1] == {"name": "web-1", "kind": "service", "nodes": ["n1"], "pods": ["default/web-1"]}
    refused = await client.post("/ingest/topology/manifests", content=b"hello: there", params=place)
    assert refused.status_code == 400
    assert "states no topology" in refused.text

"""The Model Context Protocol, driven by its own client, over HTTP and over stdio."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from cli.server import read_local_key
from cli.stack import stop_stack
from domain.times import MINUTE_US
from tests.api.test_time import failing, send_requests, steady
from tests.serving import ROOT, Serve, clean_environ

TOOLS = {
    "ask",
    "find_paths",
    "list_incidents",
    "read_evidence",
    "read_incident",
    "read_trace",
    "search",
    "search_logs",
    "show_topology",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    serve = Serve(Path(tmp_path_factory.mktemp("mcp")) / "data", {"CAUSEGRAPH_EMBEDDER": "none"})
    serve.start()
    serve.wait()
    yield serve
    serve.stop()
    stop_stack(serve.data_dir)


@asynccontextmanager
async def over_http(server: Serve, key: str) -> AsyncIterator[Client]:
    headers = {"X-API-Key": key}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http)) as client,
    ):
        yield client


async def call(client: Client, tool: str, **arguments: Any) -> Any:
    result = await client.call_tool(tool, arguments)
    text = "".join(part.text for part in result.content if part.type == "text")
    assert not result.is_error, text
    return json.loads(text)


async def send_incident(server: Serve, environment: str) -> None:
    now = time.time_ns() // 1000
    requests = steady(now - 20 * MINUTE_US, now) + failing("payment", now - 2 * MINUTE_US, now)
    headers = {"X-API-Key": read_local_key(server.data_dir)}
    async with httpx.AsyncClient(base_url=server.url, headers=headers, timeout=60) as client:
        await send_requests(client, environment, requests)


async def test_an_assistant_asks_and_opens_what_is_cited(server: Serve, environment: str) -> None:
    await send_incident(server, environment)
    async with over_http(server, read_local_key(server.data_dir)) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= TOOLS
        answer = await call(client, "ask", question="why does the storefront fail?", environment=environment)
        assert [cause["service"] for cause in answer["verdict"]["causes"]] == ["payment"]
        for found in answer["claims"][0]["evidence"]:
            assert (await call(client, "read_evidence", evidence_id=found))["state"] == "unchanged"
        listed = await call(client, "list_incidents", environment=environment)
        assert answer["incident_id"] in {line["id"] for line in listed["incidents"]}  # beside what was noticed unasked
        assert (await call(client, "read_incident", incident_id=answer["incident_id"]))["answer"] == answer
        assert (await call(client, "read_trace", trace_id=answer["trace_id"]))["status"] == "complete"
        found = await call(client, "search_logs", text="such a line", environment=environment)
        assert (found["lines"], found["templates"]) == ([], [])
        paths = await call(client, "find_paths", cause="payment", symptom="storefront", environment=environment)
        assert paths["paths"] == [["payment", "storefront"]]


async def test_a_refusal_is_an_error_of_the_tool(server: Serve) -> None:
    async with over_http(server, read_local_key(server.data_dir)) as client:
        for tool, arguments in [
            ("read_evidence", {"evidence_id": "../../health"}),
            ("ask", {"question": "why?", "at": "yesterday"}),
            ("find_paths", {"cause": "nobody", "symptom": "knows"}),
        ]:
            result = await client.call_tool(tool, arguments)
            assert result.is_error
            assert result.content[0].type == "text"


async def test_who_has_no_key_gets_nothing(server: Serve) -> None:
    with pytest.raises((MCPError, httpx2.HTTPError, ExceptionGroup)):
        async with over_http(server, "cg_wrong") as client:
            await client.list_tools()
    assert httpx.post(f"{server.url}/mcp", json={}).status_code == 401


async def test_the_same_over_standard_input_and_output(server: Serve, environment: str) -> None:
    await send_incident(server, environment)
    parameters = StdioServerParameters(
        command=sys.executable, args=["-m", "cli.main", "mcp"], env=clean_environ(server.data_dir), cwd=str(ROOT)
    )
    async with Client(parameters) as client:
        assert {tool.name for tool in (await client.list_tools()).tools} >= TOOLS
        answer = await call(client, "ask", question="why does the storefront fail?", environment=environment)
        assert [cause["service"] for cause in answer["verdict"]["causes"]] == ["payment"]

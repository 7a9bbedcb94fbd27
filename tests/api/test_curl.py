"""`curl -N` as it is: a question as a stream, cut off, and read on from the last event."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
from collections.abc import AsyncIterator

import pytest
import uvicorn

from agents.services import Services
from api.app import build_app


@pytest.fixture
async def address(services: Services) -> AsyncIterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(build_app(services), log_level="warning", lifespan="off", ws="none"))
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        running = asyncio.create_task(server.serve(sockets=[listening]))
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        await running


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl on this machine")
async def test_a_stream_is_followed_and_read_on(address: str, admin_key: str, incident: str) -> None:
    asked = json.dumps({"question": "why does checkout fail?", "environment": incident, "stream": True})
    body = ["-H", "Content-Type: application/json", "-d", asked]
    told = await curl(f"{address}/chat", admin_key, *body)
    assert next(line for line in told if line.startswith("event: ")) == "event: run"
    assert "event: verdict" in told and "event: answer" in told
    answer = json.loads(told[-1].removeprefix("data: "))
    assert answer["verdict"]["causes"][0]["service"] == "payment"
    ids = [line.removeprefix("id: ") for line in told if line.startswith("id: ")]
    after = await curl(f"{address}/chat", admin_key, "-H", f"Last-Event-ID: {ids[3]}", *body)
    assert after == told[told.index(f"id: {ids[4]}") :]
    whole = await curl(f"{address}/chat", admin_key, *body[:2], "-d", asked.replace("true", "false"))
    assert json.loads(whole[-1])["verdict"]["outcome"] == answer["verdict"]["outcome"]


async def curl(url: str, key: str, *arguments: str) -> list[str]:
    """Return the lines that hold something."""
    process = await asyncio.create_subprocess_exec(
        "curl", "-sSN", "--fail-with-body", "--noproxy", "*", "--max-time", "120", url, "-H", f"X-API-Key: {key}",
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await process.communicate()
    assert process.returncode == 0, err.decode() + out.decode()
    return [line for line in out.decode().splitlines() if line]

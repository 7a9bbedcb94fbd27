"""Every route of the server is found and fed with what no client sends: it never answers 500, and always in time."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

SECONDS = 60.0  # on a machine that is busy with much else
HOSTILE = "../..%00\u202e<x>'\";--"
# Bodies and what they are said to be.
BODIES: tuple[tuple[bytes, str, str], ...] = (
    (b"", "application/json", ""),
    (b"\x00\xff\xfe{", "application/json", ""),
    (b'{"a":' * 2000, "application/json", ""),
    (b'[null, 1e400, "\\ud800", {"": []}]', "application/json", ""),
    (b"\x0a\xff\xff\xff\xff\x0f", "application/x-protobuf", ""),
    (b"not gzip", "application/json", "gzip"),
    (gzip.compress(b"{") + b"rest", "application/json", "gzip"),
    (b"a=1&a=2", "application/x-www-form-urlencoded", ""),
    (b"--x\r\n\r\n", "multipart/form-data; boundary=x", ""),
    (b"{}", "\x7f/\x7f", "\x7f"),
)
QUERY = {
    "environment": HOSTILE,
    "limit": "-1",
    "start": "nan",
    "end": "1e400",
    "after": "x",
    "q": HOSTILE,
    "since": "9" * 40,
}


def _routes(transport: httpx.ASGITransport) -> Iterator[tuple[str, str]]:
    """Yield the method and the path of each route, with something hostile for what is named in it."""
    schema: dict[str, Any] = transport.app.openapi()  # type: ignore[attr-defined]
    for path, methods in sorted(schema["paths"].items()):
        for method in sorted(methods):
            yield method.upper(), path


def _filled(path: str) -> str:
    parts = (f"{'%00x' if part.startswith('{') else part}" for part in path.split("/"))
    return "/".join(parts)


@pytest.mark.long
async def test_no_route_breaks(client: httpx.AsyncClient, transport: httpx.ASGITransport) -> None:
    routes = list(_routes(transport))
    assert len(routes) > 40
    broken = []
    for method, path in routes:
        bodies = BODIES if method in ("POST", "PUT", "PATCH") else BODIES[:1]
        for content, kind, encoding in bodies:
            headers = {"Content-Type": kind, **({"Content-Encoding": encoding} if encoding else {})}
            async with asyncio.timeout(SECONDS):
                reply = await client.request(method, _filled(path), content=content, headers=headers, params=QUERY)
            if reply.status_code >= 500 and reply.status_code not in (501, 503):
                broken.append((reply.status_code, method, path, content[:40], kind, reply.text[:200]))
    assert broken == []


@pytest.mark.parametrize(
    "path", ["/ingest/logs", "/v1/logs", "/api/v2/logs", "/api/v1/write", "/ingest/alerts/generic"]
)
async def test_the_ways_in_are_among_them(path: str, transport: httpx.ASGITransport) -> None:
    assert any(_matches(known, path) for method, known in _routes(transport) if method == "POST")


def _matches(known: str, path: str) -> bool:
    pairs = list(zip(known.split("/"), path.split("/"), strict=False))
    return known.count("/") == path.count("/") and all(ours.startswith("{") or ours == one for ours, one in pairs)

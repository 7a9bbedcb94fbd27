"""Gets a small file over https."""

from __future__ import annotations

import httpx

_SECONDS = 5.0
_BYTES = 64 * 1024


async def fetch_https(url: str) -> bytes:
    """Return the content of an address. Follows no redirect; raises OSError for whatever is not a small 200."""
    if not url.startswith("https://"):
        raise OSError("only https is fetched")
    body = bytearray()
    try:
        async with (
            httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client,
            client.stream("GET", url) as reply,
        ):
            if reply.status_code != 200:
                raise OSError(f"the answer was {reply.status_code}")
            async for piece in reply.aiter_bytes():
                body += piece
                if len(body) > _BYTES:
                    raise OSError("the answer is too large")
    except httpx.HTTPError as exc:
        raise OSError(str(exc) or type(exc).__name__) from exc
    return bytes(body)

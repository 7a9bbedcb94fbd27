"""HTTP to a model server: a reply line by line, with deadlines for its beginning, its pauses and its connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from domain.errors import ModelError, ModelTimeout, ModelUnavailable, ReplyBroken
from inference.failures import name_failure
from inference.wire import Deadlines

_ERROR_BYTES = 16_384
_LONGEST_LINE = 1_048_576
_LOCAL = ("127.0.0.1", "localhost", "::1")


class ModelServer:
    """A server of one model. `url` is shown in errors; a key is sent as a bearer token and shown nowhere."""

    def __init__(self, url: str, model: str, deadlines: Deadlines, key: str = "") -> None:
        self.url = url.rstrip("/")
        self.model = model
        self._deadlines = deadlines
        self._client = httpx.AsyncClient(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            # No bound on reading: a model may think for long. What bounds it are the deadlines here.
            timeout=httpx.Timeout(None, connect=deadlines.connect),
            # What runs beside us is not behind the proxy of the outside world.
            trust_env=urlsplit(self.url).hostname not in _LOCAL,
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    @asynccontextmanager
    async def lines(self, path: str, payload: Mapping[str, Any]) -> AsyncIterator[AsyncIterator[str]]:
        """Post, and iterate over the lines of the reply that hold something; raises ModelError.

        Leaving the block early closes the connection, at which the server stops writing.
        """
        try:
            response = await self._send(path, payload, self._deadlines.first)
            try:
                yield self._read_lines(response)
            finally:
                await response.aclose()
        except httpx.HTTPError as exc:
            raise self._translate(exc) from exc

    async def post(self, path: str, payload: Mapping[str, Any], seconds: float) -> Mapping[str, Any]:
        """Post and return the JSON object of the reply; raises ModelError."""
        try:
            async with asyncio.timeout(seconds):
                response = await self._send(path, payload, seconds)
                try:
                    body = await response.aread()
                finally:
                    await response.aclose()
        except TimeoutError as exc:
            raise self._late(seconds) from exc
        except httpx.HTTPError as exc:
            raise self._translate(exc) from exc
        try:
            read = json.loads(body)
        except ValueError as exc:
            raise ReplyBroken(f"{self.url} replied with something that is not JSON.") from exc
        if not isinstance(read, dict):
            raise ReplyBroken(f"{self.url} replied with something that is no JSON object.")
        return read

    async def _send(self, path: str, payload: Mapping[str, Any], seconds: float) -> httpx.Response:
        request = self._client.build_request("POST", path.lstrip("/"), json=dict(payload))
        try:
            # Servers send no headers before the first piece, so this is the wait for it.
            response = await asyncio.wait_for(self._client.send(request, stream=True), seconds)
        except TimeoutError as exc:
            raise self._late(seconds) from exc
        if response.status_code == 200:
            return response
        try:
            async with asyncio.timeout(self._deadlines.idle):
                body = (await response.aread())[:_ERROR_BYTES].decode("utf-8", "replace")
        except TimeoutError:
            body = ""
        finally:
            await response.aclose()
        raise name_failure(response.status_code, body, model=self.model, url=self.url)

    async def _read_lines(self, response: httpx.Response) -> AsyncIterator[str]:
        waiting, seconds = "", self._deadlines.first
        pieces = response.aiter_text()
        limit = asyncio.get_running_loop().time() + seconds
        while True:
            try:
                async with asyncio.timeout_at(limit):
                    part = await anext(pieces, None)
            except TimeoutError as exc:
                raise self._late(seconds) from exc
            if part is None:
                break
            *whole, waiting = (waiting + part).split("\n")
            if len(waiting) > _LONGEST_LINE:
                raise ReplyBroken(f"{self.url} sent a line without an end.")
            for line in whole:
                # Comments of an event stream say that the server lives, not that the model writes.
                if line.strip() and not line.startswith(":"):
                    seconds = self._deadlines.idle
                    limit = asyncio.get_running_loop().time() + seconds
                    yield line.strip()
        if waiting.strip():
            yield waiting.strip()

    def _late(self, seconds: float) -> ModelTimeout:
        return ModelTimeout(f"{self.model} at {self.url} wrote nothing for {seconds:g} s.")

    def _translate(self, exc: httpx.HTTPError) -> ModelError:
        if isinstance(exc, httpx.RemoteProtocolError | httpx.ReadError):
            return ReplyBroken(f"{self.model} at {self.url} broke off: {exc or type(exc).__name__}.")
        return ModelUnavailable(f"{self.url} does not answer: {exc or type(exc).__name__}.")

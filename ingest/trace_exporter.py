"""Sends our own traces to another product as OTLP, each span at least once, when it has ended."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping

import httpx

from domain.errors import CausegraphError, SettingsError
from domain.settings import Settings
from ingest.otlp_export import to_otlp
from storage.traces import TraceStore

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 2.0
_LONGEST_PAUSE_SECONDS = 120.0
_TRACES_AT_ONCE = 20


class TraceExporter:
    """Follows the traces that are stored. What was sent is remembered in the database, so a restart sends no trace again."""

    def __init__(
        self,
        store: TraceStore,
        url: str,
        headers: Mapping[str, str],
        *,
        content: bool,
        look_seconds: float = _LOOK_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._store = store
        self._url = url
        self._headers = {**headers, "Content-Type": "application/x-protobuf"}
        self._content = content
        self._look_seconds = look_seconds
        self._transport = transport

    async def run(self, stop: asyncio.Event) -> None:
        """Send until `stop` is set; while the receiver is away, with growing pauses."""
        pause = self._look_seconds
        async with httpx.AsyncClient(timeout=30.0, transport=self._transport) as client:
            while not stop.is_set():
                try:
                    sent = await self.send_new(client)
                    pause = self._look_seconds
                except (CausegraphError, httpx.HTTPError) as exc:
                    if pause == self._look_seconds:
                        logger.warning("Traces could not be exported", extra={"url": self._url, "reason": str(exc)})
                    sent, pause = 0, min(pause * 2, _LONGEST_PAUSE_SECONDS)
                if sent < _TRACES_AT_ONCE:
                    try:
                        await asyncio.wait_for(stop.wait(), pause)
                    except TimeoutError:
                        continue

    async def send_new(self, client: httpx.AsyncClient) -> int:
        """Send what ended since the last time, of some traces; return of how many. Raises httpx.HTTPError."""
        waiting = await self._store.unexported(_TRACES_AT_ONCE)
        for trace_id, exported_seq in waiting:
            stored = await self._store.events(trace_id)
            new = [event for seq, event in stored if seq > exported_seq]
            request = to_otlp(await self._store.load(trace_id), new, content=self._content)
            if request.resource_spans[0].scope_spans[0].spans:
                reply = await client.post(self._url, content=request.SerializeToString(), headers=self._headers)
                if reply.status_code >= 500 or reply.status_code in (408, 429):
                    reply.raise_for_status()
                if reply.status_code >= 400:  # refused, and would be again
                    facts = {"trace_id": trace_id, "status": reply.status_code, "said": reply.text[:300]}
                    logger.error("A trace was refused where it was exported to", extra=facts)
            await self._store.mark_exported(trace_id, stored[-1][0])
        return len(waiting)


def build_exporter(settings: Settings, store: TraceStore) -> TraceExporter | None:
    """Return the exporter that the settings ask for, or None; raises SettingsError."""
    if not settings.trace_export_url:
        return None
    if not settings.trace_export_url.startswith(("http://", "https://")):
        raise SettingsError(
            "CAUSEGRAPH_TRACE_EXPORT_URL must be an http(s) address, such as http://host:4318/v1/traces."
        )
    headers: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in settings.trace_export_headers.split(";"))):
        name, found, value = pair.partition("=")
        if not found or not name.strip():
            raise SettingsError("CAUSEGRAPH_TRACE_EXPORT_HEADERS must look like `Authorization=Basic abc;x-other=1`.")
        headers[name.strip()] = value.strip()
    return TraceExporter(store, settings.trace_export_url, headers, content=settings.trace_export_content)

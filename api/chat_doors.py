"""`POST /chats/NAME`: what other chats than Slack send. Who sent it is known before any of it is read; it is acknowledged once
it is in the durable queue, and answered afterwards."""

from __future__ import annotations

import hmac
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse

from agents.chat_surface import Conversation, Heard
from domain.errors import PayloadError
from storage.jobs import JobQueue


@dataclass(frozen=True, slots=True)
class Delivery:
    """What came in: None where it is nothing for us. `key` is the same for retries; `reply` acknowledges it."""

    heard: Heard | None
    key: str = ""
    reply: Mapping[str, Any] | None = None


class Door(Protocol):
    """A chat's way in, and the conversation that it belongs to."""

    @property
    def surface(self) -> Conversation:
        """Where it is answered."""
        ...

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """Read a request. Raises AccessError for one that the chat has not sent (lately), and PayloadError."""
        ...


def chat_doors_router(doors: Sequence[tuple[Door, JobQueue]]) -> APIRouter:
    """Build the router."""
    router = APIRouter(tags=["chats"])
    for door, queue in doors:
        router.add_api_route(
            f"/chats/{door.surface.name}",
            _make_endpoint(door, queue),
            methods=["POST"],
            name=f"chat {door.surface.name}",
            description=f"Takes what {door.surface.name} sends; needs its signature or token, and no key.",
        )
    return router


def _make_endpoint(door: Door, queue: JobQueue) -> Any:
    async def take(request: Request) -> JSONResponse:
        delivery = door.read(request.headers, await request.body(), time.time())
        if delivery.heard is not None:
            await queue.enqueue(delivery.heard.to_payload(), key=delivery.key)
        return JSONResponse(delivery.reply or {})

    return take


def read_json(body: bytes) -> Mapping[str, Any]:
    """Return a body that is a JSON object; raises PayloadError."""
    try:
        held = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError) as exc:
        raise PayloadError("The body is not JSON.") from exc
    if not isinstance(held, dict):
        raise PayloadError("The body is not a JSON object.")
    return held


def text_of(held: Mapping[str, Any], name: str, most: int = 256) -> str:
    """Return a field that is short text, '' where it is missing or empty; raises PayloadError."""
    value = held.get(name)
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > most:
        raise PayloadError(f"`{name}` must be text of at most {most} characters.")
    return value


def is_one_of(given: str, secrets: str) -> bool:
    """Say whether a token is one of those in the settings, in a time that tells nothing of them."""
    found = [hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode()) for secret in secrets.split()]
    return bool(given) and any(found)

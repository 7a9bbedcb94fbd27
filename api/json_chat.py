"""Any other chat as plain JSON, both ways, signed with one secret: for a bridge of a few lines.

In:  `POST /chats/json` `{id, user, channel, thread?, text}` or `{id, user, channel, thread, message_id, button, value}`.
Out: `{schema, what: message | update | whisper | settled, id, channel, thread, user?, summary, parts, buttons}` to one address.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Mapping
from typing import Any

import httpx

from agents.chat_hooks import as_json
from agents.chat_messages import plain_message
from agents.chat_surface import ChatMessage, Heard, Place
from api.chat_doors import Delivery, read_json, text_of
from domain.errors import ChatError, PayloadError
from ingest.signatures import Scheme

SIGNATURE = Scheme("X-Causegraph-Signature", "sha256=", timestamp_header="X-Causegraph-Timestamp", joint=".")
_SECONDS = 10.0
_QUESTION = 16_000


class JsonDoor:
    """What a bridge sends. `secrets` are separated by blanks."""

    def __init__(self, surface: JsonChat, secrets: str) -> None:
        self.surface = surface
        self._secrets = secrets

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """See Door."""
        timestamp = headers.get(SIGNATURE.timestamp_header.lower(), "")
        SIGNATURE.check(self._secrets, body, headers.get(SIGNATURE.header.lower(), ""), timestamp, now)
        held = read_json(body)
        key, user, channel = (text_of(held, name) for name in ("id", "user", "channel"))
        if not key or not user:
            raise PayloadError("`id` and `user` must be given.")
        message_id, button = text_of(held, "message_id"), text_of(held, "button")
        thread, text = text_of(held, "thread") or message_id, text_of(held, "text", _QUESTION).strip()
        value = text_of(held, "value", 2_000)
        if button:
            heard = Heard("click", user, channel, thread, message_id, button=button, value=value, shown="x")
        else:
            heard = Heard("question", user, channel, thread, message_id, text=text)
        if not (button or text):
            raise PayloadError("`text` or `button` must be given.")
        return Delivery(heard, key, {"accepted": True})


class JsonChat:
    """Sends to one address, signed. Ids of messages are made here."""

    name = "json"

    def __init__(self, url: str, secrets: str) -> None:
        self._url = url
        self._secret = next(iter(secrets.split()), "")

    async def locate(self, heard: Heard) -> Heard | None:
        """See Conversation."""
        return heard

    async def post(self, place: Place, message: ChatMessage) -> str:
        """See ChatSurface."""
        message_id = uuid.uuid4().hex
        await self._send("message", message_id, place, as_json(message, buttons=True))
        return message_id

    async def update(self, place: Place, message_id: str, message: ChatMessage) -> None:
        """See ChatSurface."""
        await self._send("update", message_id, place, as_json(message, buttons=True))

    async def whisper(self, heard: Heard, message: ChatMessage) -> None:
        """See Conversation."""
        await self._send(
            "whisper", uuid.uuid4().hex, heard.place, {**as_json(message, buttons=True), "user": heard.user}
        )

    async def settle(self, heard: Heard, told: str) -> None:
        """See Conversation."""
        await self._send("settled", heard.message_id, heard.place, as_json(plain_message(told)))

    async def _send(self, what: str, message_id: str, place: Place, message: Mapping[str, Any]) -> None:
        body = {**message, "what": what, "id": message_id, "channel": place.channel, "thread": place.thread}
        content, timestamp = json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), str(int(time.time()))
        headers = {
            "Content-Type": "application/json",
            SIGNATURE.timestamp_header: timestamp,
            SIGNATURE.header: SIGNATURE.sign(self._secret, content, timestamp),
        }
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                reply = await client.post(self._url, content=content, headers=headers)
        except httpx.HTTPError as exc:
            raise ChatError(f"The chat cannot be reached: {type(exc).__name__}.") from exc
        if reply.status_code >= 300:
            raise ChatError(f"The chat answered {reply.status_code}.")

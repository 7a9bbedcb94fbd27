"""Slack's Web API as a surface: posts, updates, and private answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from agents.chat_surface import ChatMessage, Place
from api.slack_blocks import render
from domain.errors import ChatError

_SECONDS = 15


def make_client(token: str, api_url: str) -> AsyncWebClient:
    """Return a client that waits when Slack says that it asks too often."""
    client = AsyncWebClient(token, base_url=api_url, timeout=_SECONDS)
    client.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=2))
    return client


class SlackSurface:
    """Posts as the app's bot."""

    name = "slack"

    def __init__(self, client: AsyncWebClient) -> None:
        self._client = client

    async def post(self, place: Place, message: ChatMessage) -> str:
        """See ChatSurface; a message that is too long for one goes on in its thread."""
        first = ""
        for body in render(message):
            thread = place.thread or first
            given = {"channel": place.channel, **body, **({"thread_ts": thread} if thread else {})}
            reply = await self._call("chat.postMessage", given)
            first = first or str(reply.get("ts", ""))
        return first

    async def update(self, place: Place, message_id: str, message: ChatMessage) -> None:
        """See ChatSurface; what does not fit into the message that is replaced goes on in its thread."""
        first, *more = render(message)
        await self._call("chat.update", {"channel": place.channel, "ts": message_id, **first})
        for body in more:
            thread = place.thread or message_id
            await self._call("chat.postMessage", {"channel": place.channel, "thread_ts": thread, **body})

    async def whisper(self, place: Place, user: str, message: ChatMessage) -> None:
        """Tell one person something in a channel."""
        for body in render(message):
            thread = {"thread_ts": place.thread} if place.thread else {}
            await self._call("chat.postEphemeral", {"channel": place.channel, "user": user, **body, **thread})

    async def lock(self, place: Place, message_id: str, blocks: list[dict[str, Any]], told: str) -> None:
        """Take the buttons off a message and say what was decided instead."""
        kept = [block for block in blocks if block.get("type") != "actions"]
        note = {"type": "context", "elements": [{"type": "plain_text", "text": told[:2900], "emoji": False}]}
        await self._call(
            "chat.update", {"channel": place.channel, "ts": message_id, "text": told, "blocks": [*kept, note]}
        )

    async def _call(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            reply = await self._client.api_call(method, json=dict(body))
        except SlackApiError as exc:
            raise ChatError(f"Slack refused {method}: {exc.response.get('error', 'no reason given')}.") from exc
        except (SlackClientError, ClientError, TimeoutError, OSError) as exc:
            raise ChatError(f"Slack cannot be reached: {type(exc).__name__}.") from exc
        return reply.data if isinstance(reply.data, Mapping) else {}

"""Slack's Web API as a surface: posts, updates, and private answers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import ClientError
from slack_sdk.errors import SlackApiError, SlackClientError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient
from slack_sdk.webhook.async_client import AsyncWebhookClient

from agents.chat_messages import plain_message
from agents.chat_surface import ChatMessage, Heard, Place
from api.slack_blocks import render
from domain.errors import ChatClosed, ChatError

_SECONDS = 15
_CLOSED = ("not_in_channel", "channel_not_found", "is_archived", "restricted_action")
_REPLIES = 3  # of the five that Slack takes at one address within half an hour
_REPLY_HOSTS = ("hooks.slack.com", "hooks.slack-gov.com")


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

    async def locate(self, heard: Heard) -> Heard | None:
        """See Conversation: Slack says it by itself."""
        return heard

    async def whisper(self, heard: Heard, message: ChatMessage) -> None:
        """See Conversation. Slack's address for the reply to a command or a click also works where the bot is no member."""
        bodies = render(message)
        if heard.reply_url and len(bodies) <= _REPLIES:
            thread = {"thread_ts": heard.thread} if heard.thread else {}
            kind = {"response_type": "ephemeral", "replace_original": False, **thread}
            if await self._reply(heard.reply_url, *({**body, **kind} for body in bodies)):
                return
        for body in bodies:
            thread = {"thread_ts": heard.thread} if heard.thread else {}
            await self._call("chat.postEphemeral", {"channel": heard.channel, "user": heard.user, **body, **thread})

    async def settle(self, heard: Heard, told: str) -> None:
        """See Conversation. A message that only one person sees can be replaced through Slack's address for replies alone."""
        if not heard.shown:  # it was said in words: there are no buttons
            await self.post(heard.place, plain_message(told))
            return
        kept = [block for block in json.loads(heard.shown) if block.get("type") != "actions"]
        note = {"type": "context", "elements": [{"type": "plain_text", "text": told[:2900], "emoji": False}]}
        body = {"text": told, "blocks": [*kept, note]}
        if heard.reply_url and await self._reply(heard.reply_url, {"replace_original": True, **body}):
            return
        await self._call("chat.update", {"channel": heard.channel, "ts": heard.message_id, **body})

    async def _reply(self, url: str, *bodies: Mapping[str, Any]) -> bool:
        """Post to an address that came with a command or a click; False where it is used up, too old, or not Slack's."""
        if not self._is_slacks(url):
            return False
        try:
            replies = [await AsyncWebhookClient(url, timeout=_SECONDS).send_dict(dict(body)) for body in bodies]
        except (SlackClientError, ClientError, TimeoutError, OSError) as exc:
            raise ChatError(f"Slack cannot be reached: {type(exc).__name__}.") from exc
        return all(reply.status_code == 200 for reply in replies)

    def _is_slacks(self, url: str) -> bool:
        """Say whether an address is Slack's own, or that of the server which the settings name as Slack."""
        try:
            asked, own = urlsplit(url), urlsplit(self._client.base_url)
        except ValueError:
            return False
        if asked.scheme == "https" and asked.netloc in _REPLY_HOSTS:
            return True
        return own.netloc not in ("slack.com", "www.slack.com") and (asked.scheme, asked.netloc) == (
            own.scheme,
            own.netloc,
        )

    async def _call(self, method: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        try:
            reply = await self._client.api_call(method, json=dict(body))
        except SlackApiError as exc:
            told = str(exc.response.get("error", "no reason given"))
            failure = ChatClosed if told in _CLOSED else ChatError
            raise failure(f"Slack refused {method}: {told}.") from exc
        except (SlackClientError, ClientError, TimeoutError, OSError) as exc:
            raise ChatError(f"Slack cannot be reached: {type(exc).__name__}.") from exc
        return reply.data if isinstance(reply.data, Mapping) else {}

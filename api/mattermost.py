"""Mattermost both ways: outgoing webhooks, slash commands and buttons come in; answers are posts of a bot.

Webhooks and commands bring a token that only the Mattermost server knows. A click brings back what we gave the button, which no
client ever sees: a seal over it says that it was ours, for this channel.
"""

from __future__ import annotations

import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from agents.chat_hooks import as_markdown
from agents.chat_messages import plain_message
from agents.chat_surface import Button, ChatMessage, Heard, Place
from api.chat_doors import Delivery, is_one_of, read_json, text_of
from domain.errors import AccessError, ChatClosed, ChatError

_SECONDS = 10.0
_LONGEST = 12_000  # of 16,383 characters
_QUESTION = 16_000
_STYLES = {"approve": "primary", "reject": "danger"}
_CLOSED = (403, 404)


class MattermostDoor:
    """What the Mattermost server sends. `tokens` are those of its webhooks and commands, separated by blanks."""

    def __init__(self, surface: Mattermost, tokens: str) -> None:
        self.surface = surface
        self._tokens = tokens

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """See Door."""
        if headers.get("content-type", "").startswith("application/json"):
            held = read_json(body)
            return self._read_click(held) if "context" in held else self._read_webhook(held)
        fields = {name: values[0] for name, values in parse_qs(body.decode("utf-8", "replace")).items()}
        return self._read_command(fields) if fields.get("command") else self._read_webhook(fields)

    def _read_webhook(self, held: Mapping[str, Any]) -> Delivery:
        self._check_token(text_of(held, "token"))
        text = text_of(held, "text", _QUESTION).removeprefix(text_of(held, "trigger_word")).strip()
        post_id = text_of(held, "post_id")
        heard = Heard("question", text_of(held, "user_id"), text_of(held, "channel_id"), post_id, post_id, text=text)
        return Delivery(heard if text and post_id else None, f"post {post_id}")

    def _read_command(self, fields: Mapping[str, str]) -> Delivery:
        self._check_token(text_of(fields, "token"))
        text = text_of(fields, "text", _QUESTION).strip()
        if not text:
            return Delivery(None, reply=_private("Ask a question: `/causegraph why did checkout fail at 10:42?`"))
        heard = Heard(
            kind="question",
            user=text_of(fields, "user_id"),
            channel=text_of(fields, "channel_id"),
            text=text,
            reply_url=text_of(fields, "response_url", 2_000),
        )
        return Delivery(heard, f"command {text_of(fields, 'trigger_id', 2_000)}", _private("Looking into it."))

    def _read_click(self, held: Mapping[str, Any]) -> Delivery:
        context = held.get("context")
        if not isinstance(context, dict):
            raise AccessError("This button was not made here.")
        channel, post_id = text_of(held, "channel_id"), text_of(held, "post_id")
        button, value = text_of(context, "button"), text_of(context, "value", 2_000)
        if not hmac.compare_digest(self.surface.seal(channel, button, value), text_of(context, "seal")):
            raise AccessError("This button was not made here, or not for this channel.")
        heard = Heard(
            "click", text_of(held, "user_id"), channel, post_id, post_id, button=button, value=value, shown="x"
        )
        return Delivery(heard, f"click {post_id} {heard.user} {button} {text_of(held, 'trigger_id', 2_000)}")

    def _check_token(self, token: str) -> None:
        if not is_one_of(token, self._tokens):
            raise AccessError("The token is none of CAUSEGRAPH_MATTERMOST_TOKENS.")


class Mattermost:
    """Posts as a bot. Without a public address of ours there are no buttons: decisions are then written."""

    name = "mattermost"

    def __init__(self, url: str, token: str, public_url: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._public_url = public_url.rstrip("/")
        self._own_id = ""

    def seal(self, channel: str, button: str, value: str) -> str:
        """Return what shows that a button is ours."""
        sealed = json.dumps(["button", channel, button, value]).encode()
        return hmac.new(self._token.encode(), sealed, "sha256").hexdigest()

    async def locate(self, heard: Heard) -> Heard | None:
        """See Conversation: a webhook does not say which thread its post is in, and our own posts may set it off."""
        if not self._own_id:
            self._own_id = str((await self._call("GET", "users/me")).get("id", ""))
        if heard.user == self._own_id:
            return None
        if not heard.thread:
            return heard
        root = str((await self._call("GET", f"posts/{heard.thread}")).get("root_id") or heard.thread)
        return heard.in_thread(root)

    async def post(self, place: Place, message: ChatMessage) -> str:
        """See ChatSurface; a message that is too long for one goes on in its thread."""
        first = ""
        for body in self._bodies(place.channel, message):
            root = place.thread or first
            reply = await self._call("POST", "posts", {"channel_id": place.channel, "root_id": root, **body})
            first = first or str(reply.get("id", ""))
        return first

    async def update(self, place: Place, message_id: str, message: ChatMessage) -> None:
        """See ChatSurface."""
        first, *more = self._bodies(place.channel, message)
        await self._call("PUT", f"posts/{message_id}/patch", first)
        for body in more:
            root = place.thread or message_id
            await self._call("POST", "posts", {"channel_id": place.channel, "root_id": root, **body})

    async def whisper(self, heard: Heard, message: ChatMessage) -> None:
        """See Conversation."""
        for body in self._bodies(heard.channel, message):
            if heard.reply_url and self._is_own(heard.reply_url):
                await self._send("POST", heard.reply_url, {**_private(body["message"]), "props": body["props"]})
                continue
            post = {"channel_id": heard.channel, "root_id": heard.thread, **body}
            try:
                await self._call("POST", "posts/ephemeral", {"user_id": heard.user, "post": post})
            except ChatClosed:  # the bot may not do that
                await self._call("POST", "posts", post)

    async def settle(self, heard: Heard, told: str) -> None:
        """See Conversation."""
        if not heard.shown:
            await self.post(heard.place, plain_message(told))
            return
        was = await self._call("GET", f"posts/{heard.message_id}")
        kept = str(was.get("message", ""))[: _LONGEST + 1_000]
        body = {"message": f"{kept}\n\n{as_markdown(plain_message(told))}", "props": {"attachments": []}}
        await self._call("PUT", f"posts/{heard.message_id}/patch", body)

    def _bodies(self, channel: str, message: ChatMessage) -> list[dict[str, Any]]:
        text = as_markdown(message, written=not self._public_url)
        pieces = [text[at : at + _LONGEST] for at in range(0, len(text), _LONGEST)] or [message.summary]
        bodies: list[dict[str, Any]] = [{"message": piece, "props": {"attachments": []}} for piece in pieces]
        actions = [
            self._action(channel, number, button)
            for number, button in enumerate(message.buttons)
            if self._public_url and button.kind != "open"
        ]
        if actions:
            bodies[-1]["props"] = {"attachments": [{"fallback": message.summary, "actions": actions}]}
        return bodies

    def _action(self, channel: str, number: int, button: Button) -> dict[str, Any]:
        context = {
            "button": button.kind,
            "value": button.value,
            "seal": self.seal(channel, button.kind, button.value),
        }
        return {
            "id": f"{button.kind}{number}",
            "type": "button",
            "name": button.label,
            "style": _STYLES.get(button.kind, "default"),
            "integration": {"url": f"{self._public_url}/chats/{self.name}", "context": context},
        }

    def _is_own(self, url: str) -> bool:
        try:
            asked, own = urlsplit(url), urlsplit(self._url)
        except ValueError:
            return False
        return (asked.scheme, asked.netloc) == (own.scheme, own.netloc)

    async def _call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        headers = {"Authorization": f"Bearer {self._token}"}
        reply = await self._send(method, f"{self._url}/api/v4/{path}", body, headers)
        return read_json(reply.content) if reply.content else {}

    async def _send(
        self, method: str, url: str, body: Mapping[str, Any] | None, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                reply = await client.request(method, url, json=body, headers=headers)
        except httpx.HTTPError as exc:
            raise ChatError(f"Mattermost cannot be reached: {type(exc).__name__}.") from exc
        if reply.status_code >= 300:
            failure = ChatClosed if reply.status_code in _CLOSED else ChatError
            raise failure(f"Mattermost answered {reply.status_code}.")
        return reply


def _private(text: str) -> dict[str, Any]:
    return {"response_type": "ephemeral", "text": text}

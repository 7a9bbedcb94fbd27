"""Microsoft Teams both ways: an outgoing webhook comes in, answers go to a workflow's address as adaptive cards.

An outgoing webhook is signed with the security token that Teams shows once. It has to be answered within seconds and can post
nothing later, and its cards know no buttons but links: so answers come from the workflow, and decisions are written.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import html
import re
from collections.abc import Mapping
from typing import Any

from agents.chat_hooks import WebhookSurface
from agents.chat_messages import plain_message
from agents.chat_surface import ChatMessage, Heard
from api.chat_doors import Delivery, read_json, text_of
from domain.errors import AccessError, PayloadError, SettingsError
from domain.times import parse_time_us

_REPLAY_SECONDS = 300.0
_QUESTION = 16_000
_NAMED = re.compile(r"<at\b[^>]*>.*?</at>", re.IGNORECASE | re.DOTALL)
_TAG = re.compile(r"<[^>]{0,200}>")
_SOON = "Looking into it: the answer comes into the channel of the workflow."


class Teams(WebhookSurface):
    """A workflow's address. Nothing can be said to one person alone there, and nothing replaced."""

    def __init__(self, url: str) -> None:
        super().__init__("teams", "teams", url, written=True)

    async def locate(self, heard: Heard) -> Heard | None:
        """See Conversation."""
        return heard

    async def whisper(self, heard: Heard, message: ChatMessage) -> None:
        """See Conversation: it is said to all."""
        await self.post(heard.place, message)

    async def settle(self, heard: Heard, told: str) -> None:
        """See Conversation: it is said, since there are no buttons."""
        await self.post(heard.place, plain_message(told))


class TeamsDoor:
    """What the outgoing webhook sends. `secrets` are security tokens as Teams shows them, separated by blanks."""

    def __init__(self, surface: Teams, secrets: str) -> None:
        self.surface = surface
        try:
            self._keys = [base64.b64decode(secret, validate=True) for secret in secrets.split()]
        except binascii.Error as exc:
            raise SettingsError("CAUSEGRAPH_TEAMS_SECRETS: write the security token as Teams shows it.") from exc

    def read(self, headers: Mapping[str, str], body: bytes, now: float) -> Delivery:
        """See Door."""
        self._check(headers.get("authorization", ""), body)
        held = read_json(body)
        _check_time(text_of(held, "timestamp"), now)
        text = " ".join(html.unescape(_TAG.sub(" ", _NAMED.sub(" ", text_of(held, "text", _QUESTION)))).split())
        sender, conversation = _part(held, "from"), _part(held, "conversation")
        heard = Heard(
            kind="question",
            user=text_of(sender, "aadObjectId") or text_of(sender, "id"),
            channel=text_of(conversation, "id", 512).partition(";")[0][:128],
            text=text,
        )
        if not text:
            return Delivery(None, reply=_said("Ask a question: why did checkout fail at 10:42?"))
        return Delivery(heard, f"{heard.channel} {text_of(held, 'id')}", _said(_SOON))

    def _check(self, authorization: str, body: bytes) -> None:
        scheme, _, given = authorization.partition(" ")
        found = [
            hmac.compare_digest(base64.b64encode(hmac.new(key, body, "sha256").digest()), given.strip().encode())
            for key in self._keys
        ]
        if scheme.upper() != "HMAC" or not any(found):
            raise AccessError("Authorization does not fit the body: is CAUSEGRAPH_TEAMS_SECRETS the webhook's token?")


def _check_time(text: str, now: float) -> None:
    try:
        moment_us = parse_time_us(text)
    except ValueError as exc:
        raise PayloadError("`timestamp` is not a time.") from exc
    if abs(now - moment_us / 1e6) > _REPLAY_SECONDS:
        raise AccessError(f"The message is more than {_REPLAY_SECONDS:.0f} s away from now: is a clock wrong?")


def _part(held: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    part = held.get(name)
    return part if isinstance(part, dict) else {}


def _said(text: str) -> dict[str, Any]:
    return {"type": "message", "text": text}

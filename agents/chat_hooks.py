"""Outgoing chats that take a message at one address: Mattermost, Microsoft Teams, and plain JSON for anything else."""

from __future__ import annotations

import re
from typing import Any, Literal

import httpx

from agents.chat_surface import ChatMessage, Part, Place
from agents.plain import show_plain
from domain.errors import ChatError, SettingsError

type HookForm = Literal["mattermost", "teams", "json"]

_SECONDS = 10.0
_LONGEST = 12_000
_MARKUP = re.compile(r"([\\`*_{}\[\]<>()#+!|~&@:-])")


class WebhookSurface:
    """One address. Messages cannot be replaced there, so what changes is said again."""

    def __init__(self, name: str, form: HookForm, url: str) -> None:
        self.name = name
        self._form = form
        self._url = url

    async def post(self, place: Place, message: ChatMessage) -> str:
        """See ChatSurface."""
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                reply = await client.post(self._url, json=render(self._form, message))
        except httpx.HTTPError as exc:
            raise ChatError(f"{self.name} cannot be reached: {type(exc).__name__}") from exc
        if reply.status_code >= 300:
            raise ChatError(f"{self.name} answered {reply.status_code}.")
        return ""

    async def update(self, place: Place, message_id: str, message: ChatMessage) -> None:
        """See ChatSurface."""
        await self.post(place, message)


def read_hooks(text: str) -> list[WebhookSurface]:
    """Return the surfaces of the setting `FORM=URL FORM=URL`; raises SettingsError."""
    found = []
    for number, piece in enumerate(text.split(), 1):
        form, _, url = piece.partition("=")
        if form not in ("mattermost", "teams", "json") or not url.startswith(("https://", "http://")):
            raise SettingsError(
                "CAUSEGRAPH_CHAT_WEBHOOKS: write mattermost=URL, teams=URL or json=URL, several separated by blanks."
            )
        found.append(WebhookSurface(f"{form}-{number}", form, url))  # type: ignore[arg-type]  # checked above
    return found


def render(form: HookForm, message: ChatMessage) -> dict[str, Any]:
    """Return the body of a message in one form; telemetry in it stays text."""
    match form:
        case "mattermost":
            return {"text": _markdown(message)[:_LONGEST]}
        case "teams":
            return {"type": "message", "attachments": [{"contentType": _CARD, "content": _card(message)}]}
        case "json":
            parts = [{"kind": part.kind, "text": show_plain(part.text)} for part in message.parts]
            links = [{"label": b.label, "url": b.value} for b in message.buttons if b.kind == "open"]
            return {"schema": "causegraph.message/1", "summary": message.summary, "parts": parts, "links": links}


_CARD = "application/vnd.microsoft.card.adaptive"


def _markdown(message: ChatMessage) -> str:
    lines = [_markdown_part(part) for part in message.parts]
    lines += [f"[{button.label}]({button.value})" for button in message.buttons if button.kind == "open"]
    return "\n".join(lines)


def _markdown_part(part: Part) -> str:
    text = _MARKUP.sub(r"\\\1", show_plain(part.text))
    match part.kind:
        case "heading":
            return f"#### {' '.join(text.split())}"
        case "quote":
            return "\n".join(f"> {line}" for line in text.splitlines())
        case "text" | "facts":
            return text


def _card(message: ChatMessage) -> dict[str, Any]:
    # A TextBlock reads a little Markdown, a RichTextBlock none at all.
    body = [
        {
            "type": "RichTextBlock",
            "inlines": [
                {
                    "type": "TextRun",
                    "text": show_plain(part.text)[:4000],
                    "weight": "Bolder" if part.kind == "heading" else "Default",
                    "isSubtle": part.kind == "facts",
                }
            ],
        }
        for part in message.parts
    ]
    actions = [
        {"type": "Action.OpenUrl", "title": button.label, "url": button.value}
        for button in message.buttons
        if button.kind == "open"
    ]
    return {"type": "AdaptiveCard", "version": "1.4", "body": body, "actions": actions}

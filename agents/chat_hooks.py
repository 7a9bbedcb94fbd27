"""Outgoing chats that take a message at one address: Mattermost, Microsoft Teams, and plain JSON for anything else."""

from __future__ import annotations

import json
import re
from dataclasses import replace
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

    def __init__(self, name: str, form: HookForm, url: str, *, written: bool = False) -> None:
        self.name = name
        self._form = form
        self._url = url
        self._written = written

    async def post(self, place: Place, message: ChatMessage) -> str:
        """See ChatSurface."""
        try:
            async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as client:
                reply = await client.post(self._url, json=render(self._form, message, written=self._written))
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


def render(form: HookForm, message: ChatMessage, *, written: bool = False) -> dict[str, Any]:
    """Return the body of a message in one form; telemetry in it stays text. `written` tells how to decide in words."""
    if written:
        message = replace(message, parts=(*message.parts, *_decisions(message)))
    match form:
        case "mattermost":
            return {"text": as_markdown(message)[:_LONGEST]}
        case "teams":
            return {"type": "message", "attachments": [{"contentType": _CARD, "content": _card(message)}]}
        case "json":
            return as_json(message)


def as_json(message: ChatMessage, *, buttons: bool = False) -> dict[str, Any]:
    """Return a message as plain JSON; with `buttons` also what can be clicked, where clicks come back."""
    parts = [{"kind": part.kind, "text": show_plain(part.text)} for part in message.parts]
    links = [{"label": b.label, "url": b.value} for b in message.buttons if b.kind == "open"]
    body = {"schema": "causegraph.message/1", "summary": message.summary, "parts": parts, "links": links}
    if buttons:
        clicks = [b for b in message.buttons if b.kind != "open"]
        body["buttons"] = [{"button": b.kind, "label": b.label, "value": b.value} for b in clicks]
    return body


def _decisions(message: ChatMessage) -> list[Part]:
    """Return what to write where there are no buttons; the digest's first letters name it well enough."""
    found = []
    for button in message.buttons:
        if button.kind in ("approve", "reject"):
            named = json.loads(button.value)
            found.append(
                Part("text", f"{button.label}: write {button.kind} {named['approval_id']} {named['digest'][:16]}")
            )
    return found


_CARD = "application/vnd.microsoft.card.adaptive"


def as_markdown(message: ChatMessage, *, written: bool = False) -> str:
    """Return a message as Markdown in which telemetry is text; `written` tells how to decide in words."""
    lines = [_markdown_part(part) for part in (*message.parts, *(_decisions(message) if written else ()))]
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

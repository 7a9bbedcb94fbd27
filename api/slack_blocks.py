"""Messages as Slack's Block Kit, within its limits, with all of telemetry escaped.

Text goes into `plain_text` wherever Slack allows it, which knows no links, mentions or formatting; elsewhere `&`, `<` and `>` are
escaped as Slack asks for, and `verbatim` keeps it from making links and mentions of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import batched
from typing import Any

from agents.chat_surface import Button, ChatMessage, Part
from agents.plain import show_plain

TEXT = 2900  # of 3000
_HEADER = 148  # of 150
_BLOCKS = 45  # of 50
_LETTERS = 10_000
_FALLBACK = 300
_VALUE = 2000
_STYLES = {"approve": "primary", "reject": "danger"}


def escape(text: str) -> str:
    """Return text that Slack shows as it is: nothing in it is a link, a mention or a command."""
    return show_plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def render(message: ChatMessage) -> list[dict[str, Any]]:
    """Return a message as one or more bodies of chat.postMessage, each within Slack's limits; the buttons are on the last."""
    pages: list[list[dict[str, Any]]] = [[]]
    letters = 0
    for block, size in _blocks(message.parts):
        if len(pages[-1]) >= _BLOCKS or letters + size > _LETTERS:
            pages.append([])
            letters = 0
        pages[-1].append(block)
        letters += size
    if message.buttons:
        pages[-1] += _actions(message.buttons)
    summary = escape(message.summary[:_FALLBACK])
    return [{"text": summary, "blocks": page, "unfurl_links": False, "unfurl_media": False} for page in pages]


def _blocks(parts: Sequence[Part]) -> Iterator[tuple[dict[str, Any], int]]:
    for part in parts:
        text = show_plain(part.text).strip()
        if not text:
            continue
        if part.kind == "heading" and len(text) <= _HEADER:
            yield {"type": "header", "text": _plain(" ".join(text.split()))}, len(text)
            continue
        for piece in split_text(text):
            if part.kind == "facts":
                yield {"type": "context", "elements": [_plain(piece)]}, len(piece)
            else:
                yield {"type": "section", "text": _plain(piece)}, len(piece)


def split_text(text: str, size: int = TEXT) -> Iterator[str]:
    """Yield pieces of a text of at most `size` UTF-16 units, cut at ends of lines or words where there are any."""
    while _units(text) > size:
        cut = len(text.encode("utf-16-le")[: size * 2].decode("utf-16-le", "ignore"))
        at = max(text.rfind("\n", 0, cut), text.rfind(" ", 0, cut))
        at = at if at > cut // 2 else cut
        yield text[:at]
        text = text[at:].lstrip()
    if text:
        yield text


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def _plain(text: str) -> dict[str, Any]:
    return {"type": "plain_text", "text": text, "emoji": False}


def _actions(buttons: Sequence[Button]) -> list[dict[str, Any]]:
    return [
        {"type": "actions", "elements": [_button(button, number) for number, button in enumerate(group)]}
        for group in batched(buttons, 5)
    ]


def _button(button: Button, number: int) -> dict[str, Any]:
    made: dict[str, Any] = {"type": "button", "text": _plain(button.label[:75]), "action_id": f"cg_{button.kind}"}
    if button.kind == "open":
        return {**made, "action_id": f"cg_open_{number}", "url": button.value[:3000]}
    made["value"] = button.value[:_VALUE]
    if button.kind in _STYLES:
        made["style"] = _STYLES[button.kind]
    if button.kind == "approve":
        made["confirm"] = {
            "title": _plain("Approve exactly this?"),
            "text": _plain("It is done once, as shown, if nothing has changed since."),
            "confirm": _plain("Approve"),
            "deny": _plain("Not yet"),
        }
    return made

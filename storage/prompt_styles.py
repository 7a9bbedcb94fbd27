"""How prompts are spelled: lists of messages in the JSON that programs write, or any text. Spelling is kept to the byte."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

type Mask = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Style:
    """A way to write a list of messages: what stands between them, and how each is written."""

    name: str
    between: bytes
    separators: tuple[str, str]
    ascii_only: bool

    def encode(self, message: Mapping[str, Any]) -> bytes:
        """Return a message's bytes."""
        text = json.dumps(message, ensure_ascii=self.ascii_only, separators=self.separators)
        return text.encode("utf-8", "surrogatepass")

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Return the bytes of a prompt."""
        return b"[" + self.between.join(messages) + b"]"


COMPACT = Style("messages", b",", (",", ":"), ascii_only=False)
_STYLES = (
    COMPACT,
    Style("messages spaced ascii", b", ", (", ", ": "), ascii_only=True),
    Style("messages spaced", b", ", (", ", ": "), ascii_only=False),
    Style("messages ascii", b",", (",", ":"), ascii_only=True),
)
TEXT = "text"
BY_NAME = {style.name: style for style in _STYLES}
NAMES = (*BY_NAME, TEXT)


def recognise(text: str) -> tuple[Style, list[dict[str, Any]]] | None:
    """Return the messages of a text that is a list of them, with the style that writes it again exactly; else None."""
    if not text.startswith("[{"):
        return None
    try:
        messages = json.loads(text)
        raw = text.encode("utf-8", "surrogatepass")
    except (ValueError, RecursionError):
        return None
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        return None
    for style in _STYLES:
        if style.join([style.encode(message) for message in messages]) == raw:
            return style, messages
    return None


def mask_message(value: Any, mask: Mask) -> Any:
    """Return a message with every text masked; the value of a field that is named like a secret is one."""
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, list | tuple):
        return [mask_message(held, mask) for held in value]
    if isinstance(value, Mapping):
        return {name: _mask_field(str(name), held, mask) for name, held in value.items()}
    return value


def _mask_field(name: str, held: Any, mask: Mask) -> Any:
    if isinstance(held, str) and " " not in held and len(name) < 64 and mask(f"{name}={held}").startswith("[masked"):
        return "[masked: secret]"
    return mask_message(held, mask)

"""Places where people talk, behind one small interface: Slack, Microsoft Teams, Mattermost, anything with a webhook.

A message is made of plain parts. Their texts hold words of telemetry, so each surface escapes all of them in its own way.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Protocol

from domain.remedy import Actor
from storage.chat import ChatStore, PostedMessage

type PartKind = Literal["heading", "text", "facts", "quote"]
type ButtonKind = Literal["approve", "reject", "details", "right", "wrong", "open"]


@dataclass(frozen=True, slots=True)
class Place:
    """A channel, and a thread in it ('' for none). What only sends to one address needs neither."""

    channel: str = ""
    thread: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a message: a heading, a paragraph, small facts, or a quotation."""

    kind: PartKind
    text: str


@dataclass(frozen=True, slots=True)
class Button:
    """A button. `value` comes back with a click; for `open` it is an address."""

    kind: ButtonKind
    label: str
    value: str


@dataclass(frozen=True, slots=True)
class ChatMessage:
    """A message: `summary` is what a notification shows."""

    summary: str
    parts: tuple[Part, ...] = ()
    buttons: tuple[Button, ...] = ()


@dataclass(frozen=True, slots=True)
class Heard:
    """What somebody said or clicked in a chat, as its queue holds it.

    `home` is the team of whoever it was, where it may be another one than the chat's; `mentioned` says that it was said to us.
    `message_id` is the message with the button, or what was written. `reply_url` is where this one person can be answered
    for a while, and `shown` is what the clicked message looks like, for chats that need it to change the message.
    """

    kind: Literal["question", "click"]
    user: str
    channel: str
    thread: str = ""
    message_id: str = ""
    team: str = ""
    home: str = ""
    mentioned: bool = True
    text: str = ""
    button: str = ""
    value: str = ""
    reply_url: str = ""
    shown: str = ""

    @property
    def place(self) -> Place:
        """Return where to answer."""
        return Place(self.channel, self.thread)

    def in_thread(self, thread: str) -> Heard:
        """Return the same in another thread."""
        return replace(self, thread=thread)

    def to_payload(self) -> dict[str, Any]:
        """Return it for a queue."""
        return asdict(self)

    @classmethod
    def of_payload(cls, payload: Mapping[str, Any]) -> Heard:
        """Return what a queue held."""
        return cls(**payload)


class ChatSurface(Protocol):
    """A way to people. Every method raises ChatError where the other side cannot be reached or refuses."""

    name: str

    async def post(self, place: Place, message: ChatMessage) -> str:
        """Post a message and return its id there, '' where there is none."""
        ...

    async def update(self, place: Place, message_id: str, message: ChatMessage) -> None:
        """Replace a message; does nothing where messages cannot be replaced."""
        ...


class Conversation(ChatSurface, Protocol):
    """A chat in which people also ask and decide."""

    async def locate(self, heard: Heard) -> Heard | None:
        """Return a question with the thread that it is in, where the chat has to be asked for it; None for our own words."""
        ...

    async def whisper(self, heard: Heard, message: ChatMessage) -> None:
        """Tell something to nobody but whoever was heard; where a chat cannot do that, it is said where they were heard."""
        ...

    async def settle(self, heard: Heard, told: str) -> None:
        """Take the buttons off the message that was clicked, and say what was decided."""
        ...


class Decided(Protocol):
    """An approval as it stands."""

    @property
    def digest(self) -> str:
        """What it is bound to."""
        ...

    @property
    def status(self) -> str:
        """`pending` while it needs more people."""
        ...


class Approvals(Protocol):
    """Where a click on approve or reject ends: one durable record, which every way in shows a view of."""

    async def find_approval(self, approval_id: str) -> Decided:
        """Return an approval; raises NotFound."""
        ...

    async def decide(
        self, approval_id: str, decision: Literal["approve", "reject"], actor: Actor, *, digest: str, reason: str = ""
    ) -> Decided:
        """Decide on exactly what `digest` names. Raises NotFound, and ApprovalError for whoever may not."""
        ...


async def post_once(
    store: ChatStore,
    surface: ChatSurface,
    key: str,
    place: Place,
    message: ChatMessage,
    incident_id: str = "",
    run_id: str = "",
) -> PostedMessage:
    """Post a message, or bring the one that was posted under this key up to date; return where it is.

    A crash between posting and noting it leaves one message too many; nothing else can.
    """
    known = await store.find(surface.name, key)
    if known is not None:
        await surface.update(Place(known.channel, known.thread), known.message_id, message)
        return known
    message_id = await surface.post(place, message)
    thread = place.thread or message_id
    now_us = time.time_ns() // 1000
    posted = PostedMessage(surface.name, key, place.channel, thread, message_id, incident_id, now_us, run_id)
    await store.note(posted)
    return posted


def read_pairs(text: str) -> Mapping[str, str]:
    """Return `a=b,c=d` as a mapping."""
    pairs = (piece.partition("=") for piece in text.split(",") if piece.strip())
    return {name.strip(): value.strip() for name, _, value in pairs}

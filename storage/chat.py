"""What was posted in chats: so that nothing is posted twice, and a reply in a thread finds its incident."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from storage.database import Database


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """A message as it was posted. `key` says what it is about, `thread` is the message that its thread begins with."""

    surface: str
    key: str
    channel: str
    thread: str
    message_id: str
    incident_id: str
    posted_us: int


@dataclass(frozen=True, slots=True)
class ThreadSubject:
    """The incident that a thread is about, or '', and whether it begins with a message of ours."""

    incident_id: str
    ours: bool


class ChatStore:
    """The posted messages of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, surface: str, key: str) -> PostedMessage | None:
        """Return the message that was posted under a key."""
        rows = await self._database.fetch("chat_message_by_key", (surface, _name(key)))
        if not rows:
            return None
        channel, thread, message_id, incident_id, posted_us = rows[0]
        return PostedMessage(surface, key, str(channel), str(thread), str(message_id), str(incident_id), int(posted_us))

    async def note(self, message: PostedMessage) -> None:
        """Remember a message; the first one under a key stays."""
        row = (
            message.surface,
            _name(message.key),
            message.channel,
            message.thread,
            message.message_id,
            message.incident_id,
            message.posted_us,
        )
        await self._database.execute("put_chat_message", row)

    async def note_incident(self, surface: str, key: str, incident_id: str) -> None:
        """Note which incident a posted message is about."""
        await self._database.execute("put_chat_incident", (incident_id, surface, _name(key)))

    async def read_thread(self, surface: str, channel: str, thread: str) -> ThreadSubject:
        """Return what a thread is about."""
        rows = await self._database.fetch("chat_thread", (surface, channel, thread))
        about = next((str(row[0]) for row in rows if row[0]), "")
        return ThreadSubject(about, any(row[1] for row in rows))


def _name(key: str) -> str:
    return blake3(key.encode("utf-8", "replace")).hexdigest()

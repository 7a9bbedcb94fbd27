"""What was posted in chats: so that nothing is posted twice, and a reply in a thread finds its incident."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3

from storage.database import Database


@dataclass(frozen=True, slots=True)
class PostedMessage:
    """A message as it was posted. `key` says what it is about, `thread` is the message that its thread begins with, and
    `run_id` is the run of a workflow that it shows, if any."""

    surface: str
    key: str
    channel: str
    thread: str
    message_id: str
    incident_id: str
    posted_us: int
    run_id: str = ""


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
        channel, thread, message_id, incident_id, posted_us, run_id = rows[0]
        place = (str(channel), str(thread), str(message_id))
        return PostedMessage(surface, key, *place, str(incident_id), int(posted_us), str(run_id))

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
            message.run_id,
        )
        await self._database.execute("put_chat_message", row)

    async def note_subject(self, surface: str, key: str, incident_id: str, run_id: str) -> None:
        """Note which incident a posted message is about, and the run that it shows, if any."""
        await self._database.execute("put_chat_subject", (incident_id, run_id, surface, _name(key)))

    async def threads_of_run(self, surface: str, run_id: str) -> list[tuple[str, str]]:
        """Return the threads (channel, thread) in which a run was shown."""
        rows = await self._database.fetch("chat_threads_of_run", (run_id, surface))
        return [(str(channel), str(thread)) for channel, thread in rows]

    async def read_thread(self, surface: str, channel: str, thread: str) -> ThreadSubject:
        """Return what a thread is about."""
        rows = await self._database.fetch("chat_thread", (surface, channel, thread))
        about = next((str(row[0]) for row in rows if row[0]), "")
        return ThreadSubject(about, any(row[1] for row in rows))


def _name(key: str) -> str:
    return blake3(key.encode("utf-8", "replace")).hexdigest()

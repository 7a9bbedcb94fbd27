"""API keys and their roles. Only a key's BLAKE3 is stored; the key itself is shown once.

A key is 256 random bits, so a plain hash keeps it: there is nothing to guess and nothing to slow down. It is found by
its hash, never compared character by character, so how long a check takes tells nothing about the key.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from blake3 import blake3

from domain.errors import AccessError, NotFound, StorageError, StorageUnavailable
from storage.database import Database, Row
from storage.durable_files import sync_folder, translate_os_error

type Role = Literal["admin", "ingest", "alert", "ask", "read"]

ROLES: tuple[Role, ...] = get_args(Role.__value__)

# What a key of a role may do: `ingest` sends records and reads nothing, `alert` sends alerts alone, `ask` also reads, `admin` does everything.
INCLUDES: dict[Role, frozenset[Role]] = {
    "admin": frozenset(ROLES),
    "ingest": frozenset({"ingest", "alert"}),
    "alert": frozenset({"alert"}),
    "ask": frozenset({"ask", "read"}),
    "read": frozenset({"read"}),
}

_PREFIX = "cg_"
_OUTAGE_SECONDS = 3600.0
_REMEMBERED = 4096
_ANSWER_SECONDS = 2.0  # then a database counts as away: one that hangs must not hold up what the spool can keep
_FILE = "api-key"


@dataclass(frozen=True, slots=True)
class Key:
    """A stored key, without its secret."""

    id: str
    name: str
    role: Role
    created_us: int
    revoked_us: int | None = None

    @classmethod
    def from_row(cls, row: Row) -> Key:
        revoked = None if row[4] is None else int(row[4])
        return cls(str(row[0]), str(row[1]), cast(Role, row[2]), int(row[3]), revoked)

    def may(self, role: Role) -> bool:
        """Say whether the key's role includes another."""
        return self.revoked_us is None and role in INCLUDES[self.role]


class KeyStore:
    """Makes, checks and revokes keys. A revoked key works on for `remember_seconds` at most in other processes.

    While the database is away, a key that was good within the last hour is good: what is sent is kept in the spool.
    """

    def __init__(self, database: Database, remember_seconds: float = 5.0) -> None:
        self._database = database
        self._remember_seconds = remember_seconds
        self._remembered: OrderedDict[str, tuple[float, Key]] = OrderedDict()
        self._asked: dict[str, tuple[float, asyncio.Task[list[Row]]]] = {}

    async def create_key(self, name: str, role: Role) -> tuple[str, str]:
        """Make a key and return (id, secret); the secret cannot be shown again. Raises AccessError for no such role."""
        if role not in ROLES:
            raise AccessError(f"There is no role {role!r}: use one of {', '.join(ROLES)}.")
        secret = _PREFIX + secrets.token_urlsafe(32)
        key_id = await self._register(secret, name, role)
        return key_id, secret

    async def check(self, secret: str) -> Key | None:
        """Return the key of a secret; None if it is unknown or revoked. Raises StorageError if that cannot be known."""
        if not secret.startswith(_PREFIX) or len(secret) > 200:
            return None
        name = _hash(secret)
        until, key = self._remembered.get(name, (0.0, None))
        if key is not None and time.monotonic() < until:
            return key
        try:
            rows = await self._look_up(name)
        except StorageUnavailable:
            if key is not None and time.monotonic() < until + _OUTAGE_SECONDS:
                return key
            raise
        self._remembered.pop(name, None)
        found = Key.from_row(rows[0]) if rows else None
        if found is None or found.revoked_us is not None:
            return None
        self._remembered[name] = (time.monotonic() + self._remember_seconds, found)
        while len(self._remembered) > _REMEMBERED:
            self._remembered.popitem(last=False)
        return found

    async def _look_up(self, name: str) -> list[Row]:
        """Return a key's row; StorageUnavailable also where the database does not answer in time, asked once for all."""
        asked = self._asked.get(name)
        if asked is None or asked[1].done():
            asked = (
                time.monotonic() + _ANSWER_SECONDS,
                asyncio.create_task(self._database.fetch("key_by_hash", (name,))),
            )
            self._asked[name] = asked
            asked[1].add_done_callback(lambda answer: self._forget(name, answer))
        until, answer = asked
        try:
            return await asyncio.wait_for(asyncio.shield(answer), max(0.0, until - time.monotonic()))
        except TimeoutError as exc:
            raise StorageUnavailable("MariaDB does not answer: run `causegraph status`.") from exc

    def _forget(self, name: str, answer: asyncio.Task[list[Row]]) -> None:
        self._asked.pop(name, None)
        if not answer.cancelled():
            answer.exception()  # whoever asked may have gone

    async def revoke(self, key_id: str) -> None:
        """Make a key useless; doing it twice is the same as once. Raises NotFound."""
        if not await self._database.fetch("key_by_id", (key_id,)):
            raise NotFound(f"There is no key {key_id[:40]}: see `causegraph keys list`.")
        await self._database.execute("revoke_key", (time.time_ns() // 1000, key_id))
        self._remembered.clear()

    async def list(self) -> Sequence[Key]:
        """Return all keys, oldest first, revoked ones too."""
        return [Key.from_row(row) for row in await self._database.fetch("list_keys")]

    async def ensure_local_key(self, data_dir: Path) -> str:
        """Return the admin key of `<data_dir>/api-key`, made and registered if need be. Safe in many processes at once.

        Raises AccessError if that key was revoked, StorageError if the file cannot be used.
        """
        path = data_dir / _FILE
        secret = await asyncio.to_thread(_read_or_make, path)
        await self._register(secret, "local", "admin")
        if await self.check(secret) is None:
            raise AccessError(f"The key in {path} was revoked: delete that file to have a new one made.")
        return secret

    async def _register(self, secret: str, name: str, role: Role) -> str:
        key_id = f"key-{secrets.token_hex(6)}"
        await self._database.execute("insert_key", (key_id, name[:64], role, _hash(secret), time.time_ns() // 1000))
        return str((await self._database.fetch("key_by_hash", (_hash(secret),)))[0][0])


def _hash(secret: str) -> str:
    return blake3(secret.encode("utf-8", "replace")).hexdigest()


def _read_or_make(path: Path) -> str:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            _make_whole(path, _PREFIX + secrets.token_urlsafe(32) + "\n")
        if os.name != "nt" and path.stat().st_mode & 0o077:
            path.chmod(0o600)
        secret = path.read_text(encoding="utf-8").strip()
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    if not secret.startswith(_PREFIX) or len(secret) < 20:
        raise StorageError(f"{path} does not hold an API key: delete it to have a new one made.")
    return secret


def _make_whole(path: Path, content: str) -> None:
    # The name appears with its content or not at all, and whoever comes second finds the first one's.
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        try:
            path.hardlink_to(temporary)
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)

"""Policies as they were written, version by version, and which of them holds where and since when."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from domain.errors import NotFound
from storage.database import Database, Row, Transaction


@dataclass(frozen=True, slots=True)
class PolicyVersion:
    """One version of a policy; `definition` is its canonical JSON text."""

    name: str
    version: int
    description: str
    definition: str
    created_us: int
    created_by: str

    @classmethod
    def from_row(cls, row: Row) -> PolicyVersion:
        return cls(str(row[0]), int(row[1]), str(row[2]), str(row[3]), int(row[4]), str(row[5]))


@dataclass(frozen=True, slots=True)
class Activation:
    """Since when a version holds, and in which environment ("" for every one without an activation of its own)."""

    environment: str
    name: str
    version: int
    effective_us: int
    activated_us: int
    activated_by: str

    @classmethod
    def from_row(cls, row: Row) -> Activation:
        return cls(str(row[0]), str(row[1]), int(row[2]), int(row[3]), int(row[4]), str(row[5]))


class PolicyStore:
    """The policies of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, name: str, definition: str, description: str, by: str) -> PolicyVersion:
        """Store a policy as the next version of its name; the same definition again adds none."""

        def work(tx: Transaction) -> PolicyVersion:
            last = int(tx.fetch("last_policy_version", (name,))[0][0])
            if last:
                newest = PolicyVersion.from_row(tx.fetch("policy_version", (name, last))[0])
                if newest.definition == definition:
                    return newest
            row = (name, last + 1, description[:4000], definition, time.time_ns() // 1000, by[:128])
            tx.execute("insert_policy", row)
            return PolicyVersion.from_row(row)

        return await self._database.transaction(work)

    async def newest(self) -> Sequence[PolicyVersion]:
        """Return the newest version of each policy, by name."""
        return [PolicyVersion.from_row(row) for row in await self._database.fetch("newest_policies")]

    async def versions(self, name: str) -> Sequence[PolicyVersion]:
        """Return all versions of a policy, newest first; raises NotFound."""
        rows = await self._database.fetch("policy_versions", (name,)) if name.isascii() else []
        if not rows:
            raise NotFound(f"There is no policy {name[:64]!r}: see `causegraph policy list`.")
        return [PolicyVersion.from_row(row) for row in rows]

    async def get(self, name: str, version: int) -> PolicyVersion:
        """Return one version of a policy; raises NotFound."""
        rows = await self._database.fetch("policy_version", (name, version)) if name.isascii() else []
        if not rows:
            raise NotFound(f"Policy {name[:64]!r} has no version {version}: see `causegraph policy show {name[:64]}`.")
        return PolicyVersion.from_row(rows[0])

    async def activate(
        self, name: str, version: int, environment: str, by: str, effective_us: int | None = None
    ) -> None:
        """Let a version hold from a moment (now) on; version 0 means what is built in."""
        now_us = time.time_ns() // 1000
        row = (environment, name, version, now_us if effective_us is None else effective_us, now_us, by[:128])
        await self._database.execute("insert_policy_activation", row)

    async def activations(self, limit: int = 50) -> Sequence[Activation]:
        """Return the newest activations."""
        return [Activation.from_row(row) for row in await self._database.fetch("policy_activations", (limit,))]

    async def active(self, environment: str, at_us: int | None = None) -> tuple[str, int, str | None] | None:
        """Return name, version and definition (None if it is not stored) of what holds; None if nothing was activated."""
        moment = time.time_ns() // 1000 if at_us is None else at_us
        rows = await self._database.fetch("active_policy", (environment, moment))
        return (str(rows[0][0]), int(rows[0][1]), rows[0][2]) if rows else None

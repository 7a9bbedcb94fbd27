"""What model judges said, by the hash of what they were asked: the same is not asked twice."""

from __future__ import annotations

import time

from domain.times import HOUR_US
from storage.database import Database

_KEPT_US = 90 * 24 * HOUR_US


class OpinionStore:
    """The opinions of one database. Every method raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def recall(self, input_hash: str) -> str | None:
        """Return the reply that was given, as JSON text; None where the same was not asked before."""
        rows = await self._database.fetch("model_opinion", (input_hash,))
        return str(rows[0][0]) if rows else None

    async def remember(self, input_hash: str, model: str, reply: str) -> None:
        """Keep a reply; the first one stays. What is older than 90 days goes."""
        now_us = time.time_ns() // 1000
        await self._database.execute("insert_model_opinion", (input_hash, model[:191], reply, now_us))
        await self._database.execute("drop_model_opinions", (now_us - _KEPT_US,))

"""The slots of families of templates that were opened: append-only, so that what was one family once stays one."""

from __future__ import annotations

from collections.abc import Mapping

from storage.database import Database

_MOST = 10_000


class FamilySlotStore:
    """Opened slots by environment and version of the families. Every method raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def opened(self, environment: str, version: int) -> list[str]:
        """Return the texts of the opened slots, the first ones where there are very many."""
        rows = await self._database.fetch("opened_slots", (environment, version, _MOST))
        return [str(row[0]) for row in rows]

    async def open(self, environment: str, version: int, slots: Mapping[int, str], now_us: int) -> None:
        """Keep slots (text by id) that were opened; those that are known stay as they are."""
        rows = [(environment, version, number, text, now_us) for number, text in sorted(slots.items())]
        await self._database.transaction(lambda tx: tx.execute_many("open_slot", rows))

"""What links the code of a root together, in MariaDB: packed by the indexer, written as a whole with a name for its state."""

from __future__ import annotations

from dataclasses import dataclass

from storage.database import Database, Row, Transaction

_PART_BYTES = 8 << 20  # below the packet that servers take unless told otherwise


@dataclass(frozen=True, slots=True)
class Emission:
    """A log template that a service wrote at some time."""

    service: str
    template_id: int
    text: str

    @classmethod
    def from_row(cls, row: Row) -> Emission:
        return cls(str(row[0]), int(row[1]), str(row[2]))


class CodeLinkStore:
    """Reads and writes the links of code roots. Raises StorageError."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def state(self, root_id: str) -> str:
        """Return the state of what is kept, "" where nothing is."""
        rows = await self._database.fetch("code_links_state", (root_id,))
        return str(rows[0][0]) if rows else ""

    async def load(self, root_id: str) -> tuple[str, bytes]:
        """Return (state, packed links), both empty where nothing is kept."""
        rows = await self._database.fetch("code_links_load", (root_id,))
        if not rows or len({row[0] for row in rows}) > 1:
            return "", b""
        return str(rows[0][0]), b"".join(bytes(row[1]) for row in rows)

    async def save(self, root_id: str, before: str, state: str, packed: bytes) -> bool:
        """Replace what is kept in one step; False, and nothing is changed, if it is not that of the state `before`."""
        parts = [packed[at : at + _PART_BYTES] for at in range(0, max(1, len(packed)), _PART_BYTES)]

        def work(tx: Transaction) -> bool:
            held = tx.fetch("code_links_lock", (root_id,))
            if (str(held[0][0]) if held else "") != before:
                return False
            tx.execute("code_links_remove", (root_id,))
            for number, part in enumerate(parts):
                tx.execute("code_links_put", (root_id, number, state, part))
            return True

        return await self._database.transaction(work)

    async def emissions(self) -> list[Emission]:
        """Return which templates each service wrote, in any environment."""
        return [Emission.from_row(row) for row in await self._database.fetch("code_emissions")]

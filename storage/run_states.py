"""Forgetting the states that runs of the team went through, once nobody goes on with them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from storage.database import Database, Transaction


def forget_state(tx: Transaction, run_id: str) -> None:
    """Forget every state of a run."""
    for query in ("drop_checkpoints", "drop_checkpoint_blobs", "drop_checkpoint_writes"):
        tx.execute(query, (run_id,))


class RunStates:
    """The kept states of runs of one database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def forget(self, run_id: str) -> None:
        """Forget every state of a run."""
        await self._database.transaction(lambda tx: forget_state(tx, run_id))

    async def drop(self, older_seconds: float) -> int:
        """Forget the runs that nobody has gone on with for so long; return how many."""
        before = datetime.now(UTC) - timedelta(seconds=older_seconds)

        def drop(tx: Transaction) -> int:
            runs = [str(row[0]) for row in tx.fetch("old_run_states", (before.isoformat(),))]
            for run_id in runs:
                forget_state(tx, run_id)
            return len(runs)

        return await self._database.transaction(drop)

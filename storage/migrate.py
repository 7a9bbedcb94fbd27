"""Numbered migrations: `migrations/NNNN_words.sql`, applied in order, each once."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domain.errors import MigrationNeeded, StorageUnavailable
from domain.times import SECOND_US
from storage.database import Database, Transaction

_FOLDER = Path(__file__).parent / "migrations"
_LOCK_SECONDS = 60
_CREATE_TABLE = (
    "CREATE TABLE IF NOT EXISTS schema_migration (version INT UNSIGNED NOT NULL PRIMARY KEY, "
    "name VARCHAR(64) NOT NULL, applied_us BIGINT NOT NULL) ENGINE=InnoDB"
)


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema: its number, its name and its statements."""

    version: int
    name: str
    statements: tuple[str, ...]


def load_migrations(folder: Path = _FOLDER) -> tuple[Migration, ...]:
    """Return the migrations of a folder in order; the numbers must run 1, 2, 3 without a gap."""
    found = []
    for path in sorted(folder.glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(int(number), name, tuple(split_statements(path.read_text(encoding="utf-8")))))
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations in {folder} are not numbered 1, 2, 3 ...")
    return tuple(found)


def split_statements(script: str) -> Iterator[str]:
    """Yield the statements of a script; a statement ends with a semicolon at the end of a line."""
    text = "\n".join(line for line in script.splitlines() if not line.startswith("--"))
    for statement in re.split(r";\s*(?:\n|$)", text):
        if statement.strip():
            yield statement.strip()


async def migrate(database: Database) -> list[int]:
    """Bring the schema up to date and return the numbers that were applied now; safe to call from many processes."""

    def work(tx: Transaction) -> list[int]:
        if tx.fetch("take_migration_lock", (_LOCK_SECONDS,))[0][0] != 1:
            raise StorageUnavailable(
                f"Another process has been migrating this database for {_LOCK_SECONDS} s: wait for it."
            )
        try:
            tx.run_script([_CREATE_TABLE])
            done = {int(row[0]) for row in tx.fetch("applied_migrations")}
            applied = []
            for step in load_migrations():
                if step.version in done:
                    continue
                tx.run_script(step.statements)
                tx.execute("record_migration", (step.version, step.name, int(time.time() * SECOND_US)))
                tx.run_script(["COMMIT"])  # whoever waits for the lock must see it as soon as it is free
                applied.append(step.version)
            return applied
        finally:
            tx.fetch("release_migration_lock")

    return await database.transaction(work)


async def check_schema(database: Database) -> None:
    """Raise MigrationNeeded unless the schema is exactly the one that this program was written for."""
    if not int((await database.fetch("has_migration_table"))[0][0]):
        raise MigrationNeeded("The database is empty: run `causegraph migrate`.")
    done = {int(row[0]) for row in await database.fetch("applied_migrations")}
    known = {step.version for step in load_migrations()}
    if missing := known - done:
        raise MigrationNeeded(f"The database lacks migration {min(missing)}: run `causegraph migrate`.")
    if newer := done - known:
        raise MigrationNeeded(f"The database has migration {max(newer)}, newer than this program: update Causegraph.")

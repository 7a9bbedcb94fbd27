"""The migrations and `schema.sql` make the same database."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import mariadb
import pytest

import storage
from domain.errors import MigrationNeeded
from storage.database import Database, Row, Transaction, parse_database_url
from storage.migrate import check_schema, load_migrations, migrate, split_statements

type Open = Callable[[str], Awaitable[Database]]

SCHEMA = Path(storage.__file__).parent / "schema.sql"
DESCRIPTIONS = {
    "tables": "SELECT table_name, engine, table_collation, create_options FROM information_schema.tables "
    "WHERE table_schema = DATABASE() ORDER BY 1",
    "columns": "SELECT table_name, ordinal_position, column_name, column_type, is_nullable, column_default, "
    "collation_name, extra FROM information_schema.columns WHERE table_schema = DATABASE() ORDER BY 1, 2",
    "indexes": "SELECT table_name, index_name, seq_in_index, column_name, non_unique, sub_part, index_type "
    "FROM information_schema.statistics WHERE table_schema = DATABASE() ORDER BY 1, 2, 3",
    "constraints": "SELECT table_name, constraint_name, constraint_type "
    "FROM information_schema.table_constraints WHERE table_schema = DATABASE() ORDER BY 1, 2",
    "partitions": "SELECT table_name, partition_name, partition_expression, partition_description "
    "FROM information_schema.partitions WHERE table_schema = DATABASE() ORDER BY 1, 2",
    "views": "SELECT table_name, view_definition FROM information_schema.views WHERE table_schema = DATABASE()",
    "migrations": "SELECT version, name FROM schema_migration ORDER BY 1",
}


def describe(url: str) -> dict[str, list[tuple[Any, ...]]]:
    """What a database is made of, and every row that it starts with."""
    connection = mariadb.connect(**parse_database_url(url))
    cursor = connection.cursor()
    found: dict[str, list[tuple[Any, ...]]] = {}
    for name, query in DESCRIPTIONS.items():
        cursor.execute(query)
        found[name] = list(cursor.fetchall())
    for table, *_ in found["tables"]:
        if table != "schema_migration":
            cursor.execute(f"SELECT * FROM `{table}`")  # noqa: S608 - a name that the server gave
            found[f"rows of {table}"] = sorted(cursor.fetchall())
    connection.close()
    return found


async def test_the_schema_is_what_the_migrations_make(fresh_url: Callable[[], str], open_database: Open) -> None:
    by_migration, by_script = fresh_url(), fresh_url()
    assert await migrate(await open_database(by_migration)) == [step.version for step in load_migrations()]
    database = await open_database(by_script)
    await database.transaction(lambda tx: tx.run_script(split_statements(SCHEMA.read_text(encoding="utf-8"))))
    expected, found = describe(by_migration), describe(by_script)
    assert len(expected["tables"]) > 10
    for name in expected:
        assert found[name] == expected[name], f"{SCHEMA} and the migrations differ in {name}"
    assert found.keys() == expected.keys()
    await check_schema(database)


async def test_migrating_again_or_at_once_changes_nothing(fresh_url: Callable[[], str], open_database: Open) -> None:
    url = fresh_url()
    databases = [await open_database(url) for _ in range(3)]
    applied = await asyncio.gather(*map(migrate, databases))
    assert sorted(map(len, applied)) == [0, 0, len(load_migrations())]
    assert await migrate(databases[0]) == []


async def test_all_is_committed_before_the_lock_is_free(
    fresh_url: Callable[[], str], open_database: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, seen = fresh_url(), []
    fetch = Transaction.fetch

    def look_first(tx: Transaction, name: str, parameters: Sequence[Any] = ()) -> list[Row]:
        if name == "release_migration_lock":
            seen.extend(describe(url)["migrations"])  # as the next process would find it
        return fetch(tx, name, parameters)

    monkeypatch.setattr(Transaction, "fetch", look_first)
    await migrate(await open_database(url))
    assert seen == [(step.version, step.name) for step in load_migrations()]


@pytest.mark.long
async def test_a_step_that_was_cut_short_anywhere_is_done_again(
    fresh_url: Callable[[], str], open_database: Open
) -> None:
    """A kill: the server commits each statement that defines something for itself."""
    steps, url = load_migrations(), fresh_url()
    database = await open_database(url)
    await migrate(database)
    expected = describe(url)
    for step in steps:
        for done in range(1, len(step.statements) + 1):
            other = fresh_url()
            half = await open_database(other)
            before = [statement for earlier in steps[: step.version - 1] for statement in earlier.statements]
            cut = [*before, *step.statements[:done]]
            await half.transaction(lambda tx, cut=cut: tx.run_script(cut))  # type: ignore[misc]
            await migrate(half)
            assert describe(other) == expected, f"{step.name}, cut short after statement {done}"


async def test_a_schema_of_another_version_is_refused(fresh_url: Callable[[], str], open_database: Open) -> None:
    database = await open_database(fresh_url())
    with pytest.raises(MigrationNeeded, match="empty"):
        await check_schema(database)
    await migrate(database)
    await check_schema(database)
    await database.execute("record_migration", (999, "future", 0))
    with pytest.raises(MigrationNeeded, match="newer than this program"):
        await check_schema(database)


def test_migrations_must_be_numbered_without_a_gap(tmp_path: Path) -> None:
    (tmp_path / "0001_a.sql").write_text("SELECT 1;")
    (tmp_path / "0003_b.sql").write_text("SELECT 1;")
    with pytest.raises(ValueError, match="not numbered"):
        load_migrations(tmp_path)


def test_a_script_is_split_at_the_ends_of_its_statements() -> None:
    script = "-- a comment;\nCREATE TABLE a (\n  x INT  -- kept\n);\n\nINSERT INTO a VALUES (';');\nSELECT 1"
    assert list(split_statements(script)) == [
        "CREATE TABLE a (\n  x INT  -- kept\n)",
        "INSERT INTO a VALUES (';')",
        "SELECT 1",
    ]

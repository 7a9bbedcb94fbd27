"""One SQL statement of the operator's on a database that is not ours: parameters only, bounded in time and rows."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import mariadb

from domain.errors import ActionError, ActionRefused, SettingsError
from storage.database import parse_database_url

_ROWS = 50


async def run_statement(
    url: str, statement: str, parameters: Sequence[Any], *, most_rows: int, seconds: float
) -> tuple[int, list[tuple[Any, ...]]]:
    """Run a statement in a transaction of its own; return how many rows it touched, and the first rows it returned.

    One that touches more than `most_rows` is rolled back. Raises ActionRefused if nothing was changed, ActionError if
    that is not known.
    """
    return await asyncio.to_thread(_run, url, statement, tuple(parameters), most_rows, seconds)


def _run(
    url: str, statement: str, parameters: tuple[Any, ...], most_rows: int, seconds: float
) -> tuple[int, list[tuple[Any, ...]]]:
    try:
        connection = mariadb.connect(**parse_database_url(url), autocommit=False)
    except (mariadb.Error, OSError, SettingsError) as exc:
        raise ActionRefused(f"The database of this connection cannot be reached: {exc}") from exc
    committing = False
    try:
        cursor = connection.cursor()
        cursor.execute("SET SESSION max_statement_time = ?, lock_wait_timeout = 10", (seconds,))
        cursor.execute(statement, parameters)
        rows = [tuple(row) for row in cursor.fetchmany(_ROWS)] if cursor.description else []
        touched = 0 if cursor.description else max(0, int(cursor.rowcount))
        if touched > most_rows:
            connection.rollback()
            raise ActionRefused(f"The statement would touch {touched} rows, more than {most_rows}: it was rolled back.")
        committing = True
        connection.commit()
    except (mariadb.Error, OSError) as exc:
        if committing:
            raise ActionError(f"It is not known whether the statement was committed: {exc}") from exc
        raise ActionRefused(f"The database refused the statement: {exc}") from exc
    else:
        return touched, rows
    finally:
        connection.close()

"""Lines are read page by page without sorting all of the window anew for each page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from domain.telemetry import Level, LogEvent
from storage.batch import Batch
from storage.database import QUERIES, Database
from storage.ingest import IngestStore
from storage.migrate import migrate

START, LINES = 1_790_000_000_000_000, 20_000
END = START + LINES
MIDDLE = START + LINES // 2

QUERIES["plans_analyze"] = "ANALYZE TABLE log_event, log_count"
for _name in ("logs_matching", "export_logs", "templates_first_written"):
    QUERIES[f"plan_of_{_name}"] = f"EXPLAIN {QUERIES[_name]}"


@pytest.fixture
async def filled(fresh_url: Callable[[], str], open_database: Callable[[str], Awaitable[Database]]) -> Database:
    database = await open_database(fresh_url())
    await migrate(database)
    lines = [
        LogEvent("e", START + n, f"s{n % 7}", Level.INFO, f"line {n}", n % 50 + 1, "line <*>") for n in range(LINES)
    ]
    await IngestStore(database).take(Batch("e", "logs", "one", START, logs=lines))
    await database.fetch("plans_analyze")
    return database


async def test_pages_of_lines_are_read_in_the_order_of_an_index(filled: Database) -> None:
    newest = ("e", START, END, END, END, 0, "", "", 0, "", "", 50)
    page = ("e", START, END, MIDDLE, MIDDLE, 9_000, "", "", 0, "line", "line", 50)
    exported = ("e", END, 1, MIDDLE, MIDDLE, 9_000, 2_000)
    for name, asked in (("logs_matching", newest), ("logs_matching", page), ("export_logs", exported)):
        plan = (await filled.fetch(f"plan_of_{name}", asked))[0]
        assert plan[5] == "by_time", plan
        assert "filesort" not in str(plan[-1]), plan


async def test_the_first_line_of_a_template_is_found_by_an_index(filled: Database) -> None:
    plans = await filled.fetch("plan_of_templates_first_written", ("e", "e", "[1, 2, 3]", END))
    assert [plan[5] for plan in plans if plan[2] in ("c", "f")] == ["by_template", "by_template"]

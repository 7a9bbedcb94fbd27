"""Rules of the operator: lines that are only counted, lines that wake an analysis, and alerts that end by themselves."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from domain.errors import SettingsError
from domain.settings import Settings
from domain.times import HOUR_US, format_us
from ingest.log_rules import load_log_rules
from ingest.rule_alerts import LASTS_US, RuleAlerts
from ingest.service import Delivery, Ingest
from storage.database import Database
from storage.ingest import IngestStore

RULES = r"""
rules:
  - {name: payments stay, action: keep, keyword: payment}
  - {name: chatter, action: count, below: warn, service: edge}
  - {name: out of memory, action: wake, regex: '(?i)out of memory', severity: critical, runbook_url: "https://wiki/oom"}
  - {name: elsewhere, action: count, service: shop, environment: somewhere-else}
"""


@pytest.fixture
def rules(tmp_path: Path) -> Path:
    path = tmp_path / "rules.yaml"
    path.write_text(RULES)
    return path


def _lines(at_us: int, *lines: tuple[str, str, str]) -> Delivery:
    return Delivery(
        json.dumps(
            [
                {"timestamp": format_us(at_us + n), "service": service, "level": level, "message": message}
                for n, (service, level, message) in enumerate(lines)
            ]
        ).encode()
    )


async def _rows(database: Database, table: str, environment: str, columns: str) -> list[tuple[Any, ...]]:
    def work(tx: Any) -> list[tuple[Any, ...]]:
        tx._cursor.execute(f"SELECT {columns} FROM {table} WHERE environment = ?", (environment,))  # noqa: S608 - our own words
        return [tuple(row) for row in tx._cursor.fetchall()]

    return await database.transaction(work)


async def test_lines_are_kept_counted_or_wake(database: Database, environment: str, rules: Path) -> None:
    store = IngestStore(database)
    ingest = Ingest(store, Settings(), rules=load_log_rules(rules))
    began = time.time_ns() // 1000 - HOUR_US
    sent = [
        ("edge", "info", "GET /7 from 10.0.0.7"),
        ("edge", "info", "GET /8 from 10.0.0.8"),
        ("edge", "info", "payment probe"),
        ("edge", "error", "upstream is gone"),
        ("shop", "error", "Out of memory: killed process 411"),
        ("shop", "info", "sold 3 chairs"),
        ("shop", "error", "Out of memory: killed process 412"),
    ]
    delivery = _lines(began, *sent)
    delivery = Delivery(delivery.body, environment=environment)
    first, again = await ingest.accept_logs(delivery), await ingest.accept_logs(delivery)
    assert (first.accepted, first.duplicate, first.rejected) == (7, 0, 0)
    assert (again.accepted, again.duplicate) == (0, 7)

    stored = {row[0] for row in await _rows(database, "log_event", environment, "message")}
    assert stored == {message for _, _, message in sent[2:]}
    counts = await _rows(database, "log_count", environment, "service, level, count")
    assert sum(count for service, level, count in counts if (service, level) == ("edge", 9)) == 3
    assert sum(row[2] for row in counts) == 7

    (alert,) = await _rows(
        database, "alert", environment, "service, name, status, severity, runbook_url, time_us, source"
    )
    assert alert == ("shop", "out of memory", "firing", "critical", "https://wiki/oom", began + 4, "log-rule")
    later = _lines(began + 60_000_000, ("shop", "error", "out of memory again"), ("till", "error", "OUT OF MEMORY"))
    await ingest.accept_logs(Delivery(later.body, environment=environment))
    assert {row[0] for row in await _rows(database, "alert", environment, "service")} == {"shop", "till"}

    ending = RuleAlerts(database, store)
    while await ending.resolve():
        pass
    ended = await _rows(database, "alert", environment, "service, status, ended_us - time_us")
    assert set(ended) == {("shop", "resolved", LASTS_US), ("till", "resolved", LASTS_US)}
    fresh = _lines(began + HOUR_US - 1_000_000, ("shop", "error", "out of memory, an hour later"))
    await ingest.accept_logs(Delivery(fresh.body, environment=environment))
    while await ending.resolve():
        pass
    found = await _rows(database, "alert", environment, "service, status")
    assert sorted(found) == [("shop", "firing"), ("shop", "resolved"), ("till", "resolved")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rules: [{name: a, action: drop, keyword: x}]", "action"),
        ("rules: [{name: a, action: keep}]", "names nothing to look for"),
        (r"rules: [{name: a, action: keep, regex: '(a)\1'}]", "regex that cannot be read"),
        ("rules: [{name: a, action: keep, keyword: x}, {name: a, action: count, keyword: y}]", "two rules"),
        ("rules: [", "not YAML"),
        ("rules: [{name: a, action: wake, keywords: x}]", "keywords"),
    ],
)
def test_a_rule_that_cannot_be_read_is_told(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    with pytest.raises(SettingsError, match=said.replace("(", r"\(")):
        load_log_rules(path)


def test_a_file_that_is_missing_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_log_rules(tmp_path / "none.yaml")


def test_no_pattern_hangs_on_a_hostile_line(tmp_path: Path) -> None:
    """With a matcher that goes back, this one takes longer than the age of the universe."""
    path = tmp_path / "rules.yaml"
    path.write_text("rules: [{name: a, action: count, regex: '(a+)+$'}]")
    (_, rule), *_ = load_log_rules(path)._rules
    assert not rule.holds("shop", None, "a" * 60_000 + "!")
    assert rule.holds("shop", None, "b" + "a" * 60_000)

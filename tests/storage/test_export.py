"""Telemetry that was stored is read back from the Parquet files that it was exported to."""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from domain.errors import SettingsError, StorageError
from domain.telemetry import Level, LogEvent, MetricPoint, Span, SpanKind
from domain.times import Window, from_us
from ingest.template import template_of
from storage import export
from storage.batch import Batch
from storage.database import QUERIES, Database
from storage.export import read_pages
from storage.ingest import IngestStore
from storage.parquet import Exported, write_parquet

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
START = 1_790_000_000_000_000
COUNT = 23  # of each kind; several share each moment, so that pages are cut through moments


for _table, _kind, _time in (
    ("log_event", "logs", "time_us"),
    ("span", "spans", "start_us"),
    ("metric_point", "metrics", "time_us"),
):
    QUERIES[f"export_drop_{_kind}"] = f"DELETE FROM {_table} WHERE environment = ? AND {_time} >= ?"  # noqa: S608 - names of ours


def _batch(environment: str, key: str = "0" * 64, service: str = "") -> Batch:
    text = "order 7 placed [é]\n😀"
    number, template = template_of(text)
    moments = [START + n // 5 for n in range(COUNT)]
    return Batch(
        environment=environment,
        kind="logs",
        key=key,
        received_us=START,
        logs=[
            LogEvent(environment, at, service or f"s{n % 3}", Level.WARN, text, number, template, attributes={"n": n})
            for n, at in enumerate(moments)
        ],
        spans=[
            Span(
                environment,
                f"{n % 4 + 1:032x}",
                f"{n + 1 + 100 * bool(service):016x}",
                "",
                service or "shop",
                "GET /",
                SpanKind.SERVER,
                at,
                5,
                n % 2 == 0,
            )
            for n, at in enumerate(moments)
        ],
        metrics=[
            MetricPoint(environment, at, service or f"s{n}", "cpu", n / 2, node=f"n{n}") for n, at in enumerate(moments)
        ],
    )


async def test_what_is_stored_is_read_back_from_the_files(
    database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await IngestStore(database).take(_batch(environment))
    monkeypatch.setattr(export, "_PAGE_ROWS", 4)
    window = Window(START, START + 10)
    for kind in ("logs", "spans", "metrics"):
        told: list[tuple[int, int]] = []
        found = await write_parquet(
            database, kind, environment, window, tmp_path / "new", lambda *now, into=told: into.append(now)
        )
        assert found == Exported(tmp_path / "new" / f"{kind}.parquet", COUNT, 0)
        assert told == [(rows, COUNT) for rows in (4, 8, 12, 16, 20, 23)]
    assert sorted(each.name for each in (tmp_path / "new").iterdir()) == [
        "logs.parquet", "metrics.parquet", "spans.parquet",
    ]  # fmt: skip
    lines = pq.read_table(tmp_path / "new" / "logs.parquet").to_pylist()
    sent = _batch(environment)
    assert [
        (row["time"], row["service"], row["level"], row["message"], row["template"], row["attributes"]) for row in lines
    ] == [
        (from_us(e.time_us), e.service, "WARN", e.message, e.template, f'{{"n":{e.attributes["n"]}}}')
        for e in sent.logs
    ]
    assert lines[0]["time"] == datetime(2026, 9, 21, 14, 13, 20, tzinfo=UTC)
    spans = pq.read_table(tmp_path / "new" / "spans.parquet").to_pylist()
    assert {(row["span_id"], row["kind"], row["error"], row["duration_us"]) for row in spans} == {
        (span.span_id, "SERVER", span.error, 5) for span in sent.spans
    }
    points = pq.read_table(tmp_path / "new" / "metrics.parquet").to_pylist()
    assert sorted((row["service"], row["value"]) for row in points) == sorted(
        (p.service, p.value) for p in sent.metrics
    )


async def test_only_the_window_and_the_environment_are_exported(
    database: Database, environment: str, tmp_path: Path
) -> None:
    await IngestStore(database).take(_batch(environment))
    assert (await write_parquet(database, "logs", environment, Window(START + 1, START + 3), tmp_path)).rows == 10
    none = await write_parquet(database, "logs", f"{environment}-x", Window(START, START + 10), tmp_path)
    assert (none.rows, pq.read_table(none.file).num_rows) == (0, 0)


@pytest.mark.parametrize("kind", ["logs", "spans", "metrics"])
async def test_what_comes_meanwhile_is_left_out_and_what_is_dropped_is_told(
    database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: export.ExportKind
) -> None:
    """Between two pages a delivery comes, and retention drops what was not read yet."""
    await IngestStore(database).take(_batch(environment))
    monkeypatch.setattr(export, "_PAGE_ROWS", 4)
    pages = read_pages

    async def disturbed(*asked: Any) -> AsyncIterator[list[tuple[Any, ...]]]:
        at = 0
        async for page in pages(*asked):
            yield page
            at += 1
            if at == 2:
                await IngestStore(database).take(_batch(environment, key="1" * 64, service="late"))
            if at == 4:
                await database.execute(f"export_drop_{kind}", (environment, START + 4))

    monkeypatch.setattr("storage.parquet.read_pages", disturbed)
    found = await write_parquet(database, kind, environment, Window(START, START + 10), tmp_path)
    assert (found.rows, found.missing) == (20, 3)
    rows = pq.read_table(found.file).to_pylist()
    assert len(rows) == 20
    assert "late" not in {row["service"] for row in rows}


async def test_what_cannot_be_written_is_told(
    database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken = tmp_path / "file"
    taken.write_text("not a folder")
    with pytest.raises(StorageError, match="cannot be written"):
        await write_parquet(database, "logs", environment, Window(START, START + 10), taken)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SettingsError, match="extra `parquet`"):
        await write_parquet(database, "logs", environment, Window(START, START + 10), tmp_path)

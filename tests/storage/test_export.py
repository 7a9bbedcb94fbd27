"""Telemetry that was stored is read back from the Parquet files that it was exported to."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import SettingsError, StorageError
from domain.telemetry import Level, LogEvent, MetricPoint, Span, SpanKind
from domain.times import Window, from_us
from ingest.template import template_of
from storage import export
from storage.batch import Batch
from storage.database import Database
from storage.ingest import IngestStore
from storage.parquet import write_parquet

pq = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
START = 1_790_000_000_000_000
COUNT = 23  # of each kind; several share each moment, so that pages are cut through moments


def _batch(environment: str) -> Batch:
    text = "order 7 placed [é]\n😀"
    number, template = template_of(text)
    moments = [START + n // 5 for n in range(COUNT)]
    return Batch(
        environment=environment,
        kind="logs",
        key="0" * 64,
        received_us=START,
        logs=[
            LogEvent(environment, at, f"s{n % 3}", Level.WARN, text, number, template, attributes={"n": n})
            for n, at in enumerate(moments)
        ],
        spans=[
            Span(
                environment,
                f"{n % 4 + 1:032x}",
                f"{n + 1:016x}",
                "",
                "shop",
                "GET /",
                SpanKind.SERVER,
                at,
                5,
                n % 2 == 0,
            )
            for n, at in enumerate(moments)
        ],
        metrics=[MetricPoint(environment, at, f"s{n}", "cpu", n / 2) for n, at in enumerate(moments)],
    )


async def test_what_is_stored_is_read_back_from_the_files(
    database: Database, environment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await IngestStore(database).take(_batch(environment))
    monkeypatch.setattr(export, "_PAGE_ROWS", 4)
    window = Window(START, START + 10)
    for kind in ("logs", "spans", "metrics"):
        told: list[int] = []
        path, rows = await write_parquet(database, kind, environment, window, tmp_path / "new", told.append)
        assert (path, rows) == (tmp_path / "new" / f"{kind}.parquet", COUNT)
        assert told == [4, 8, 12, 16, 20, 23]
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
    _, rows = await write_parquet(database, "logs", environment, Window(START + 1, START + 3), tmp_path)
    assert rows == 10
    path, rows = await write_parquet(database, "logs", f"{environment}-x", Window(START, START + 10), tmp_path)
    assert (rows, pq.read_table(path).num_rows) == (0, 0)


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

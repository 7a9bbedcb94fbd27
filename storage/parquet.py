"""Exports as Parquet files. The library is an extra: `pip install causegraph[parquet]`."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import SettingsError, StorageError
from domain.telemetry import Level, SpanKind
from domain.times import Window
from storage.database import Database
from storage.export import EXPORTS, ColumnType, ExportKind, Extent, read_pages

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Exported:
    """A file and its rows. `missing` rows were there when it was begun, and dropped by retention before they were read."""

    file: Path
    rows: int
    missing: int


async def write_parquet(
    database: Database,
    kind: ExportKind,
    environment: str,
    window: Window,
    folder: Path,
    told: Callable[[int, int], None] = lambda rows, every: None,
) -> Exported:
    """Write a window to `folder`/`kind`.parquet; `told(rows so far, of how many)` after each page.

    What is stored while it is written is left out. A file of that name is replaced once the new one is whole. Raises SettingsError without pyarrow, and StorageError.
    """
    if importlib.util.find_spec("pyarrow") is None:
        raise SettingsError(
            "Parquet files need pyarrow, which is not installed: add the extra `parquet`, as in "
            "`pip install 'causegraph[parquet]'`."
        )
    import pyarrow.parquet as pq

    columns, path, rows = EXPORTS[kind].columns, folder / f"{kind}.parquet", 0
    schema, part = _schema(columns), path.with_suffix(".parquet.part")
    try:
        await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
        extent = await Extent.measure(database, kind, environment, window)
        with pq.ParquetWriter(part, schema, compression="zstd") as writer:
            async for page in read_pages(database, kind, extent):
                await asyncio.to_thread(writer.write_table, _table(page, columns, schema))
                rows += len(page)
                told(rows, extent.rows)
        part.replace(path)
    except OSError as exc:
        raise StorageError(f"The file cannot be written: {exc}") from exc
    finally:
        with suppress(OSError):
            part.unlink(missing_ok=True)
    return Exported(path, rows, extent.rows - rows)


def _schema(columns: dict[str, ColumnType]) -> pa.Schema:
    import pyarrow as pa

    types = {
        "time": pa.timestamp("us", tz="UTC"),
        "integer": pa.int64(),
        "float": pa.float64(),
        "flag": pa.bool_(),
    }
    return pa.schema([(name, types.get(kind, pa.string())) for name, kind in columns.items()])


def _table(page: Sequence[tuple[Any, ...]], columns: dict[str, ColumnType], schema: pa.Schema) -> pa.Table:
    import pyarrow as pa

    arrays = [
        pa.array([_READ[kind](value) for value in values], field.type)
        for kind, values, field in zip(columns.values(), zip(*page, strict=True), schema, strict=True)
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


_READ: dict[ColumnType, Callable[[Any], Any]] = {
    "time": int,
    "integer": int,
    "float": float,
    "flag": bool,
    "text": lambda value: "" if value is None else str(value),
    "level": lambda value: Level(value).name,
    "span_kind": lambda value: SpanKind(value).name,
}

"""Raw telemetry out of the database, page by page, so that any amount of it passes through a bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal

from domain.times import Window
from storage.database import Database

type ExportKind = Literal["logs", "spans", "metrics"]
type ColumnType = Literal["time", "text", "integer", "float", "level", "span_kind", "flag"]

_PAGE_ROWS = 2_000


@dataclass(frozen=True, slots=True)
class Export:
    """The columns of a kind, by name, in the order of its query; the last `key` of them tell rows of one time apart."""

    columns: dict[str, ColumnType]
    key: int
    before_all: tuple[int | str, ...]


EXPORTS: dict[ExportKind, Export] = {
    "logs": Export(
        {
            "time": "time", "service": "text", "level": "level", "message": "text", "template": "text", "node": "text",
            "trace_id": "text", "span_id": "text", "attributes": "text", "template_id": "integer", "id": "integer",
        },
        1,
        (0,),
    ),
    "spans": Export(
        {
            "start": "time", "service": "text", "name": "text", "kind": "span_kind", "duration_us": "integer",
            "error": "flag", "status_message": "text", "peer": "text", "node": "text", "version": "text",
            "parent_id": "text", "attributes": "text", "trace_id": "text", "span_id": "text",
        },
        2,
        ("", ""),
    ),
    "metrics": Export(
        {
            "time": "time", "value": "float", "node": "text", "source": "text", "destination": "text",
            "attributes": "text", "service": "text", "name": "text", "series": "text",
        },
        3,
        ("", "", ""),
    ),
}  # fmt: skip


async def read_pages(
    database: Database, kind: ExportKind, environment: str, window: Window
) -> AsyncIterator[list[tuple[Any, ...]]]:
    """Yield the rows of a kind in a window, oldest first, a few thousand at a time; attributes are JSON text."""
    export = EXPORTS[kind]
    moment, key = window.start_us, export.before_all
    while True:
        page = await database.fetch(f"export_{kind}", (environment, window.end_us, moment, moment, *key, _PAGE_ROWS))
        if page:
            yield page
        if len(page) < _PAGE_ROWS:
            return
        moment, key = int(page[-1][0]), tuple(page[-1][-export.key :])

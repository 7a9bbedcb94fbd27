"""Raw telemetry out of the database, page by page, so that any amount of it passes through a bounded memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, Literal, Self

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


@dataclass(frozen=True, slots=True)
class Extent:
    """What is exported: a window of an environment as far as it was stored by a delivery, and how many rows that were."""

    environment: str
    window: Window
    upto_seq: int
    rows: int

    @classmethod
    async def measure(cls, database: Database, kind: ExportKind, environment: str, window: Window) -> Self:
        """Return what there is now."""
        upto = int((await database.fetch("ingest_read_clock"))[0][0])
        asked = (environment, window.end_us, upto, window.start_us)
        return cls(environment, window, upto, int((await database.fetch(f"count_exported_{kind}", asked))[0][0]))


async def read_pages(database: Database, kind: ExportKind, extent: Extent) -> AsyncIterator[list[tuple[Any, ...]]]:
    """Yield the rows of a kind, oldest first, a few thousand at a time; attributes are JSON text.

    What is stored meanwhile is left out. What retention drops meanwhile is missing: then they are fewer than the extent's.
    """
    export = EXPORTS[kind]
    moment, key = extent.window.start_us, export.before_all
    while True:
        asked = (extent.environment, extent.window.end_us, extent.upto_seq, moment, moment, *key, _PAGE_ROWS)
        page = await database.fetch(f"export_{kind}", asked)
        if page:
            yield page
        if len(page) < _PAGE_ROWS:
            return
        moment, key = int(page[-1][0]), tuple(page[-1][-export.key :])

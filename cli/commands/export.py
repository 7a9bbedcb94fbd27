"""`causegraph export`: raw telemetry as Parquet files."""

from __future__ import annotations

import asyncio
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from domain.times import Window


class ExportChoice(StrEnum):
    """What is exported."""

    logs = "logs"
    spans = "spans"
    metrics = "metrics"


def export(
    kind: Annotated[ExportChoice, typer.Argument(help="logs, spans or metrics.")],
    since: Annotated[str, typer.Option("--from", help="From this time on (RFC 3339 or epoch).")],
    out: Annotated[Path, typer.Option("--out", help="The folder of the file; made if it is not there.")],
    until: Annotated[str, typer.Option("--to", help="Up to this time. Default: now.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Environment.")] = "default",
    as_json: Annotated[bool, typer.Option("--json", help="Print the file and its rows as JSON.")] = False,
) -> None:
    """Write log events, spans or metric points of a time to OUT/KIND.parquet, oldest first.

    Memory stays small however much it is. A file of that name is replaced once the new one is whole. Needs the extra
    `parquet`.
    """
    from agents.replies import read_time
    from domain.errors import QuestionError
    from domain.times import Window

    start = read_time("from", since) or 0
    end = read_time("to", until) or time.time_ns() // 1000
    if start >= end:
        raise QuestionError("`from` must lie before `to`.")
    path, rows = asyncio.run(_export(kind, environment, Window(start, end), out))
    if as_json:
        print_json({"file": str(path), "rows": rows})
        return
    make_console().print(styled(f"{path}: {rows:,} rows"), soft_wrap=True)


async def _export(kind: ExportChoice, environment: str, window: Window, out: Path) -> tuple[Path, int]:
    from cli.services import open_database
    from domain.settings import load_settings
    from storage.parquet import write_parquet

    notes = make_console(stderr=True)
    async with open_database(load_settings(), lambda line: notes.print(styled(line, "dim"))) as database:
        with notes.status(styled("reading", "dim")) as shown:
            return await write_parquet(
                database, kind.value, environment, window, out,
                lambda rows: shown.update(styled(f"{rows:,} rows", "dim")),
            )  # fmt: skip

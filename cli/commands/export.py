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
    from storage.parquet import Exported


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

    Memory stays small however much it is. A file of that name is replaced once the new one is whole. What is stored while
    it is written is left out; exit status 1 if retention dropped some of it meanwhile. Needs the extra `parquet`.
    """
    from agents.replies import read_time
    from domain.errors import QuestionError
    from domain.times import Window

    start = read_time("from", since) or 0
    end = read_time("to", until) or time.time_ns() // 1000
    if start >= end:
        raise QuestionError("`from` must lie before `to`.")
    found = asyncio.run(_export(kind, environment, Window(start, end), out))
    if as_json:
        print_json({"file": str(found.file), "rows": found.rows, "missing": found.missing})
    else:
        make_console().print(styled(f"{found.file}: {found.rows:,} rows"), soft_wrap=True)
        if not found.rows:
            make_console(stderr=True).print(styled(f"The environment {environment} has none of that time.", "dim"))
    if found.missing:
        text = f"{found.missing:,} more were dropped by retention before they were read: the file lacks them."
        make_console(stderr=True).print(styled(text, "bold yellow"), soft_wrap=True)
        raise typer.Exit(1)


async def _export(kind: ExportChoice, environment: str, window: Window, out: Path) -> Exported:
    from cli.services import open_database
    from domain.settings import load_settings
    from storage.parquet import write_parquet

    notes = make_console(stderr=True)
    async with open_database(load_settings(), lambda line: notes.print(styled(line, "dim"))) as database:
        with notes.status(styled("reading", "dim")) as shown:
            return await write_parquet(
                database, kind.value, environment, window, out,
                lambda rows, every: shown.update(styled(f"{rows:,} of {every:,} rows", "dim")),
            )  # fmt: skip

"""Keeping the stores of traces together."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from storage.traces import Reconciled

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def reconcile(
    close: Annotated[
        bool, typer.Option(help="Also close the runs from which nothing came for an hour: their process died.")
    ] = True,
    as_json: JsonFlag = False,
) -> None:
    """Bring the database, the trace files and the journals of killed processes together again.

    Traces are kept twice, and a run goes on when either place fails. This stores in each what only the other holds. It
    is safe at any time, also beside a running server, and running it again changes nothing.
    """
    found, closed = asyncio.run(_reconcile(close))
    if as_json:
        print_json({**asdict(found), "closed": closed})
        return
    console = make_console()
    console.print(f"{found.database} traces gained events in the database, {found.files} in their files.")
    if close:
        console.print(f"{closed} runs that had died were closed.")
    for path in found.damaged:
        console.print(styled(f"{path} cannot be read and was left alone.", "yellow"), soft_wrap=True)


async def _reconcile(close: bool) -> tuple[Reconciled, int]:
    from cli.services import open_database
    from domain.settings import load_settings
    from storage.traces import TraceStore

    settings = load_settings()
    notes = make_console(stderr=True)
    async with open_database(settings, lambda line: notes.print(styled(line, "dim"))) as database:
        store = TraceStore(database, settings.data_dir / "traces")
        found = await store.reconcile(files=True)
        return found, await store.close_abandoned() if close else 0

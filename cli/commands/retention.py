"""`causegraph retention`: what is kept and for how long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from storage.retention import Dropped, Retention

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
DaysOption = Annotated[
    float | None, typer.Option(min=0, help="Days since arrival to keep, instead of CAUSEGRAPH_RETENTION_DAYS.")
]


def status(days: DaysOption = None, as_json: JsonFlag = False) -> None:
    """Say for how long raw telemetry is kept, since when there is some, and what the next run drops."""
    from domain.times import format_us

    found = _with_retention(days, lambda retention: retention.status())
    if as_json:
        print_json(asdict(found))
        return
    kept = f"for {found.days:g} days after arrival" if found.days else "for ever (CAUSEGRAPH_RETENTION_DAYS=0)"
    since = f"; the oldest arrived {format_us(found.oldest_us)[:19]}" if found.oldest_us is not None else ""
    console = make_console()
    console.print(styled(f"Log events, spans and metric points are kept {kept}{since}."), soft_wrap=True)
    bound = f" of {found.max_bytes / 1e6:,.0f} MB" if found.max_bytes else ""
    console.print(styled(f"They take {found.size / 1e6:,.1f} MB{bound} in the database."), soft_wrap=True)
    console.print(styled(f"To be dropped now for their age: {_told(found.due)}."), soft_wrap=True)
    _tell_held(found.held)


def run(days: DaysOption = None, as_json: JsonFlag = False) -> None:
    """Drop what is too old or too much, now. Counts, templates, the topology and cited records stay.

    A running server does the same by itself, every hour.
    """
    notes = make_console(stderr=True)
    with notes.status(styled("looking", "dim")) as shown:

        async def drop(retention: Retention) -> tuple[Dropped, int]:
            told = await retention.drop(lambda so_far: shown.update(styled(f"dropped {_told(so_far)}", "dim")))
            return told, await retention.count_held()

        dropped, held = _with_retention(days, drop)
    if as_json:
        print_json(asdict(dropped) | {"held": held})
        return
    make_console().print(styled(f"dropped {_told(dropped)}"))
    _tell_held(held)


def _tell_held(held: int) -> None:
    if held:
        text = f"{held:,} deliveries are too old, and stay until the topology has read them: a running server sees to that."
        make_console(stderr=True).print(styled(text, "yellow"), soft_wrap=True)


def _told(dropped: Dropped) -> str:
    return f"{dropped.log_events:,} log events, {dropped.spans:,} spans, {dropped.metric_points:,} metric points"


def _with_retention[T](days: float | None, work: Callable[[Retention], Awaitable[T]]) -> T:
    async def open_and_work() -> T:
        from cli.services import open_database
        from domain.settings import load_settings
        from storage.retention import Retention

        settings, notes = load_settings(retention_days=days), make_console(stderr=True)

        def tell(line: str) -> Any:
            notes.print(styled(line, "dim"))

        async with open_database(settings, tell) as database:
            return await work(Retention(database, settings.retention_days, settings.retention_max_bytes))

    return asyncio.run(open_and_work())

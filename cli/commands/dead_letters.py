"""Dead letters: what was sent to this data folder's servers and could not be stored."""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from ingest.service import Receipt
    from storage.dead_letters import DeadLetters

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
LetterId = Annotated[str, typer.Argument(help="The letter's id, `dead-...`.")]


def list_letters(as_json: JsonFlag = False) -> None:
    """List what could not be stored, the newest first: how many records, from where, and why."""
    from cli.answer import print_table
    from domain.times import format_us

    letters = _open().find_all()
    if as_json:
        print_json({"dead_letters": [asdict(letter) for letter in letters]})
        return
    if not letters:
        make_console().print(styled("There are no dead letters.", "dim"))
        return
    rows = [
        (one.id, format_us(one.kept_us)[:19], one.kind, one.source, one.environment, str(one.records), one.reasons[0])
        for one in letters
    ]
    print_table(make_console(), ("id", "kept", "kind", "source", "environment", "records", "why"), rows)


def show(letter_id: LetterId, as_json: JsonFlag = False) -> None:
    """Show one letter: every reason, and the records as they were sent."""
    letter, body = _open().read(letter_id)
    content = body.decode("utf-8", "replace") if letter.form == "records" else ""
    if as_json:
        print_json({**asdict(letter), "content": content or None})
        return
    console = make_console()
    console.print(styled(f"{letter.records} {letter.kind} for {letter.environment}, from {letter.source}", "bold"))
    for reason in letter.reasons:
        console.print(styled(f"  {reason}", "yellow"), soft_wrap=True)
    for line in content.splitlines():
        console.print(styled(line), soft_wrap=True)


def replay(letter_id: LetterId, as_json: JsonFlag = False) -> None:
    """Take a letter once more, as after an upgrade. It is dropped if nothing of it is rejected again.

    Exit status 1 if something was.
    """
    receipt = asyncio.run(_replay(letter_id))
    if as_json:
        print_json(asdict(receipt))
    else:
        told = f"{receipt.accepted} accepted, {receipt.duplicate} duplicate, {receipt.rejected} rejected"
        make_console().print(styled(told, "yellow" if receipt.rejected else ""))
        for error in receipt.errors:
            make_console().print(styled(f"  {error}", "yellow"), soft_wrap=True)
    if receipt.rejected:
        raise typer.Exit(1)


def drop(letter_id: LetterId) -> None:
    """Remove a letter for good."""
    _open().drop(letter_id)
    make_console().print(styled(f"dropped {letter_id}"))


def _open() -> DeadLetters:
    from domain.settings import load_settings
    from storage.dead_letters import DeadLetters

    return DeadLetters(load_settings().data_dir / "dead-letters")


async def _replay(letter_id: str) -> Receipt:
    from cli.services import open_database
    from domain.settings import load_settings
    from ingest.service import Ingest
    from storage.ingest import IngestStore

    notes: Any = make_console(stderr=True)
    settings, letters = load_settings(), _open()
    letters.read(letter_id)
    async with open_database(settings, lambda line: notes.print(styled(line, "dim"))) as database:
        return await Ingest(IngestStore(database), settings, letters).replay(letter_id)

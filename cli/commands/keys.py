"""API keys: create, list, revoke."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from storage.keys import KeyStore

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


class RoleName(StrEnum):
    """What a key may do."""

    admin = "admin"
    ingest = "ingest"
    alert = "alert"
    ask = "ask"
    read = "read"


def create(
    name: Annotated[str, typer.Option(help="Who or what the key is for.")],
    role: Annotated[
        RoleName,
        typer.Option(
            help="ingest sends records and reads nothing; alert sends alerts alone; read reads; ask also asks; "
            "admin does everything."
        ),
    ] = RoleName.ask,
    as_json: JsonFlag = False,
) -> None:
    """Make an API key. It is shown once, and only its hash is stored."""
    key_id, secret = _with_keys(lambda keys: keys.create_key(name, role.value))
    if as_json:
        print_json({"id": key_id, "name": name, "role": role.value, "key": secret})
        return
    make_console().print(styled(secret), soft_wrap=True)
    make_console(stderr=True).print(
        styled(f"{key_id}, role {role.value}. Keep it now: it cannot be shown again.", "dim")
    )


def list_keys(as_json: JsonFlag = False) -> None:
    """List all keys, revoked ones too, without their secrets."""
    from dataclasses import asdict

    from cli.answer import print_table
    from domain.times import format_us

    every = _with_keys(lambda keys: keys.list())
    if as_json:
        print_json({"keys": [asdict(key) for key in every]})
        return
    rows = [
        (key.id, key.name, key.role, format_us(key.created_us)[:19], "revoked" if key.revoked_us else "in use")
        for key in every
    ]
    print_table(make_console(), ("id", "name", "role", "created (UTC)", "state"), rows)


def revoke(key_id: Annotated[str, typer.Argument(help="The id of a key: see `causegraph keys list`.")]) -> None:
    """Make a key useless, within seconds and for good."""
    _with_keys(lambda keys: keys.revoke(key_id))
    make_console().print(styled(f"{key_id} is revoked"))


def _with_keys[T](work: Callable[[KeyStore], Awaitable[T]]) -> T:
    from cli.services import open_database
    from domain.settings import load_settings
    from storage.keys import KeyStore

    async def run() -> T:
        notes = make_console(stderr=True)
        async with open_database(load_settings(), lambda line: notes.print(styled(line, "dim"))) as database:
            return await work(KeyStore(database))

    return asyncio.run(run())

"""`causegraph logs tail`: lines as they are stored, each once, over restarts of the server."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.ask import choose_environment
from cli.commands.logs import Environment, LevelOption, Service, make_query, print_line
from cli.screen import make_console, styled

if TYPE_CHECKING:
    from cli.backend import Backend
    from domain.settings import Settings

_PAUSE_SECONDS = 1.0
_PAGE = 1000


def tail(
    environment: Environment = "", service: Service = "", level: LevelOption = "",
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, max=_PAGE, help="Begin with so many lines of the last hour.")
    ] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")] = False,
) -> None:  # fmt: skip
    """Follow the lines as they are stored, until Ctrl-C; the last ones first.

    Each line comes once, in the order of storing. While the server or the database is away it waits, and goes on where it
    was.
    """
    from domain.settings import load_settings

    asyncio.run(_follow(load_settings(), _Tail(environment, make_query("", "", service, level, _PAGE), lines, as_json)))


@dataclass(slots=True)
class _Tail:
    """What is followed, and the id up to which it has been shown; -1 before the first look."""

    environment: str
    query: dict[str, Any]
    lines: int
    as_json: bool
    after: int = -1

    async def follow(self, backend: Backend) -> None:
        """Print lines until the backend fails."""
        self.environment = self.environment or choose_environment(await backend.info())
        if self.after < 0:
            await self._begin(backend)
        while True:
            body = await backend.logs("/query/logs", {**self._asked(), "after": self.after})
            self._show(body["lines"])
            self.after = body["after"]
            if len(body["lines"]) < _PAGE:
                await asyncio.sleep(_PAUSE_SECONDS)

    async def _begin(self, backend: Backend) -> None:
        """Show the last lines up to where the end is now; what comes meanwhile is left to what follows."""
        end = (await backend.logs("/query/logs", {**self._asked(), "after": -1}))["after"]
        if self.lines:
            newest = (await backend.logs("/query/logs", self._asked()))["lines"]
            self._show([line for line in reversed(newest) if line["id"] <= end][-self.lines :])
        self.after = end

    def _asked(self) -> dict[str, Any]:
        return {**self.query, "environment": self.environment}

    def _show(self, lines: list[dict[str, Any]]) -> None:
        for line in lines:
            if self.as_json:
                typer.echo(json.dumps(line))
            else:
                print_line(line)


async def _follow(settings: Settings, tail: _Tail) -> None:
    from cli.backend import open_backend
    from domain.errors import ServerUnreachable, StorageUnavailable

    notes = make_console(stderr=True)
    while True:
        async with open_backend(settings, lambda line: notes.print(styled(line, "dim"))) as backend:
            try:
                await tail.follow(backend)
            except (ServerUnreachable, StorageUnavailable) as exc:
                if tail.after < 0:
                    raise
                notes.print(styled(f"{exc} Waiting; this goes on where it was.", "dim"), soft_wrap=True)
            address = backend.address
        await _wait_for(settings, address)


async def _wait_for(settings: Settings, address: str) -> None:
    """Wait a little, and until there is a server again where there was one: following starts none by itself."""
    from cli.server import find_server

    await asyncio.sleep(_PAUSE_SECONDS)
    while address and find_server(settings.data_dir) is None:  # noqa: ASYNC110 - it is another process
        await asyncio.sleep(_PAUSE_SECONDS)

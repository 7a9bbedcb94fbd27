"""The private servers and the API server: up, down, status, doctor, migrate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.server import ServerState
    from cli.stack import StackStatus
    from domain.errors import CausegraphError
    from domain.settings import Settings

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def up(
    server: Annotated[bool, typer.Option(help="Also start the API server and the web pages.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Start the private servers (MariaDB and FalkorDB) and the API server, in the background.

    Safe to run again: what runs already is left alone. The first start fetches MariaDB if this machine has none that
    is new enough (16 MB). Everything lives in one folder, CAUSEGRAPH_DATA_DIR.
    """
    from cli.server import make_login_link, read_local_key, start_server
    from cli.services import open_services
    from domain.settings import load_settings

    settings = load_settings()
    notes = make_console(stderr=True)

    async def prepare() -> dict[str, str]:
        async with open_services(settings, lambda line: notes.print(styled(line, "dim"))) as services:
            await services.keys.ensure_local_key(settings.data_dir)
            return {"mariadb": await services.database.ping(), "falkordb": await services.graph.ping()}

    versions = asyncio.run(prepare())
    address, link = "", ""
    if server:
        state = start_server(settings, lambda line: notes.print(styled(line, "dim")))
        address, link = state.address, make_login_link(state, settings.api_key or read_local_key(settings.data_dir))
    if as_json:
        print_json({"data_dir": str(settings.data_dir), "versions": versions, "address": address})
        return
    console = make_console()
    for name, version in versions.items():
        console.print(styled(f"{name:<10} {version}"), soft_wrap=True)
    if address:
        console.print(styled(f"{'api':<10} {address}"), soft_wrap=True)
        console.print(styled(f"{'key':<10} {settings.data_dir / 'api-key'}"), soft_wrap=True)
        console.print(styled(f"{'pages':<10} {link}"), soft_wrap=True)
        console.print(styled("           (this link logs a browser in once, within 15 minutes)", "dim"), soft_wrap=True)


def down(as_json: JsonFlag = False) -> None:
    """Stop the API server and the private servers. Nothing that was stored is lost."""
    from cli.server import stop_server
    from cli.stack import stop_stack
    from domain.settings import load_settings

    settings = load_settings()
    notes = make_console(stderr=True)
    server = stop_server(settings.data_dir, lambda line: notes.print(styled(line, "dim")))
    stack = stop_stack(settings.data_dir, lambda line: notes.print(styled(line, "dim")))
    if as_json:
        print_json({"server_stopped": server, "stack_stopped": stack})
    else:
        make_console().print(styled("stopped" if server or stack else "nothing was running"))


def status(as_json: JsonFlag = False) -> None:
    """Say what runs, where it lives, and how to get in. Starts nothing.

    Ends with exit status 1 if a server that CAUSEGRAPH_DATABASE_URL or CAUSEGRAPH_GRAPH_URL names cannot be used.
    """
    from cli.server import find_server, read_local_key, read_sources
    from cli.services import ask_named_servers
    from cli.stack import stack_status
    from domain.settings import load_settings

    settings = load_settings()
    stack, server = stack_status(settings.data_dir), find_server(settings.data_dir)
    named = asyncio.run(ask_named_servers(settings))
    sources = read_sources(server, settings.api_key or read_local_key(settings.data_dir)) if server else []
    if as_json:
        versions = {name: said if isinstance(said, str) else "" for name, said in named.items()}
        running = None if server is None else asdict(server)
        print_json({"stack": asdict(stack), "server": running, "named": versions, "sources": sources})
    else:
        _print_status(settings, stack, server, named, sources)
    for said in named.values():
        if not isinstance(said, str):
            raise said


def _print_status(
    settings: Settings,
    stack: StackStatus,
    server: ServerState | None,
    named: Mapping[str, str | CausegraphError],
    sources: Sequence[Mapping[str, Any]],
) -> None:
    from cli.server import describe_source, make_login_link, read_local_key

    console = make_console()

    def line(name: str, text: str) -> None:
        console.print(styled(f"{name:<12} {text}"), soft_wrap=True)

    line("data", str(stack.data))
    for name, said in named.items():
        line(name, f"{said}, named in the settings" if isinstance(said, str) else "cannot be used, see below")
    if len(named) < 2:
        since = f", since {stack.started_at}" if stack.started_at else ""
        line("stack", f"{stack.phase}{since}{': ' + stack.error if stack.error else ''}")
        for name, held in stack.servers.items():
            ready = "ready" if held.ready else "down"
            line(f"  {name}", f"{ready}, {held.version}, process {held.pid}, restarted {held.restarts} times")
    if server is None:
        line("api", "not running: `causegraph up` or `causegraph serve` starts it")
        return
    line("api", f"{server.address}, process {server.pid}, since {server.started_at}")
    for source in sources:
        line(f"  {source['name']}", describe_source(source))
    line("pages", make_login_link(server, settings.api_key or read_local_key(settings.data_dir)))


def doctor(as_json: JsonFlag = False) -> None:
    """Find what keeps Causegraph from working, and say for each finding how to mend it.

    Ends with exit status 1 if something has to be mended.
    """
    from cli.doctor import check_sources, diagnose
    from domain.settings import load_settings

    settings = load_settings()
    findings = diagnose(settings.data_dir, settings.database_url, settings.graph_url)
    findings += check_sources(settings)
    if as_json:
        print_json({"findings": [asdict(finding) for finding in findings]})
    else:
        console = make_console()
        for finding in findings:
            mark = styled("ok    ", "green") if finding.ok else styled("broken", "bold red")
            console.print(mark + styled(f" {finding.name}: ", "bold") + styled(finding.detail), soft_wrap=True)
            if finding.remedy:
                console.print(styled(f"       -> {finding.remedy}", "" if finding.ok else "yellow"), soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def migrate(as_json: JsonFlag = False) -> None:
    """Bring the database's schema up to date.

    Only needed on servers of your own (CAUSEGRAPH_DATABASE_URL): the private one is kept up to date by itself.
    """
    from cli.services import find_servers
    from domain.settings import load_settings
    from storage.database import Database
    from storage.migrate import check_schema
    from storage.migrate import migrate as bring_up_to_date

    settings = load_settings()
    notes = make_console(stderr=True)

    async def run() -> list[int]:
        url, _ = await find_servers(settings, lambda line: notes.print(styled(line, "dim")))
        database = Database(url, 2)
        try:
            applied = await bring_up_to_date(database)
            await check_schema(database)
            return applied
        finally:
            await database.close()

    applied = asyncio.run(run())
    if as_json:
        print_json({"applied": applied})
    else:
        numbers = ", ".join(map(str, applied))
        make_console().print(styled(f"applied migration {numbers}" if applied else "the schema is up to date"))

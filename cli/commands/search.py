"""`causegraph search`: everything that fits a text."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

_KIND_STYLES = {"incident": "bold yellow", "change": "magenta", "code": "green", "runbook": "cyan", "service": "bold"}


def search(
    question: Annotated[str, typer.Argument(help="A question, a message, an id, a name, in quotes.")],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Of this environment.")] = "",
    at: Annotated[
        str, typer.Option(help="As it was then: nothing later is found; the nearest in time comes first.")
    ] = "",
    since: Annotated[str, typer.Option("--from", help="Nothing before this time (RFC 3339).")] = "",
    until: Annotated[str, typer.Option("--to", help="Nothing after this time.")] = "",
    kind: Annotated[
        list[str] | None,
        typer.Option(
            help="Only of this kind; may be given several times: template, line, service, code, runbook, incident, change, "
            "event, run, request."
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many at most.")] = 10,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Search everything: log templates and lines, services, code, runbooks, past incidents, changes, runs, request traces.

    By words, by meaning and by exact names at once (a trace id, an error code, a file), then by what lies near in the
    topology. Each result says why it is there. Exit status 1 if nothing was found.
    """
    query = {"q": question, "at": at, "from": since, "to": until, "kind": kind or [], "limit": limit}
    body = asyncio.run(_search(query, environment))
    if as_json:
        print_json(body)
    else:
        _print(body)
    if not body["results"]:
        raise typer.Exit(1)


async def _search(query: Mapping[str, Any], environment: str) -> dict[str, Any]:
    from cli.backend import open_backend
    from cli.commands.ask import choose_environment
    from domain.settings import load_settings

    notes = make_console(stderr=True)

    async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
        place = environment or choose_environment(await backend.info())
        return await backend.search({**query, "environment": place})


def _print(body: Mapping[str, Any]) -> None:
    console, notes = make_console(), make_console(stderr=True)
    for number, hit in enumerate(body["results"], 1):
        head = styled(f"{number:>3}  ", "dim") + styled(hit["kind"], _KIND_STYLES.get(hit["kind"], ""))
        where = "  ".join(
            part for part in ((hit["time"] or "")[:19], ", ".join(hit["services"][:3]), _name(hit)) if part
        )
        console.print(head + styled(f"  {where}", "dim"), soft_wrap=True)
        console.print(styled(f"     {' '.join(hit['title'].split())}"), soft_wrap=True)
        console.print(styled(f"     {hit['why']}", "dim"), soft_wrap=True)
    for path in body["paths"]:
        console.print(styled("Who called whom, cause first: ", "dim") + styled(" -> ".join(path)), soft_wrap=True)
    if not body["results"]:
        console.print(
            styled(f"Nothing in {body['environment']} fits that: try other words, or another --environment.", "dim")
        )
    for note in body["notes"]:
        notes.print(styled(note, "dim"), soft_wrap=True)


def _name(hit: Mapping[str, Any]) -> str:
    """Return the id of what a command opens by it."""
    return hit["id"] if hit["kind"] in ("incident", "run", "request", "runbook", "change") else ""

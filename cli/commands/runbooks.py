"""`causegraph runbooks`: the contracts by which trouble is mended, and whether they still hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.commands.approve import JsonFlag, ask_backend
from cli.screen import make_console, print_json, styled


def list_runbooks(as_json: JsonFlag = False) -> None:
    """List the runbooks, built-in ones and yours, and the files that cannot be read."""
    _show(ask_backend(lambda backend: backend.remedy("runbooks", {})), as_json)


def fetch(as_json: JsonFlag = False) -> None:
    """Bring the git repositories of CAUSEGRAPH_RUNBOOK_GIT up to date now, and list the runbooks; a server does so by itself."""
    _show(ask_backend(lambda backend: backend.remedy("fetch-runbooks", {})), as_json)


def _show(body: Mapping[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(body)
        return
    from cli.answer import print_table

    console = make_console()
    rows = [
        (
            one["id"],
            one["title"],
            ", ".join(one["services"]) or "any",
            ", ".join(one["fault_classes"]),
            one["revision"][:12],
        )
        for one in body["runbooks"]
    ]
    print_table(console, ("id", "title", "services", "faults", "revision"), rows)
    for problem in body["problems"]:
        console.print(styled(problem, "yellow"), soft_wrap=True)


def show(runbook_id: Annotated[str, typer.Argument(help="The runbook's id.")], as_json: JsonFlag = False) -> None:
    """Show a runbook: its steps with precondition, expected evidence, commands, verification and undo."""
    body = ask_backend(lambda backend: backend.remedy("runbook", {"id": runbook_id}))
    if as_json:
        print_json(body)
        return
    from agents.plain import read_step

    console = make_console()
    console.print(styled(body["title"], "bold") + styled(f"  {body['id']} {body['revision'][:12]}", "dim"))
    for number, step in enumerate(body["steps"], start=1):
        for label, text in read_step(step):
            line = styled(f"{number}. {text}", "bold") if not label else styled(f"   {label}: ", "dim") + styled(text)
            console.print(line, soft_wrap=True)
    console.print(styled(body["text"]))


def check(
    environment: Annotated[str, typer.Option("--environment", "-e", help="Judge by the services of this one.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Name what runbooks and workflows speak of that is not there: services, actions, arguments, runbooks.

    Judged by who sent something in the last seven days. Exit status 1 if something is rotten.
    """
    body = ask_backend(lambda backend: backend.remedy("rot", {"environment": environment}))
    rotten = bool(body["rot"] or body["problems"])
    if as_json:
        print_json(body)
    else:
        console = make_console()
        for one in body["rot"]:
            console.print(
                styled(f"{one['kind']} {one['id']}: ", "bold") + styled(one["problem"], "yellow"), soft_wrap=True
            )
        for problem in body["problems"]:
            console.print(styled(problem, "yellow"), soft_wrap=True)
        if not rotten:
            console.print(styled(f"Nothing is rotten, judged by {len(body['services'])} services.", "green"))
    if rotten:
        raise typer.Exit(1)

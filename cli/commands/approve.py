"""`causegraph approve`, `reject` and `approvals`: what waits for a person, shown exactly as it would be done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.backend import Backend

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ApprovalId = Annotated[str, typer.Argument(help="The approval's id, `apr-...`: see `causegraph approvals`.")]
Reason = Annotated[str, typer.Option(help="Why, for whoever reads it later.")]
_LOOK_SECONDS = 0.5


def approvals(
    approval_id: Annotated[str, typer.Argument(help="Show this one with everything that was tried with it.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")] = "",
    status: Annotated[str, typer.Option(help="Only these: pending, approved, rejected, expired, used or void.")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Show what was tried and refused instead.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List what waits for an approval or was decided, the newest first."""
    if refused:
        body = ask_backend(lambda backend: backend.remedy("refused", {"limit": limit}))
        if as_json:
            print_json(body)
        else:
            _print_refused(body["refused"])
        return
    if approval_id:
        body = ask_backend(lambda backend: backend.remedy("approval", {"id": approval_id}))
        if as_json:
            print_json(body)
        else:
            _print_approval(body)
        return
    query = {"environment": environment, "status": status, "limit": limit}
    body = ask_backend(lambda backend: backend.remedy("approvals", query))
    if as_json:
        print_json(body)
        return
    _print_list(body["approvals"])


def _print_refused(attempts: Sequence[Mapping[str, Any]]) -> None:
    from cli.answer import print_table

    rows = [(a["time"][:19], a["actor"], a["what"], a["approval_id"] or "-", a["detail"]) for a in attempts]
    print_table(make_console(), ("time", "who", "what", "approval", "why not"), rows)


def approve(
    approval_id: ApprovalId,
    reason: Reason = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask whether you are sure.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the run has ended.")] = True,
    as_json: JsonFlag = False,
) -> None:
    """Allow what is shown: exactly that, once, until it expires. Then watch the run.

    Exit status 1 if the run did not end verified.
    """
    body = asyncio.run(_decide(approval_id, "approve", reason, yes, wait, as_json))
    if as_json:
        print_json(body)
    if wait and body["status"] != "verified":
        raise typer.Exit(1)


def reject(approval_id: ApprovalId, reason: Reason = "", as_json: JsonFlag = False) -> None:
    """Refuse what was proposed, for good."""
    body = asyncio.run(_decide(approval_id, "reject", reason, True, True, as_json))
    if as_json:
        print_json(body)


async def _decide(approval_id: str, decision: str, reason: str, yes: bool, wait: bool, as_json: bool) -> dict[str, Any]:
    from cli.backend import open_backend
    from domain.settings import load_settings

    notes = make_console(stderr=True)
    async with open_backend(
        load_settings(), lambda line: notes.print(styled(line, "dim")), investigate=True
    ) as backend:
        approval = await backend.remedy("approval", {"id": approval_id})
        if not as_json:
            _print_approval(approval)
        if not yes and not typer.confirm("Shall exactly this be done?", err=True):
            raise typer.Abort
        asked = {"id": approval_id, "digest": approval["digest"], "reason": reason}
        run = await backend.remedy(decision, asked)
        return await follow_run(backend, run["run_id"], quiet=as_json) if wait else run


async def follow_run(backend: Backend, run_id: str, *, quiet: bool = False) -> dict[str, Any]:
    """Print what a decided run does, as it does it, until it ends or waits for another approval; return it then."""
    console, told = make_console(stderr=quiet), set[tuple[int, str]]()
    while True:
        run = await backend.remedy("run", {"id": run_id})
        for step in run["done"]:
            place = (step["number"], step["part"])
            if step["ended"] and place not in told:
                told.add(place)
                style = "green" if step["status"] == "done" else "red"
                line = styled(f"  {step['name']}: {step['status']}", style) + styled(f"  {step['result'][:200]}", "dim")
                console.print(line, soft_wrap=True)
        waits = run["status"] == "proposed" and run["approval_status"] == "pending"
        if run["ended"] or waits:
            break
        await asyncio.sleep(_LOOK_SECONDS)
    if waits:
        console.print(styled(f"What it is to change has changed: look at {run['approval_id']} again.", "yellow"))
    else:
        style = "bold green" if run["status"] == "verified" else "bold red"
        console.print(styled(run["status"], style) + styled(f": {run['reason']}"), soft_wrap=True)
    return run


def print_steps(steps: list[Mapping[str, Any]]) -> None:
    """Print what each step would do, and what its dry run said."""
    from agents.remedy_show import step_lines

    console = make_console()
    for number, step in enumerate(steps, start=1):
        console.print(styled(f"{number}. {step['name']}", "bold") + styled(f"  ({step['kind']})", "dim"))
        for label, text in step_lines(step):
            console.print(styled(f"   {label:8} ", "dim") + styled(text), soft_wrap=True)


def _print_approval(body: Mapping[str, Any]) -> None:
    console, document = make_console(), body["document"]
    console.print(styled(f"{body['title'] or body['workflow']}", "bold") + styled(f"  in {body['environment']}"))
    for name, given in document["arguments"].items():
        tainted = styled("  from telemetry, which strangers write", "yellow") if given["tainted"] else styled("")
        console.print(styled(f"  {name} = {given['value']}") + styled(f"  ({given['source']})", "dim") + tainted)
    print_steps(document["steps"])
    runbook = document.get("runbook")
    facts = {
        "incident": body["incident_id"],
        "runbook": f"{runbook['id']} {runbook['revision'][:12]}" if runbook else "",
        "evidence": ", ".join(document.get("evidence", ())),
        "digest": body["digest"],
        "proposed": f"by {body['proposed_by']} at {body['created'][:19]}",
        "expires": body["expires"][:19],
        "status": body["status"],
    }
    for label, text in facts.items():
        if text:
            console.print(styled(f"{label:9} ", "dim") + styled(text), soft_wrap=True)
    for event in body["events"]:
        told = f"{event['time'][:19]}  {event['actor']} ({event['role']}, {event['via']}): {event['what']}"
        refused = "" if event["accepted"] else f" refused: {event['detail']}"
        console.print(styled(f"  {told}{refused}", "dim" if event["accepted"] else "red"), soft_wrap=True)


def _print_list(found: list[Mapping[str, Any]]) -> None:
    from cli.answer import print_table

    if not found:
        make_console().print(styled("Nothing waits for an approval.", "dim"))
        return
    columns = ("id", "status", "workflow", "environment", "proposed by", "created (UTC)", "expires (UTC)")
    rows = [
        (
            one["id"],
            one["status"],
            one["workflow"],
            one["environment"],
            one["proposed_by"],
            one["created"][:19],
            one["expires"][:19],
        )
        for one in found
    ]
    print_table(make_console(), columns, rows)


def ask_backend[T](read: Callable[[Backend], Awaitable[T]]) -> T:
    from cli.backend import open_backend
    from domain.settings import load_settings

    async def work() -> T:
        notes = make_console(stderr=True)
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            return await read(backend)

    return asyncio.run(work())

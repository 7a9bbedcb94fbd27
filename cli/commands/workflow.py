"""`causegraph workflow`: what can be done about an incident, tried dry, proposed, and what became of it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cli.commands.approve import JsonFlag, ask_backend, print_steps
from cli.screen import make_console, print_json, styled

WorkflowId = Annotated[str, typer.Argument(help="The workflow's id: see `causegraph workflow list`.")]
Said = Annotated[list[str] | None, typer.Argument(help="Arguments as name=value.")]
Environment = Annotated[str, typer.Option("--environment", "-e", help="Where; default: the incident's, or `default`.")]
IncidentId = Annotated[str, typer.Option("--incident", help="Take what is not said from the answer of this incident.")]


def list_workflows(as_json: JsonFlag = False) -> None:
    """List the workflows of CAUSEGRAPH_WORKFLOW_DIR, and the files there that cannot be read."""
    body = ask_backend(lambda backend: backend.remedy("workflows", {}))
    if as_json:
        print_json(body)
        return
    from cli.answer import print_table

    console = make_console()
    rows = [
        (one["id"], one["title"], "yes" if one["reversible"] else "no", one["revision"][:12])
        for one in body["workflows"]
    ]
    if rows:
        print_table(console, ("id", "title", "reversible", "revision"), rows)
    else:
        console.print(styled("There are no workflows: set CAUSEGRAPH_WORKFLOW_DIR (docs/remediation.md).", "dim"))
    for problem in body["problems"]:
        console.print(styled(problem, "yellow"), soft_wrap=True)


def show(workflow_id: WorkflowId, as_json: JsonFlag = False) -> None:
    """Show one workflow: when it fits, its arguments, its steps, how it is verified."""
    body = ask_backend(lambda backend: backend.remedy("workflow", {"id": workflow_id}))
    if as_json:
        print_json(body)
        return
    console = make_console()
    console.print(styled(body["title"], "bold") + styled(f"  {body['id']} {body['revision'][:12]}", "dim"))
    for name, alternatives in body["when"].items():
        console.print(styled(f"  when      {name}: {', '.join(alternatives)}"), soft_wrap=True)
    for name, argument in body["arguments"].items():
        source = argument["from"] or ("said" if argument["default"] is None else f"default {argument['default']}")
        console.print(styled(f"  argument  {name} ({argument['type']}), {source}  {argument['about']}"), soft_wrap=True)
    for step in body["steps"]:
        undo = f", undone by {step['undo']}" if step["undo"] else ""
        console.print(styled(f"  {step['kind']:9} {step['name']}: {step['action']}{undo}"), soft_wrap=True)
    for condition in body["verify"]:
        console.print(styled(f"  verify    {condition}"), soft_wrap=True)


def dry_run(
    workflow_id: WorkflowId,
    said: Said = None,
    environment: Environment = "",
    incident: IncidentId = "",
    as_json: JsonFlag = False,
) -> None:
    """Say what a workflow would do now, and propose nothing."""
    body = ask_backend(lambda backend: backend.remedy("dry-run", _asked(workflow_id, said, environment, incident)))
    if as_json:
        print_json(body)
        return
    print_steps(body["steps"])
    for condition in body["verify"]:
        make_console().print(styled(f"then: {condition}", "dim"), soft_wrap=True)


def run(
    workflow_id: WorkflowId,
    said: Said = None,
    environment: Environment = "",
    incident: IncidentId = "",
    as_json: JsonFlag = False,
) -> None:
    """Propose a run of a workflow. It waits until somebody else approves it (`causegraph approve`)."""
    body = ask_backend(lambda backend: backend.remedy("propose", _asked(workflow_id, said, environment, incident)))
    if as_json:
        print_json(body)
    else:
        print_steps(body["steps"])
        console = make_console()
        console.print(styled(f"{body['run_id']} is {body['status']}") + styled(f" {body['reason']}", "yellow"))
        if body["approval_id"] and not body["ended"]:
            console.print(styled(f"causegraph approve {body['approval_id']}", "cyan"))
    if body["status"] == "refused":
        raise typer.Exit(1)


def history(
    run_id: Annotated[str, typer.Argument(help="Show this run, `run-...`, with all its steps.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")] = "",
    incident: Annotated[str, typer.Option("--incident", help="Only of this incident.")] = "",
    workflow: Annotated[str, typer.Option("--workflow", help="Only of this workflow.")] = "",
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most.")] = 50,
    as_json: JsonFlag = False,
) -> None:
    """List the runs and what became of them, the newest first."""
    if run_id:
        body = ask_backend(lambda backend: backend.remedy("run", {"id": run_id}))
        if as_json:
            print_json(body)
        else:
            _print_run(body)
        return
    query = {"environment": environment, "incident_id": incident, "workflow": workflow, "limit": limit}
    body = ask_backend(lambda backend: backend.remedy("runs", query))
    if as_json:
        print_json(body)
        return
    from cli.answer import print_table

    rows = [
        (one["run_id"], one["status"], one["id"], one["environment"], one["created"][:19], one["reason"][:60])
        for one in body["runs"]
    ]
    print_table(make_console(), ("run", "status", "workflow", "environment", "proposed (UTC)", "why"), rows)


def _print_run(body: dict[str, Any]) -> None:
    console = make_console()
    console.print(styled(body["title"] or body["id"], "bold") + styled(f"  {body['run_id']}", "dim"))
    console.print(styled(f"{body['status']} {body['reason']}"), soft_wrap=True)
    print_steps(body["steps"])
    for step in body["done"]:
        line = f"{step['started'][:19]}  {step['name']}: {step['status']}  {step['result'][:400]}"
        console.print(styled(line, "" if step["status"] == "done" else "red"), soft_wrap=True)
    for label in ("incident_id", "trace_id", "approval_id", "approval_status", "proposed_by"):
        if body[label]:
            console.print(styled(f"{label:16} {body[label]}", "dim"))


def _asked(workflow_id: str, said: list[str] | None, environment: str, incident: str) -> dict[str, Any]:
    from domain.errors import PayloadError

    arguments: dict[str, str] = {}
    for word in said or ():
        name, found, value = word.partition("=")
        if not found:
            raise PayloadError(f"{word!r} is no argument: write name=value.")
        arguments[name] = value
    return {
        "workflow": workflow_id,
        "environment": environment,
        "incident_id": incident,
        "arguments": arguments,
    }

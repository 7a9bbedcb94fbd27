"""Cases: list, show, acknowledge, resolve, reopen, comment."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

import typer

from cli.commands.policies import call
from cli.screen import make_console, print_json, styled

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
CaseId = Annotated[str, typer.Argument(help="The id of a case, such as cas-1a2b3c4d5e6f.")]
Text = Annotated[str, typer.Option("--text", "-t", help="What to say with it.")]


class StatusName(StrEnum):
    """The statuses of a case."""

    open = "open"
    acknowledged = "acknowledged"
    resolved = "resolved"
    any = "any"


def list_cases(
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")] = "",
    status: Annotated[StatusName, typer.Option(help="Only of this status.")] = StatusName.any,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List the cases: answers that a policy handed to a person."""
    from cli.answer import print_table

    asked = "" if status is StatusName.any else status.value
    found = call("cases", {"environment": environment, "status": asked, "limit": limit})
    if as_json:
        print_json(found)
        return
    rows = [
        (c["opened"][:19].replace("T", " "), c["id"], c["status"], c["severity"], c["reason"], c["service"], c["title"])
        for c in found["cases"]
    ]
    print_table(make_console(), ("opened", "id", "status", "severity", "reason", "service", "about"), rows)


def show(case_id: CaseId, as_json: JsonFlag = False) -> None:
    """Show a case: the decision that opened it, and everything that happened to it."""
    _print(call("case", {"id": case_id}), as_json)


def ack(case_id: CaseId, text: Text = "", as_json: JsonFlag = False) -> None:
    """Say that somebody looks at a case."""
    _print(call("ack", {"id": case_id, "text": text}), as_json)


def resolve(case_id: CaseId, text: Text = "", as_json: JsonFlag = False) -> None:
    """Close a case, with what came of it."""
    _print(call("resolve", {"id": case_id, "text": text}), as_json)


def reopen(case_id: CaseId, text: Text = "", as_json: JsonFlag = False) -> None:
    """Open a resolved case again."""
    _print(call("reopen", {"id": case_id, "text": text}), as_json)


def comment(
    case_id: CaseId, text: Annotated[str, typer.Argument(help="The comment.")], as_json: JsonFlag = False
) -> None:
    """Add a comment to a case."""
    _print(call("comment", {"id": case_id, "text": text}), as_json)


def _print(case: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(case)
        return
    console = make_console()
    console.print(styled(f"{case['id']}  {case['status']}  {case['severity']}  {case['reason']}", "bold"))
    console.print(styled(case["title"]), soft_wrap=True)
    console.print(
        styled(f"trace {case['trace_id']}  incident {case['incident_id'] or '-'}  in {case['environment']}", "dim")
    )
    if decision := case["decision"]:
        told = f"{decision['policy']} version {decision['policy_version']}, rule {decision['rule'] or '-'}"
        console.print(styled(f"decided by {told}", "dim"))
        for gap in decision["gaps"]:
            console.print(styled(f"  - {gap}"), soft_wrap=True)
    for event in case["events"]:
        when = event["time"][:19].replace("T", " ")
        console.print(styled(f"{when}  {event['kind']} by {event['actor']}  {event['text']}".rstrip()), soft_wrap=True)

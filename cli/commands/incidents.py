"""`causegraph incidents`: list, show, merge, split, close, reopen, note, feedback, postmortem."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from cli.commands.records import fetch
from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.backend import Backend

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
IncidentId = Annotated[str, typer.Argument(metavar="INCIDENT", help="The id of an incident, such as inc-1a2b3c4d5e6f.")]
Why = Annotated[str, typer.Option(help="Why; it is kept with the decision.")]


class State(StrEnum):
    """The states of incidents."""

    any = "any"
    live = "live"
    pending = "pending"
    open = "open"
    investigating = "investigating"
    identified = "identified"
    resolved = "resolved"
    closed = "closed"


class Beginning(StrEnum):
    """What incidents began with."""

    any = "any"
    question = "question"
    alert = "alert"
    symptom = "symptom"


class IncidentsGroup(TyperGroup):
    """`causegraph incidents` lists, and `causegraph incidents INCIDENT` shows one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0].startswith("inc-"):
            args = ["show", *args]
        elif not args or (args[0].startswith("-") and args[0] not in ("-h", "--help")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def list_incidents(
    environment: Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")] = "",
    status: Annotated[State, typer.Option(help="Only of this state; live: everything that is not over.")] = State.any,
    origin: Annotated[Beginning, typer.Option(help="Only of this origin.")] = Beginning.any,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many at most, newest first.")] = 20,
    as_json: JsonFlag = False,
) -> None:
    """List incidents: storms of alerts, noticed symptoms, and the questions that were asked."""
    from cli.answer import print_table

    every = fetch(lambda backend: backend.incidents(environment, limit, _word(status), _word(origin)))
    if as_json:
        print_json({"incidents": every})
        return
    columns = ("created", "id", "environment", "status", "origin", "outcome", "cause", "title")
    rows = [
        (
            _second(i["created"]), i["id"], i["environment"], i["status"], i["origin"], i["outcome"], ", ".join(i["causes"]),
            i["title"],
        )
        for i in every
    ]  # fmt: skip
    print_table(make_console(), columns, rows)


def show(incident_id: IncidentId, as_json: JsonFlag = False) -> None:
    """Show an incident: what it was like before, its alerts, its timeline, and the answer."""
    from cli.answer import print_answer

    async def read(backend: Backend) -> tuple[dict[str, Any], dict[str, Any]]:
        return await backend.incident(incident_id), await backend.incident_life(incident_id)

    found, life = fetch(read)
    if as_json:
        print_json({**found, "life": life})
        return
    console = make_console()
    console.print(styled(str(found["title"]), "bold"))
    if found["origin"] != "question":
        _print_life(life)
    if found["outcome"] or found["origin"] == "question":
        print_answer(console, {**found["answer"], "incident_id": found["id"]})
    else:
        console.print(styled("It has not been investigated yet.", "dim"))


def merge(
    incident_id: IncidentId,
    other: Annotated[str, typer.Argument(metavar="OTHER", help="The incident that becomes part of the first.")],
    why: Why = "",
    as_json: JsonFlag = False,
) -> None:
    """Make one incident of two: the alerts of OTHER go to INCIDENT."""
    _act(incident_id, "merge", {"with": other, "why": why}, as_json)


def split(
    incident_id: IncidentId,
    alerts: Annotated[
        list[str] | None, typer.Option("--alert", help="Id of an alert; may be given several times.")
    ] = None,
    rule: Annotated[str, typer.Option(help="Name of the rule whose alerts leave.")] = "",
    service: Annotated[str, typer.Option(help="Service whose alerts leave.")] = "",
    why: Why = "",
    as_json: JsonFlag = False,
) -> None:
    """Make some alerts of an incident one of their own. Neither is merged by itself afterwards.

    `causegraph incidents show --json` and `GET /incidents/INCIDENT/alerts` tell what there is.
    """
    _act(incident_id, "split", {"alerts": alerts or [], "rule": rule, "service": service, "why": why}, as_json)


def close(
    incident_id: IncidentId,
    note: Annotated[str, typer.Option(help="A word at the end.")] = "",
    helped: Annotated[str, typer.Option(help="What helped: shown when the like happens again.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Close an incident."""
    _act(incident_id, "close", {"note": note, "helped": helped}, as_json)


def reopen(
    incident_id: IncidentId,
    note: Annotated[str, typer.Option(help="Why it is not over.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Open an incident again; the server then investigates it again."""
    _act(incident_id, "reopen", {"note": note}, as_json)


def note(
    incident_id: IncidentId,
    text: Annotated[str, typer.Argument(help="A line for the timeline.")],
    as_json: JsonFlag = False,
) -> None:
    """Add a line to the timeline of an incident."""
    _act(incident_id, "note", {"text": text}, as_json)


def feedback(
    incident_id: IncidentId,
    verdict: Annotated[str, typer.Argument(metavar="right|wrong|partly", help="Whether the verdict was right.")],
    text: Annotated[str, typer.Option(help="What it was.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Say whether a verdict was right; a wrong one is not brought forward when the like happens again."""
    _act(incident_id, "feedback", {"verdict": verdict, "text": text}, as_json)


def follow_up(
    incident_id: IncidentId,
    title: Annotated[str, typer.Argument(help="What is to be done.")],
    text: Annotated[str, typer.Option(help="More words.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Open an issue about an incident in the tracker of CAUSEGRAPH_FOLLOW_UP_URL (GitHub, Jira, or plain JSON)."""
    made = fetch(lambda backend: backend.follow_up(incident_id, title, text))
    if as_json:
        print_json(made)
    else:
        make_console().print(styled(f"{made['title']} {made['url']}".strip()), soft_wrap=True)


def postmortem(
    incident_id: IncidentId,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; default: print it.")] = None,
) -> None:
    """Draft a postmortem in Markdown: facts with their evidence, and room for what only people know."""
    text = fetch(lambda backend: backend.postmortem(incident_id))
    if output is None:
        typer.echo(text, nl=False)
        return
    output.write_text(text, encoding="utf-8")
    make_console(stderr=True).print(styled(f"wrote {output}", "dim"))


def _act(incident_id: str, action: str, values: Mapping[str, Any], as_json: bool) -> None:
    life = fetch(lambda backend: backend.act_on_incident(incident_id, action, values))
    if as_json:
        print_json(life)
    else:
        _print_life(life)


def _print_life(life: Mapping[str, Any]) -> None:
    from cli.answer import print_table

    console = make_console()
    state = f"{life['id']} is {life['status']}" + (f", part of {life['merged_into']}" if life["merged_into"] else "")
    console.print(styled(f"{state}: {life['alerts']} alert(s), {life['firing']} firing"))
    if life["recurrence"]:
        console.print(styled("Known from before: ", "bold") + styled(str(life["recurrence"]["text"])))
    rules = [
        (
            r["name"],
            r["service"],
            str(r["alerts"]),
            str(r["firing"]),
            "flapping" if r["flapping"] else "",
            _second(r["first"]),
        )
        for r in life["rules"]
    ]
    if rules:
        print_table(console, ("rule", "service", "alerts", "firing", "", "first"), rules)
    lines = [(_second(line["time"]), line["kind"], line["text"], line["actor"]) for line in life["timeline"]]
    print_table(console, ("time", "what", "", "who"), lines)


def _word(choice: StrEnum) -> str:
    return "" if choice == "any" else str(choice)


def _second(text: str) -> str:
    return text[:19].replace("T", " ")

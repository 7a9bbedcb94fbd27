"""What is stored: evidence, traces, symptoms."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.backend import Backend

Environment = Annotated[str, typer.Option("--environment", "-e", help="Only of this environment.")]
Limit = Annotated[int, typer.Option(min=1, max=500, help="How many at most, newest first.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def evidence(
    evidence_id: Annotated[str, typer.Argument(help="The id that an answer cites, such as log-1a2b3c4d5e6f.")],
    environment: Environment = "",
    as_json: JsonFlag = False,
) -> None:
    """Open a piece of evidence: the record, the query that found it, and whether it still reads as it was cited.

    Exit status 1 if the record has changed or is gone.
    """
    from cli.answer import print_evidence

    found = fetch(lambda backend: backend.evidence(evidence_id, environment))
    if as_json:
        print_json(found)
    else:
        print_evidence(make_console(), found)
    if found["state"] != "unchanged":
        raise typer.Exit(1)


def symptoms(
    environment: Environment = "",
    still_open: Annotated[bool, typer.Option("--open", help="Only those that are not over.")] = False,
    limit: Limit = 20,
    as_json: JsonFlag = False,
) -> None:
    """List what `causegraph serve` noticed without being asked: requests that fail, crawl or stay away.

    The times are those of the records. An incident is the investigation that a symptom led to: `causegraph incidents ID`.
    """
    from cli.answer import print_table

    every = fetch(lambda backend: backend.symptoms(environment, "open" if still_open else "", limit))
    if as_json:
        print_json({"symptoms": every})
        return
    columns = ("started", "id", "environment", "status", "noticed after", "incident", "what")
    rows = [
        (
            _second(s["started"]),
            s["id"],
            s["environment"],
            s["status"],
            f"{_seconds_between(s['started'], s['noticed']):.0f} s",
            s["incident_id"],
            s["text"],
        )
        for s in every
    ]
    print_table(make_console(), columns, rows)


def list_traces(
    environment: Environment = "",
    service: Annotated[str, typer.Option(help="Only about this service.")] = "",
    intent: Annotated[
        str, typer.Option(help="Only of this kind of question: why, count, logs, changes, code ...")
    ] = "",
    verdict: Annotated[str, typer.Option(help="CONFIRMED, LIKELY, INCONCLUSIVE or HEALTHY.")] = "",
    action: Annotated[str, typer.Option(help="What the judge settled: ALLOW_ANSWER, ESCALATE ...")] = "",
    status: Annotated[str, typer.Option(help="running, complete, failed or paused.")] = "",
    model: Annotated[str, typer.Option(help="Only with this language model.")] = "",
    source: Annotated[str, typer.Option(help="causegraph: our own runs; ingest: those of other programs.")] = "",
    thread: Annotated[str, typer.Option(help="Only of this conversation.")] = "",
    search: Annotated[str, typer.Option("--search", "-q", help="Words in questions, answers, names, decisions.")] = "",
    still_open: Annotated[bool, typer.Option("--open", help="Only with stages that never ended.")] = False,
    since: Annotated[str, typer.Option("--from", help="Only begun since this time.")] = "",
    before: Annotated[str, typer.Option("--to", help="Only begun before this time.")] = "",
    limit: Limit = 20,
    page: Annotated[int, typer.Option(min=1, max=10_000, help="Which page of so many.")] = 1,
    as_json: JsonFlag = False,
) -> None:
    """List runs, the newest first: how questions were answered, and the agent traces that other programs sent."""
    from cli.answer import print_table

    query = {
        "environment": environment,
        "service": service,
        "intent": intent,
        "outcome": verdict.upper(),
        "action": action.upper(),
        "status": status,
        "model": model,
        "source": source,
        "thread_id": thread,
        "search": search,
        "open_spans": still_open,
        "from": since,
        "before": before,
        "limit": limit,
        "page": page,
    }
    every = fetch(lambda backend: backend.traces(query))
    if as_json:
        print_json({"traces": every})
        return
    columns = ("id", "outcome", "judge", "status", "took", "environment", "question")
    rows = [
        (
            t["id"],
            t["outcome"],
            t["action"],
            t["status"],
            "" if t["seconds"] is None else f"{t['seconds']:.1f} s",
            t["environment"],
            t["question"],
        )
        for t in every
    ]
    print_table(make_console(), columns, rows)


def show_trace(
    trace_id: Annotated[str, typer.Argument(help="The id of a trace, such as trc_20261121_101500_1a2b3c4d.")],
    compact: Annotated[bool, typer.Option("--compact", help="Only the scorecard.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="The scorecard with each principle, policy and stage as well.")
    ] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="The whole run as a Markdown document.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Show how one question was answered: scorecard, decisions with their reasons, and the search ledger."""
    from cli.answer import print_scorecard, print_trace

    found = fetch(lambda backend: backend.trace(trace_id))
    if as_json:
        print_json(found)
    elif markdown:
        make_console().print(styled(found["report"]), soft_wrap=True)
    elif compact:
        print_scorecard(make_console(), str(found["scorecard"]))
    else:
        print_trace(make_console(), found, verbose=verbose)


def _second(text: str) -> str:
    return text[:19].replace("T", " ")


def _seconds_between(earlier: str, later: str) -> float:
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def fetch[T](read: Callable[[Backend], Awaitable[T]]) -> T:
    """Return what is read from the running server, or from this process where there is none."""
    from cli.backend import open_backend
    from domain.settings import load_settings

    async def run() -> T:
        notes = make_console(stderr=True)
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            return await read(backend)

    return asyncio.run(run())

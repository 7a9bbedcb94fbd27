"""`causegraph ask`: a question in, the answer out."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_error, print_json, styled

if TYPE_CHECKING:
    from rich.console import Console

    from cli.backend import Asked, Backend

INCONCLUSIVE = 3


def ask(
    question: Annotated[
        str,
        typer.Argument(
            help='What you want to know, such as "why did checkout fail at 10:42?" Without it, on a terminal: a conversation.',
            show_default=False,
        ),
    ] = "",
    environment: Annotated[
        str, typer.Option("--environment", "-e", help="Environment asked about; may be left out if there is only one.")
    ] = "",
    at: Annotated[
        str,
        typer.Option(help="Ask as of this moment: nothing later is read. RFC 3339 (UTC if without a zone) or epoch."),
    ] = "",
    since: Annotated[str, typer.Option("--from", help="The incident did not begin before this time.")] = "",
    until: Annotated[str, typer.Option("--to", help="The incident ended before this time.")] = "",
    thread: Annotated[str, typer.Option(help="Conversation that the question belongs to (a thread_id).")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the answer as JSON (docs/api.md).")] = False,
) -> None:
    """Ask why something went wrong, and get the verdict with the record behind every claim.

    Other questions are answered as well: how many errors, what changed, show the logs, who calls whom, what a runbook says. Without
    a question you can go on asking: "and before the deploy?", "show me the logs". An empty line ends it.

    Prints what each agent decides as it finishes, then the verdict, the causal chain, the claims with the ids of their
    evidence, what was ruled out, what could not be seen, the runbook and the judge's outcome.

    Exit status: 0 for an answer (a cause, or a system that is healthy), 3 for INCONCLUSIVE, 1 for an error.
    """
    from agents.replies import read_time
    from cli.backend import Asked

    asked = Asked(
        text=question.encode(errors="replace").decode(),  # bytes that the terminal's encoding does not know
        environment=environment,
        at_us=read_time("--at", at),
        from_us=read_time("--from", since),
        to_us=read_time("--to", until),
        thread_id=thread,
    )
    if not question:
        if not sys.stdin.isatty():
            raise typer.BadParameter("it is missing, and this is no terminal to ask for it.", param_hint="QUESTION")
        asyncio.run(_converse(asked, as_json))
        return
    body = asyncio.run(_ask(asked, as_json))
    if body["verdict"]["outcome"] == "INCONCLUSIVE":
        raise typer.Exit(INCONCLUSIVE)


async def _ask(asked: Asked, as_json: bool) -> dict[str, Any]:
    from dataclasses import replace

    from cli.answer import print_answer
    from cli.backend import open_backend
    from domain.settings import load_settings

    notes = make_console(stderr=True)
    settings = load_settings()
    async with open_backend(settings, lambda line: notes.print(styled(line, "dim")), investigate=True) as backend:
        if not asked.environment:
            asked = replace(asked, environment=choose_environment(await backend.info()))
        body = await follow(backend, asked, notes)
        if as_json:
            print_json(body)
        else:
            trace = await backend.trace(body["trace_id"]) if body["trace_id"] else {}
            print_answer(make_console(), body, str(trace.get("scorecard", "")))
    return body


async def _converse(asked: Asked, as_json: bool) -> None:
    """Ask what is typed, line by line, as one conversation; an empty line or the end of the input ends it."""
    import secrets
    from dataclasses import replace

    from cli.answer import print_answer
    from cli.backend import open_backend
    from cli.services import in_daemon_thread
    from domain.errors import CausegraphError
    from domain.settings import load_settings

    notes = make_console(stderr=True)
    thread = asked.thread_id or f"thr-{secrets.token_hex(6)}"
    async with open_backend(
        load_settings(), lambda line: notes.print(styled(line, "dim")), investigate=True
    ) as backend:
        environment = asked.environment or choose_environment(await backend.info())
        notes.print(styled(f"environment {environment}, thread {thread}; an empty line ends", "dim"))
        while text := (await in_daemon_thread(_read_line)).strip():
            try:
                body = await follow(
                    backend, replace(asked, text=text, environment=environment, thread_id=thread), notes
                )
            except CausegraphError as exc:
                print_error(exc)
                continue
            print_json(body) if as_json else print_answer(make_console(), body)


def _read_line() -> str:
    try:
        return input("> ").encode(errors="replace").decode()
    except EOFError:
        return ""


async def follow(backend: Backend, asked: Asked, notes: Console) -> dict[str, Any]:
    """Ask, print each agent's progress, and return the answer's body."""
    from domain.errors import CausegraphError

    body: dict[str, Any] | None = None
    with notes.status(styled("investigating", "dim")):
        async with aclosing(backend.ask(asked)) as parts:  # type: ignore[type-var]  # both are async generators
            async for name, data in parts:
                if name == "progress":
                    notes.print(styled(f"{data['agent']:>10}  ", "cyan") + styled(data["text"] or "done", "dim"))
                elif name == "answer":
                    body = data
    if body is None:
        raise CausegraphError("The investigation broke off without an answer: see the server's log.")
    return body


def choose_environment(info: Mapping[str, Any]) -> str:
    """Return the environment that a question means which names none; raises QuestionError if it could be several."""
    from domain.errors import QuestionError

    known = [str(name) for name in info["environments"]]
    if "default" in known or not known:
        return "default"
    if len(known) == 1:
        return known[0]
    raise QuestionError(f"Which environment? Add `--environment` and one of: {', '.join(known[-20:])}.")

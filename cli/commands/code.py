"""`causegraph code`: search in the indexed code by text, symbol, stack trace, log line and change."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from rich.console import Console

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Service = Annotated[str, typer.Option("--service", "-s", help="Only what this service runs.")]
Limit = Annotated[int, typer.Option("--limit", "-n", min=1, max=100, help="At most so many results.")]


def search(
    query: Annotated[list[str], typer.Argument(help="Words and names to look for, or what the code does.")],
    service: Service = "",
    limit: Limit = 10,
    meaning: Annotated[bool, typer.Option("--meaning", help="By meaning alone.")] = False,
    words: Annotated[bool, typer.Option("--words", help="By words alone.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Search by words and by meaning: the pieces of code that fit, the best first. Exit status 1 if there is none.

    By meaning only those are found that have their vector: `causegraph code status` says how many wait for theirs.
    """
    if meaning and words:
        raise typer.BadParameter("--meaning and --words exclude each other: leave both out for both.")
    by = "meaning" if meaning else "words" if words else "both"
    body = _ask("search", {"q": " ".join(query), "limit": limit, "service": service, "by": by})
    if as_json:
        print_json(body)
    console = make_console()
    for hit in [] if as_json else body["results"]:
        _print_place(console, hit, "  (by meaning)" if hit["by"] == ["meaning"] and by == "both" else "")
        for number, line in enumerate(hit["snippet"]["text"].split("\n"), hit["snippet"]["from"]):
            style = "bold" if number == hit["line"] else "dim"
            console.print(styled(f"  {number:5d}  {line}", style), soft_wrap=True)
    if body["note"] and not as_json:
        make_console(stderr=True).print(styled(body["note"], "yellow"), soft_wrap=True)
    _end(body["results"], as_json)


def symbol(
    name: Annotated[str, typer.Argument(help="A name, such as `charge` or `Payment.charge`, or its beginning.")],
    limit: Limit = 20,
    hops: Annotated[int, typer.Option(min=1, max=5, help="Callers of callers as well, up to so many calls away.")] = 1,
    at: Annotated[str, typer.Option(help="Callers as of this time; default: now.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show where a name is defined, who calls it, what inherits from it, what it calls, and which logs it writes.

    Callers come from the code graph, which each sync brings up to date. A call that is followed by ? is a guess: nothing but
    the name says that it is this definition. Exit status 1 if the name is not defined.
    """
    body = _ask("symbol", {"name": name, "limit": limit, "hops": hops, "at": at})
    if as_json:
        print_json(body)
    console = make_console()
    for found in [] if as_json else body["results"]:
        _print_place(console, found)
        _print_symbol(console, found)
    if body["note"] and not as_json:
        make_console(stderr=True).print(styled(body["note"], "yellow"), soft_wrap=True)
    _end(body["results"], as_json)


def _print_symbol(console: Console, found: dict[str, Any]) -> None:
    for text, style in ((found["signature"], ""), (found["doc"], "dim")):
        if text:
            console.print(styled(f"    {text}", style), soft_wrap=True)
    for caller in found["callers"]:
        indent = "    " * caller["hops"]
        called = "called by" if caller["hops"] == 1 else f"{caller['calls']} is called by"
        console.print(styled(f"{indent}{called} {_other(caller)}"), soft_wrap=True)
    for heir in found["heirs"]:
        console.print(styled(f"    inherited by {heir['symbol']}  {heir['path']}"), soft_wrap=True)
    for callee in found["calls"]:
        console.print(styled(f"    calls {_other(callee)}"), soft_wrap=True)
    for written in found["logs"]:
        guess = "" if written["sure"] else " ?"
        console.print(styled(f"    writes log template {written['template']}{guess} in line {written['line']}"))


def _other(other: dict[str, Any]) -> str:
    guess = "" if other["sure"] else " ?"
    return f"{other['symbol'] or 'the top of the file'}{guess}  {other['path']}:{other['line']}"


def trace(
    file: Annotated[str, typer.Argument(help="A file with a stack trace; - reads it from standard input.")] = "-",
    service: Service = "",
    as_json: JsonFlag = False,
) -> None:
    """Show which indexed files and lines a stack trace speaks of, the innermost of the project first.

    Traces of Python, Java, Go, Node, .NET, Ruby, Rust, PHP and C are read. Paths may begin otherwise than here. Exit status 1
    if no frame is of the indexed code.
    """
    body = _ask("trace", {"text": _read(file), "service": service})
    if as_json:
        print_json(body)
    console = make_console()
    for found in [] if as_json else body["results"]:
        _print_place(console, found, "" if found["sure"] else "  (one of several that fit)")
    _end(body["results"], as_json)


def log(
    line: Annotated[list[str], typer.Argument(help="A log line, or a template with <*> for what varies.")],
    service: Service = "",
    limit: Limit = 5,
    as_json: JsonFlag = False,
) -> None:
    """Show which statement writes a log line. Where several fit alike, that is said. Exit status 1 if none fits."""
    body = _ask("log", {"text": " ".join(line), "limit": limit, "service": service})
    if as_json:
        print_json(body)
    console = make_console()
    for found in [] if as_json else body["results"]:
        doubt = "" if found["sure"] else f"  ({found['tied']} more fit as well)" if found["tied"] else "  (not certain)"
        _print_place(console, found, f"  {found['score']:.2f}{doubt}")
        console.print(styled(f"    {found['kind']} {found['level']}: {found['template']}", "dim"), soft_wrap=True)
    _end(body["results"], as_json)


def templates(
    place: Annotated[str, typer.Argument(help="PATH:LINE of a log statement, or the name of a definition.")],
    environment: Annotated[str, typer.Option("--environment", "-e", help="Environment; default: `default`.")] = "",
    service: Annotated[str, typer.Option("--service", "-s", help="Only what this service wrote.")] = "",
    since: Annotated[str, typer.Option("--from", help="From this time; default: a day before --to.")] = "",
    to: Annotated[str, typer.Option(help="Until this time; default: now.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show which log templates a line of code wrote, and how often; `before` counts the window of equal length just before.

    Exit status 1 if none was written.
    """
    values = {"place": place, "environment": environment, "service": service, "from": since, "to": to, "limit": 100}
    body = _ask("templates", values)
    if as_json:
        print_json(body)
    console = make_console()
    for found in [] if as_json else body["statements"]:
        _print_place(console, found)
        console.print(styled(f"    {found['kind']} {found['level']}: {found['statement']}", "dim"), soft_wrap=True)
        for one in found["templates"]:
            guess = "" if one["sure"] else " (other lines fit as well)"
            counts = f"{one['lines']:,} lines, {one['before']:,} before, last {one['last'][:19]}"
            text = f"    {one['text']}  {', '.join(one['services'])}: {counts}{guess}"
            console.print(styled(text), soft_wrap=True)
    _end([one for found in body["statements"] for one in found["templates"]], as_json)


def diff(
    service: Annotated[str, typer.Argument(help="A service; default: all that is indexed.")] = "",
    since: Annotated[str, typer.Option("--from", help="From this time; default: a day before --to.")] = "",
    to: Annotated[str, typer.Option(help="Until this time; default: now.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show what was committed to the code that a service runs. Exit status 1 if nothing was."""
    body = _ask("diff", {"service": service, "from": since, "to": to})
    if as_json:
        print_json(body)
    console = make_console()
    for commit in [] if as_json else body["commits"]:
        console.print(
            styled(f"{commit['commit'][:12]} ", "yellow")
            + styled(f"{commit['time']}  {commit['author']}  ", "dim")
            + styled(commit["subject"]),
            soft_wrap=True,
        )
        for path in commit["files"][:10]:
            console.print(styled(f"    {path}", "dim"), soft_wrap=True)
    for blind in [] if as_json else body["not_seen"]:
        make_console(stderr=True).print(styled(f"no history: {blind}", "yellow"), soft_wrap=True)
    _end(body["commits"], as_json)


def status(as_json: JsonFlag = False) -> None:
    """Show what is indexed, and how much of it was understood."""
    body = _ask("status", {})
    if as_json:
        print_json(body)
        return
    console = make_console()
    if not body["roots"]:
        console.print(styled("No code is indexed yet: `causegraph index PATH`.", "dim"))
    for root in body["roots"]:
        console.print(styled(root["location"], "bold"), soft_wrap=True)
        counts = f"{root['files']:,} files, {root['symbols']:,} symbols, {root['chunks']:,} chunks, "
        counts += f"{root['log_statements']:,} log statements, {root['calls']:,} calls ({root['guessed_calls']:,} more guessed)"
        console.print(styled(f"  {counts}"), soft_wrap=True)
        for runs in root["services"]:
            console.print(styled(f"  runs in {runs['service']}{': ' + runs['folder'] if runs['folder'] else ''}"))
        if root["being_read"]:
            told = f"{root['readable']:,} files are read so far: a sync is at it, or `causegraph index sync` goes on"
            console.print(styled(f"  {told}", "yellow"))
        elif root["readable"] < root["files"]:
            console.print(styled("  read by another version: run `causegraph index sync`", "yellow"))
        for problem in root["problems"]:
            console.print(styled(f"  {problem}", "dim"), soft_wrap=True)
    if body["roots"] and (vectors := body["vectors"])["embedder"]:
        told = f"{vectors['chunks'] - vectors['pending']:,} of {vectors['chunks']:,} pieces of code have their vector"
        how = ": `causegraph serve` goes on with the others, `causegraph backfill` does it at once"
        console.print(styled(told + (how if vectors["pending"] else "")), soft_wrap=True)


def _ask(what: str, values: dict[str, Any]) -> dict[str, Any]:
    from cli.backend import open_backend
    from domain.settings import load_settings

    async def work() -> dict[str, Any]:
        notes = make_console(stderr=True)
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            return await backend.code(what, {name: value for name, value in values.items() if value != ""})

    return asyncio.run(work())


def _read(file: str) -> str:
    from pathlib import Path

    from domain.errors import PayloadError

    if file == "-":
        return sys.stdin.read()
    try:
        return Path(file).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        raise PayloadError(f"{file} cannot be read: {exc.strerror or exc}.") from exc


def _print_place(console: Console, found: dict[str, Any], note: str = "") -> None:
    symbol = f"  {found['symbol']}" if found["symbol"] else ""
    line = styled(f"{found['path']}:{found['line']}", "bold cyan") + styled(symbol, "bold") + styled(note, "dim")
    console.print(line, soft_wrap=True)


def _end(results: list[Any], as_json: bool) -> None:
    if not results:
        if not as_json:
            make_console().print(styled("Nothing was found.", "dim"))
        raise typer.Exit(1)

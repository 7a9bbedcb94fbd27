"""`causegraph logs`: what is written most, what is new, what fell silent, what bursts; search and follow."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.ask import choose_environment
from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from cli.backend import Backend

Environment = Annotated[
    str, typer.Option("--environment", "-e", help="Environment; may be left out if there is only one.")
]
Since = Annotated[
    str, typer.Option("--from", help="From this time on (RFC 3339 or epoch). Default: an hour before --to.")
]
Until = Annotated[str, typer.Option("--to", help="Up to this time. Default: now.")]
Service = Annotated[str, typer.Option("--service", "-s", help="Only of this service.")]
LevelOption = Annotated[str, typer.Option("--level", "-l", help="From this level on: warn holds error and fatal.")]
Limit = Annotated[int, typer.Option(min=1, max=1000, help="How many at most.")]
CodeFlag = Annotated[bool, typer.Option("--code", help="Add the line of indexed code that writes each.")]
JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]

_LEVELS = ("FATAL", "ERROR", "WARN", "INFO", "DEBUG", "TRACE")
_STYLES = {"WARN": "yellow", "ERROR": "red", "FATAL": "bold red"}


def top(
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    limit: Limit = 20, code: CodeFlag = False, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """List what is written most, by family of log templates; `before` counts the window of equal length just before."""
    _families("top", environment, make_query(since, until, service, level, limit), code, as_json)


def new(
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    limit: Limit = 20, code: CodeFlag = False, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """List what was never written before in this environment."""
    _families("new", environment, make_query(since, until, service, level, limit), code, as_json)


def vanished(
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    limit: Limit = 20, code: CodeFlag = False, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """List what was written in the window just before, and no more in this one."""
    _families("vanished", environment, make_query(since, until, service, level, limit), code, as_json)


def bursting(
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    limit: Limit = 20, code: CodeFlag = False, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """List what is written at least three times as often as in the window just before, and not by chance."""
    _families("bursting", environment, make_query(since, until, service, level, limit), code, as_json)


def search(
    text: Annotated[str, typer.Argument(help="What the line holds, in upper or lower case.")],
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    limit: Limit = 50, before: Annotated[str, typer.Option(help="The cursor of the last reply, for older lines.")] = "",
    as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Find lines by text, newest first, and log templates that mean something like it."""
    query = {**make_query(since, until, service, level, limit), "q": text, "before": before}
    body = _ask(environment, lambda backend, place: backend.logs("/search/logs", {**query, "environment": place}))
    if as_json:
        print_json(body)
        return
    for line in body["lines"]:
        print_line(line)
    if not body["lines"]:
        make_console().print(styled(f"No line between {body['searched_from']} and {body['to']} holds that.", "dim"))
    if body["cursor"]:
        make_console(stderr=True).print(styled(f"There may be more: --before {body['cursor']}", "dim"))
    _print_near([each for each in body["templates"] if each["match"] == "meaning"])
    if body["note"]:
        make_console(stderr=True).print(styled(body["note"], "dim"))


def stats(
    environment: Environment = "", since: Since = "", until: Until = "", service: Service = "", level: LevelOption = "",
    step: Annotated[int, typer.Option(min=0, help="Also count by steps of so many seconds: 60 by minute.")] = 0,
    template: Annotated[str, typer.Option(help="Only lines of this log template (its id).")] = "",
    limit: Limit = 50, as_json: JsonFlag = False,
) -> None:  # fmt: skip
    """Count lines by service and level, and by steps of time. Counts outlive the lines themselves."""
    from cli.answer import print_table

    query = {**make_query(since, until, service, level, limit), "step": step, "template": template}
    body = _ask(environment, lambda backend, place: backend.logs("/stats", {**query, "environment": place}))
    if as_json:
        print_json(body)
        return
    heads = tuple(name.lower() for name in _LEVELS)
    rows = [(row["service"], str(row["lines"]), *_by_level(row), str(row["templates"])) for row in body["services"]]
    print_table(make_console(), ("service", "lines", *heads, "templates"), rows)
    if steps := body.get("steps"):
        make_console().print()
        rows = [(each["time"], str(each["lines"]), *_by_level(each)) for each in steps]
        print_table(make_console(), ("from", "lines", *heads), rows)
    if body["left_out"]:
        make_console(stderr=True).print(styled(f"{body['left_out']} more services: --limit", "dim"))
    make_console().print(styled(f"{body['lines']} lines, {body['templates']} templates", "dim"))


def _by_level(row: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(row["levels"].get(name, 0)) for name in _LEVELS)


def make_query(since: str, until: str, service: str, level: str, limit: int) -> dict[str, Any]:
    """Return what every way of asking about logs has in common."""
    return {"from": since, "to": until, "service": service, "level": level, "limit": limit}


def _families(order: str, environment: str, query: Mapping[str, Any], code: bool, as_json: bool) -> None:
    from cli.answer import print_table

    asked = {**query, "order": order} | ({"code": True} if code else {})
    body = _ask(environment, lambda backend, place: backend.logs("/query/logs", {**asked, "environment": place}))
    if as_json:
        print_json(body)
        return
    rows = [
        (
            str(each["lines"]),
            str(each["before"]),
            each["service"],
            each["level"],
            (each["first"] or "")[:19],
            *((_where(each["code"]),) if code else ()),
            each["text"][:300],
        )
        for each in body["families"]
    ]
    if rows:
        columns = ("lines", "before", "service", "level", "first", *(("code",) if code else ()), "text")
        print_table(make_console(), columns, rows)
    else:
        make_console().print(styled(f"There is none between {body['from']} and {body['to']}.", "dim"))
    if body["left_out"]:
        make_console(stderr=True).print(styled(f"{body['left_out']} more: --limit", "dim"))


def _where(place: Mapping[str, Any] | None) -> str:
    return f"{place['path']}:{place['line']}" if place else "-"


def _print_near(templates: list[dict[str, Any]]) -> None:
    from cli.answer import print_table

    if templates:
        make_console().print(styled("Near in meaning:", "dim"))
        rows = [
            (
                f"{each['distance']:.2f}",
                str(each["lines"]),
                ", ".join(each["services"]),
                each["level"],
                each["text"][:300],
            )
            for each in templates
        ]
        print_table(make_console(), ("distance", "lines", "services", "level", "template"), rows)


def print_line(line: Mapping[str, Any]) -> None:
    """Print one log line for people."""
    head = styled(f"{line['time'][:23]} {line['service']} ", "dim") + styled(
        line["level"], _STYLES.get(line["level"], "")
    )
    make_console().print(head + styled(f" {line['message']}"), soft_wrap=True)


def _ask(environment: str, read: Callable[[Backend, str], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    async def work(backend: Backend) -> dict[str, Any]:
        return await read(backend, environment or choose_environment(await backend.info()))

    return _run(work)


def _run[T](work: Callable[[Backend], Awaitable[T]]) -> T:
    from cli.backend import open_backend
    from domain.settings import load_settings

    async def run() -> T:
        notes = make_console(stderr=True)
        async with open_backend(load_settings(), lambda line: notes.print(styled(line, "dim"))) as backend:
            return await work(backend)

    return asyncio.run(run())

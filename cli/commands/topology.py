"""`causegraph topology`: who called whom at a moment, by which chains, what changed, and what is stated."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.commands.ask import choose_environment
from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from rich.console import Console

    from cli.backend import Backend

Environment = Annotated[
    str, typer.Option("--environment", "-e", help="Environment; may be left out if there is only one.")
]
At = Annotated[str, typer.Option(help="As of this time: RFC 3339 (UTC if without a zone) or epoch. Default: now.")]
_SHOWN = 4  # nodes or pods of one service

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]


def show(
    environment: Environment = "",
    at: At = "",
    svg: Annotated[
        str, typer.Option("--svg", metavar="FILE", help="Write a picture to this file instead (- for standard output).")
    ] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show who called whom at a moment: how often, how often in vain, since when, and who says so; then what runs where.

    Calls count from `since` on; a dash stands where only metrics or a statement tell of the pair. `client spans` are calls
    that only their caller tells of: to a database, a queue, a host outside. `lately` is the quarter of an hour before.
    """
    from agents.replies import read_time

    at_us = read_time("--at", at)
    if svg:
        drawn = _ask(environment, lambda backend, place: backend.topology_picture(place, at_us))
        _write(svg, drawn)
        return
    body = _ask(environment, lambda backend, place: backend.topology(place, at_us))
    if as_json:
        print_json(body)
        return
    if not body["edges"]:
        make_console().print(
            styled(f"Nothing is known of who called whom in {body['environment']} at {body['at']}.", "dim")
        )
    else:
        _print_calls(make_console(), body["edges"])
    _print_services(make_console(), body["services"])
    _warn_behind(body)


def path(
    cause: Annotated[str, typer.Argument(help="The service where the trouble may come from.")],
    symptom: Annotated[str, typer.Argument(help="The service where it is felt.")],
    environment: Environment = "",
    at: At = "",
    as_json: JsonFlag = False,
) -> None:
    """Show by which chains of calls trouble of one service could reach another, shortest first.

    Exit status 1 if there is none.
    """
    from agents.replies import read_time

    at_us = read_time("--at", at)
    body = _ask(environment, lambda backend, place: backend.topology_paths(cause, symptom, place, at_us))
    if as_json:
        print_json(body)
    else:
        console = make_console()
        for found in body["paths"]:
            console.print(_chain(found), soft_wrap=True)
        if not body["paths"]:
            console.print(styled(f"{symptom} did not call {cause}, directly or through others, at {body['at']}."))
        _warn_behind(body)
    if not body["paths"]:
        raise typer.Exit(1)


def calls(
    caller: Annotated[str, typer.Argument(help="The service that calls.")],
    callee: Annotated[str, typer.Argument(help="What it calls: a service, a database, a queue, a host outside.")],
    environment: Environment = "",
    since: Annotated[str, typer.Option("--from", help="From this time on. Default: an hour before --to.")] = "",
    until: Annotated[str, typer.Option("--to", help="Up to this time. Default: now.")] = "",
    as_json: JsonFlag = False,
) -> None:
    """Show the calls from one service to another minute by minute: how many, how many failed, how long they took.

    Durations are the caller's and at most 9 % off. They are kept when the request traces are gone.
    """
    from agents.replies import read_time
    from cli.answer import print_table

    window = read_time("--from", since), read_time("--to", until)
    body = _ask(environment, lambda backend, place: backend.topology_calls(caller, callee, place, *window))
    if as_json:
        print_json(body)
        return
    if not body["minutes"]:
        told = f"No calls from {caller} to {callee} in {body['environment']} from {body['from']} to {body['to']}."
        make_console().print(styled(told, "dim"))
    else:
        columns = ("minute (UTC)", "calls", "errors", "half within", "95 % within", "observed by")
        rows = [
            (
                _when(m["minute"]),
                str(m["calls"]),
                str(m["errors"]),
                _ms(m["p50_ms"]),
                _ms(m["p95_ms"]),
                m["observed_by"],
            )
            for m in body["minutes"]
        ]
        print_table(make_console(), columns, rows)
    _warn_behind(body)


def diff(
    earlier: Annotated[str, typer.Argument(metavar="T1", help="A time: RFC 3339 (UTC if without a zone) or epoch.")],
    later: Annotated[str, typer.Argument(metavar="T2", help="A later one.")],
    environment: Environment = "",
    as_json: JsonFlag = False,
) -> None:
    """Show which calls came and which went between two times."""
    from agents.replies import read_time
    from domain.errors import QuestionError

    earlier_us, later_us = read_time("T1", earlier), read_time("T2", later)
    if earlier_us is None or later_us is None:
        raise QuestionError("T1 and T2: two times are needed.")
    body = _ask(environment, lambda backend, place: backend.topology_diff(earlier_us, later_us, place))
    if as_json:
        print_json(body)
        return
    console = make_console()
    for sign, style, edges in (("+", "green", body["added"]), ("-", "red", body["removed"])):
        for edge in edges:
            told = f"  {', '.join(edge['observed_by'])}, since {_when(edge['since']) or 'ever'}"
            line = styled(f"{sign} {edge['source']} ──> {edge['target']}", style) + styled(told, "dim")
            console.print(line, soft_wrap=True)
    if not body["added"] and not body["removed"]:
        console.print(styled(f"The same calls in {body['environment']} at {body['from']} and at {body['to']}.", "dim"))
    _warn_behind(body)


def import_file(
    file: Annotated[
        str, typer.Argument(help="A YAML or JSON file, a compose file or Kubernetes manifests; - for standard input.")
    ],
    environment: Environment = "",
    as_json: JsonFlag = False,
) -> None:
    """State who calls whom from a file.

    The file holds `edges: [{source, target, kind}]` (kind: CALLS, the default, or RUNS_ON) and, if wanted, `observed_by`,
    `valid_from` and `valid_to`; or it is a compose file, whose services call what they depend on; or it holds Kubernetes
    manifests (`kubectl get deploy,sts,ds,svc,cm,pods -A -o yaml`), whose workloads call the Services that they are told the
    address of and run on nodes. Importing the same again changes nothing.

    Exit status 1 if an edge was rejected.
    """
    from domain.errors import PayloadError
    from ingest.topology_files import read_topology_file

    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
        body = read_topology_file(text)
    except (OSError, UnicodeDecodeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "not a text in UTF-8"
        raise PayloadError(f"{file}: {reason}. Nothing was stored.") from exc
    except PayloadError as exc:
        raise PayloadError(f"{file}: {exc}") from exc
    content = json.dumps(body, ensure_ascii=False, default=str).encode()

    async def send(backend: Backend) -> dict[str, Any]:
        return await backend.ingest("topology", content, "application/json", environment)

    receipt = asyncio.run(_with_backend(send, follow=False))
    counts = {name: receipt[name] for name in ("accepted", "duplicate", "rejected", "errors", "watermark")}
    if as_json:
        print_json(counts)
    else:
        told = ", ".join(f"{counts[name]} {name}" for name in ("accepted", "duplicate", "rejected"))
        make_console().print(styled(told, "yellow" if counts["rejected"] else ""))
        for error in counts["errors"]:
            make_console().print(styled(f"  {error}", "yellow"), soft_wrap=True)
    if counts["rejected"]:
        raise typer.Exit(1)


# -- what is printed ---------------------------------------------------------------------------------------------------


def _print_calls(console: Console, edges: Sequence[dict[str, Any]]) -> None:
    from cli.answer import print_table

    columns = ("caller", "callee", "calls", "errors", "since (UTC)", "last seen (UTC)", "lately", "observed by")
    print_table(console, columns, [_cells(edge) for edge in edges])


def _print_services(console: Console, services: Sequence[dict[str, Any]]) -> None:
    """Print the kind and the place of each service of which either is worth telling."""
    from cli.answer import print_table

    rows = [
        (one["name"], one["kind"], _few(one["nodes"]), _few(one["pods"]))
        for one in services
        if one["nodes"] or one["pods"] or one["kind"] != "service"
    ]
    if rows:
        print_table(console, ("service", "kind", "nodes", "pods"), rows)


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more or "-"


def _cells(edge: dict[str, Any]) -> tuple[str, ...]:
    return (
        edge["source"],
        edge["target"],
        "-" if edge["calls"] is None else str(edge["calls"]),
        "-" if edge["errors"] is None else str(edge["errors"]),
        _when(edge["since"]) or "ever",
        _when(edge["last_seen"]) or "-",
        _lately(edge["lately"]),
        ", ".join(edge["observed_by"]) + (" (stated)" if edge["stated"] else ""),
    )


def _chain(services: Sequence[str]) -> Any:
    line = styled(services[0], "bold red")
    for name in services[1:]:
        line += styled(" ──> ", "dim") + styled(name, "bold yellow" if name == services[-1] else "bold")
    return line


def _lately(rates: dict[str, Any] | None) -> str:
    if rates is None:
        return "-"
    return f"{rates['calls'] / rates['minutes']:.3g}/min, {rates['errors']} failed, 95 % < {_ms(rates['p95_ms'])}"


def _ms(milliseconds: float) -> str:
    return f"{milliseconds:.3g} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.3g} s"


def _when(text: str | None) -> str:
    return text[:19].replace("T", " ") if text else ""


def _warn_behind(body: dict[str, Any]) -> None:
    if not body["up_to_date"]:
        told = "The graph has not caught up yet: what came last may be missing."
        make_console(stderr=True).print(styled(told, "yellow"))


def _write(file: str, text: str) -> None:
    from domain.errors import CausegraphError

    if file == "-":
        typer.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as exc:
        raise CausegraphError(f"{file}: {exc.strerror}: the picture was not written.") from exc
    make_console().print(styled(f"wrote {file}"), soft_wrap=True)


# -- asking ------------------------------------------------------------------------------------------------------------


def _ask[T](environment: str, read: Callable[[Backend, str], Awaitable[T]]) -> T:
    async def work(backend: Backend) -> T:
        return await read(backend, environment or choose_environment(await backend.info()))

    return asyncio.run(_with_backend(work, follow=True))


async def _with_backend[T](work: Callable[[Backend], Awaitable[T]], *, follow: bool) -> T:
    from cli.backend import open_backend
    from domain.settings import load_settings

    notes = make_console(stderr=True)
    async with open_backend(
        load_settings(), lambda line: notes.print(styled(line, "dim")), investigate=follow
    ) as backend:
        return await work(backend)

"""The `causegraph` command."""

from __future__ import annotations

import io
import logging
import os
import sys
from typing import Annotated, Any

# Before numpy is loaded: its threads wait for each other by spinning, which on a busy machine costs more than they bring.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer
from typer.core import TyperGroup

from cli.commands import (
    approve,
    ask,
    backfill,
    cases,
    code,
    dead_letters,
    demo,
    export,
    incidents,
    index,
    ingest,
    keys,
    logs,
    mcp,
    policies,
    prompts,
    records,
    retention,
    runbooks,
    search,
    serve,
    stack,
    tail,
    topology,
    trace_store,
    traces,
    workflow,
)
from cli.screen import make_console, print_error, styled
from domain.errors import CausegraphError

logger = logging.getLogger(__name__)

_HELP = """Causegraph: ask why a system failed, and get a verdict whose every claim cites the record behind it.

`causegraph demo` shows all of it on a small shop that it breaks for you, in about a minute.

Nothing has to be configured: the first command that needs them starts private servers in one folder. Settings are read
from CAUSEGRAPH_* variables or a .env file."""


class _Group(TyperGroup):
    """The outermost loop of the command line: every error becomes one clear line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CausegraphError as exc:
            logger.debug("The command failed.", exc_info=exc)
            print_error(exc)
            raise typer.Exit(1) from exc
        except KeyboardInterrupt as exc:
            make_console(stderr=True).print(styled("interrupted", "dim"))
            raise typer.Exit(130) from exc
        except BrokenPipeError as exc:  # the reader of our output has gone, as `| head` does
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(1) from exc
        except typer.Abort:
            raise
        except Exception as exc:
            if hasattr(exc, "exit_code"):  # typer's own: a wrong option, or the end of the command
                raise
            logger.debug("The command failed.", exc_info=exc)
            console = make_console(stderr=True)
            what = f"{type(exc).__name__}: {exc}"
            console.print(
                styled("Error: ", "bold red") + styled(f"something unexpected happened: {what}"), soft_wrap=True
            )
            console.print(styled("Hint: `causegraph -v ...` shows where, for a report of this defect.", "dim"))
            raise typer.Exit(1) from exc


def build_cli() -> typer.Typer:
    """Build the command with all its subcommands."""
    from cli.commands.ship import ship

    app = typer.Typer(
        name="causegraph",
        cls=_Group,
        help=_HELP,
        rich_markup_mode="markdown",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_set_up)
    for command in (stack.up, stack.down, stack.status, stack.doctor, stack.migrate, serve.serve):
        app.command()(command)
    app.command()(ask.ask)
    app.command()(search.search)
    app.command()(ship)
    app.command()(ingest.ingest)
    app.command()(backfill.backfill)
    app.command()(records.evidence)
    app.add_typer(_incidents(), name="incidents")
    app.command()(records.symptoms)
    app.add_typer(_traces(), name="trace")
    app.add_typer(_prompts(), name="prompts")
    app.command("compress-spans")(prompts.compress_spans)
    app.add_typer(_policies(), name="policy")
    app.add_typer(_cases(), name="cases")
    app.add_typer(_topology(), name="topology")
    app.add_typer(_logs(), name="logs")
    app.command()(export.export)
    app.add_typer(_dead_letters(), name="dead-letters")
    app.add_typer(_retention(), name="retention")
    app.add_typer(_index(), name="index")
    app.add_typer(_code(), name="code")
    app.add_typer(_runbooks(), name="runbooks")
    app.add_typer(_workflows(), name="workflow")
    app.command()(approve.approve)
    app.command()(approve.reject)
    app.command()(approve.approvals)
    app.add_typer(_keys(), name="keys")
    app.command()(mcp.mcp)
    app.command()(demo.demo)
    return app


def _incidents() -> typer.Typer:
    about = "Incidents: what alerts, symptoms and questions came to. Without a command: the list."
    app = typer.Typer(cls=incidents.IncidentsGroup, help=about)
    app.command("list")(incidents.list_incidents)
    for command in (
        incidents.show,
        incidents.merge,
        incidents.split,
        incidents.close,
        incidents.reopen,
        incidents.note,
        incidents.feedback,
        incidents.postmortem,
    ):
        app.command()(command)
    app.command("follow-up")(incidents.follow_up)
    return app


def _traces() -> typer.Typer:
    app = typer.Typer(help="How questions were answered: decisions, queries, judges.", no_args_is_help=True)
    app.command("list")(records.list_traces)
    app.command("show")(records.show_trace)
    for command in (traces.compare, traces.flagged, traces.stats, traces.failures, traces.calibration, traces.export):
        app.command()(command)
    app.command("reconcile")(trace_store.reconcile)
    return app


def _prompts() -> typer.Typer:
    app = typer.Typer(help="The prompts of traces, each kept once.", no_args_is_help=True)
    for command in (prompts.stats, prompts.show, prompts.diff, prompts.rebuild):
        app.command()(command)
    app.command("gc")(prompts.collect)
    return app


def _policies() -> typer.Typer:
    app = typer.Typer(help="What may be done with answers: policies, tried on history first.", no_args_is_help=True)
    app.command("list")(policies.list_policies)
    app.command("show")(policies.show)
    app.command("check")(policies.check)
    app.command("dry-run")(policies.dry_run)
    app.command("activate")(policies.activate)
    return app


def _cases() -> typer.Typer:
    app = typer.Typer(help="What a person has to look at.", no_args_is_help=True)
    app.command("list")(cases.list_cases)
    for command in (cases.show, cases.ack, cases.resolve, cases.reopen, cases.comment):
        app.command()(command)
    return app


def _topology() -> typer.Typer:
    app = typer.Typer(help="Who called whom, at any time.", no_args_is_help=True)
    app.command("show")(topology.show)
    app.command("path")(topology.path)
    app.command("calls")(topology.calls)
    app.command("diff")(topology.diff)
    app.command("import")(topology.import_file)
    return app


def _dead_letters() -> typer.Typer:
    app = typer.Typer(help="What was sent and could not be stored.", no_args_is_help=True)
    app.command("list")(dead_letters.list_letters)
    app.command("show")(dead_letters.show)
    app.command("replay")(dead_letters.replay)
    app.command("drop")(dead_letters.drop)
    return app


def _retention() -> typer.Typer:
    app = typer.Typer(help="For how long raw telemetry is kept.", no_args_is_help=True)
    app.command("status")(retention.status)
    app.command("run")(retention.run)
    return app


def _logs() -> typer.Typer:
    app = typer.Typer(help="What is written: most, new, vanished, bursting; search and follow.", no_args_is_help=True)
    for command in (logs.top, logs.new, logs.vanished, logs.bursting, logs.search, tail.tail, logs.stats):
        app.command()(command)
    return app


def _index() -> typer.Typer:
    about = "Index code bases: `causegraph index PATH`, or the address of a git repository."
    app = typer.Typer(cls=index.IndexGroup, help=about, no_args_is_help=True)
    app.command("add")(index.add)
    app.command("sync")(index.sync)
    app.command("list")(index.list_roots)
    app.command("status")(index.status)
    app.command("diff")(index.diff)
    app.command("prove")(index.prove)
    app.command("verify")(index.verify)
    app.command("remove")(index.remove)
    return app


def _code() -> typer.Typer:
    app = typer.Typer(help="Search in the indexed code.", no_args_is_help=True)
    for command in (code.search, code.symbol, code.trace, code.log, code.templates, code.diff, code.status):
        app.command()(command)
    return app


def _runbooks() -> typer.Typer:
    app = typer.Typer(help="How trouble is mended, and whether that is still so.", no_args_is_help=True)
    app.command("list")(runbooks.list_runbooks)
    app.command("show")(runbooks.show)
    app.command("check")(runbooks.check)
    app.command("fetch")(runbooks.fetch)
    return app


def _workflows() -> typer.Typer:
    app = typer.Typer(help="What can be done about an incident, once a person approves.", no_args_is_help=True)
    app.command("list")(workflow.list_workflows)
    for command in (workflow.show, workflow.run, workflow.dry_run, workflow.history):
        app.command()(command)
    return app


def _keys() -> typer.Typer:
    app = typer.Typer(help="API keys and their roles.", no_args_is_help=True)
    app.command("create")(keys.create)
    app.command("list")(keys.list_keys)
    app.command("revoke")(keys.revoke)
    return app


def _print_version(wanted: bool) -> None:
    if wanted:
        from agents.plain import program_version

        typer.echo(program_version())
        raise typer.Exit


def _set_up(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Log what happens to stderr; -vv logs more.")
    ] = 0,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", is_eager=True, callback=_print_version)
    ] = False,
) -> None:
    level = {0: logging.WARNING, 1: logging.INFO}.get(verbose, logging.DEBUG)
    handler = logging.StreamHandler()
    handler.setFormatter(_FactsFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    if verbose:
        logging.getLogger("cli").setLevel(logging.DEBUG)


class _FactsFormatter(logging.Formatter):
    """Adds the facts of a record (its `extra`) to its line."""

    _usual = frozenset((*vars(logging.makeLogRecord({})), "message", "asctime", "color_message"))

    def formatMessage(self, record: logging.LogRecord) -> str:
        facts = [f"{name}={value!r}" for name, value in vars(record).items() if name not in self._usual]
        return " ".join([super().formatMessage(record), *facts])


def main() -> None:
    """Run the command."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # telemetry holds what not every terminal can show
    build_cli()()


if __name__ == "__main__":
    main()

"""`causegraph ship`: logs of this machine to a server."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import typer

from cli.screen import make_console, print_json, styled

if TYPE_CHECKING:
    from ingest.shipping.config import ShipConfig
    from ingest.shipping.shipper import Shipper
    from ingest.shipping.sink import Answer, Sink
    from ingest.shipping.state import State

logger = logging.getLogger(__name__)

_SCREEN_SECONDS = 0.5
_LOG_SECONDS = 60.0
_USUAL_LOG_FIELDS = frozenset((*vars(logging.makeLogRecord({})), "message"))


class Start(StrEnum):
    """Where a file that was never read begins."""

    beginning = "beginning"
    end = "end"


def ship(
    files: Annotated[
        list[str] | None, typer.Argument(help="Files or patterns to follow, beside those of --config; - is a pipe.")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="The configuration, ship.yaml: see docs/ship.md.")] = None,
    server: Annotated[str, typer.Option(help="Address of the server. Default: the one on this machine.")] = "",
    key_file: Annotated[str, typer.Option(help="File that holds an API key with the role ingest.")] = "",
    environment: Annotated[str, typer.Option("--environment", "-e", help="Environment of the lines.")] = "",
    service: Annotated[str, typer.Option(help="Service of FILES. Default: the file's name without its ending.")] = "",
    zone: Annotated[
        str, typer.Option(help="Zone of times in FILES that name none, such as Europe/Berlin, or local. Default: UTC.")
    ] = "",
    start: Annotated[
        Start | None, typer.Option(help="Where FILES that were never read begin. Default: end; with --once beginning.")
    ] = None,
    state: Annotated[
        Path | None, typer.Option(help="Folder of cursors and of what waits. Default: ~/.local/state/causegraph/ship.")
    ] = None,
    once: Annotated[
        bool, typer.Option("--once", help="Ship what is there and end; 1 if not all was delivered.")
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be sent, from the beginning of everything; send nothing."),
    ] = False,
    status: Annotated[bool, typer.Option("--status", help="Print how far this state folder's shipper is.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the status, or the counts of --once, as JSON.")
    ] = False,
) -> None:
    """Ship logs from this machine: files, container logs, the journal, standard input.

    Follows files through rotation and truncation, joins stack traces, filters by rules, and delivers each line once:
    what was read is kept in the state folder until the server has acknowledged it, over restarts and crashes of both.

    `causegraph ship /var/log/app/*.log --service app` follows files; `causegraph ship --config ship.yaml` what is listed
    there; `... | causegraph ship - --service job --once` a pipe.
    """
    from ingest.shipping.config import ShipConfig, load_config

    given = load_config(config) if config else ShipConfig()
    folder = _state_folder(state, given)
    if status:
        _print_status(folder, as_json)
        return
    given = _with_flags(given, files or [], server, key_file, environment, service, zone, start, once or dry_run)
    _set_up_logging()
    if not asyncio.run(_ship(given, folder, once=once, dry_run=dry_run, as_json=as_json)):
        raise typer.Exit(1)


def _with_flags(
    given: ShipConfig,
    files: list[str],
    server: str,
    key_file: str,
    environment: str,
    service: str,
    zone: str,
    start: Start | None,
    reads_all: bool,
) -> ShipConfig:
    from ingest.shipping.config import FilesConfig, SourceConfig, StdinConfig

    sources: list[SourceConfig] = list(given.sources)
    paths = [os.path.abspath(path) for path in files if path != "-"]  # noqa: PTH100 - a pattern, kept as it is
    if paths:
        from_beginning = start is Start.beginning
        files_start: Literal["beginning", "end"] = "beginning" if from_beginning else "end"
        sources.append(FilesConfig(name="arguments", paths=paths, service=service, zone=zone, start=files_start))
    if "-" in files:
        sources.append(StdinConfig(service=service, zone=zone))
    if reads_all and start is not Start.end:
        sources = [
            each if isinstance(each, StdinConfig) else msgspec.structs.replace(each, start="beginning")
            for each in sources
        ]
    return msgspec.structs.replace(
        given,
        sources=sources,
        server=server or given.server,
        key_file=key_file or given.key_file,
        environment=environment or given.environment,
    )


def _state_folder(state: Path | None, given: ShipConfig) -> Path:
    named = state or given.state or os.environ.get("STATE_DIRECTORY")  # systemd's
    if named:
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "causegraph" / "ship"


async def _ship(given: ShipConfig, folder: Path, *, once: bool, dry_run: bool, as_json: bool) -> bool:
    from ingest.shipping.config import build_filter, build_sources
    from ingest.shipping.shipper import Shipper, ShipperOptions
    from ingest.shipping.state import State

    with ExitStack() as closing:
        if dry_run:
            folder = Path(closing.enter_context(tempfile.TemporaryDirectory(prefix="causegraph-ship-")))
        sources, rules = build_sources(given, once=once or dry_run), build_filter(given)
        sink: Sink = _PrintSink() if dry_run else _http_sink(given)
        state = State(folder)
        closing.callback(state.close)
        batch = given.batch
        options = ShipperOptions(batch.bytes, batch.lines, batch.seconds, batch.outbox_bytes, node=given.node)
        shipper = Shipper(state, sources, rules, sink, options)
        _stop_on_signals(shipper)
        before = state.counters()
        telling = asyncio.create_task(_tell(shipper, state, quiet=dry_run))
        try:
            done = await shipper.run(once=once or dry_run)
        finally:
            telling.cancel()
            await sink.close()
        _print_end(state, before, shipper, done, as_json=as_json, once=once or dry_run)
        return done or not once


def _http_sink(given: ShipConfig) -> Sink:
    from domain.errors import SettingsError
    from ingest.shipping.sink import HttpSink

    server, key = given.server, _read_key(given.key_file)
    if not server or not key:
        # Only now, since it is much to load: on nodes the address and a file with the key are given.
        from cli.server import find_server, read_local_key
        from domain.settings import load_settings

        settings = load_settings()
        local = None if server else find_server(settings.data_dir)
        if not server and local is None:
            raise SettingsError("No server is named and none runs on this machine: use --server, or `causegraph up`.")
        server = server or (local.address if local else "")
        key = key or settings.api_key or read_local_key(settings.data_dir)
    return HttpSink(server, key, given.environment, given.ca_file)


def _read_key(key_file: str) -> str:
    from domain.errors import SettingsError

    path = Path(key_file) if key_file else Path(os.environ.get("CREDENTIALS_DIRECTORY", "/nonexistent")) / "api-key"
    if not key_file and not path.exists():
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise SettingsError(f"The API key cannot be read from {path}: {exc}") from exc


class _PrintSink:
    """Prints what it is sent, an event a line."""

    async def send(self, body: bytes, key: str) -> Answer:
        from ingest.shipping.delivery import split_records
        from ingest.shipping.sink import Answer

        records = split_records(body)
        for record in records:
            sys.stdout.write(json.dumps(json.loads(record), ensure_ascii=True) + "\n")
        sys.stdout.flush()
        return Answer("taken", accepted=len(records))

    async def close(self) -> None:
        return None


def _stop_on_signals(shipper: Shipper) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, shipper.stop)


async def _tell(shipper: Shipper, state: State, *, quiet: bool) -> None:
    """Show progress: on a terminal as one line that changes, else as a log line a minute."""
    if not quiet and sys.stderr.isatty():
        with make_console(stderr=True).status(styled("starting", "dim")) as line:
            while True:
                line.update(styled(_progress(shipper, state), "dim"))
                await asyncio.sleep(_SCREEN_SECONDS)
    while not quiet:
        await asyncio.sleep(_LOG_SECONDS)
        waiting = state.waiting()
        facts = {"read": shipper.read_lines, "waiting_lines": waiting.lines, "waiting_bytes": waiting.size}
        logger.info("shipping", extra=facts | {"trouble": shipper.delivery.trouble})


def _progress(shipper: Shipper, state: State) -> str:
    waiting = state.waiting()
    told = f"{shipper.read_lines} lines read, {waiting.lines} wait for the server"
    return f"{told}; trouble: {shipper.delivery.trouble}" if shipper.delivery.trouble else told


def _print_end(
    state: State, before: dict[str, int], shipper: Shipper, done: bool, *, as_json: bool, once: bool
) -> None:
    after = state.counters()
    names = ("accepted", "duplicate", "rejected", "set_aside")
    counts = {name: after.get(name, 0) - before.get(name, 0) for name in names}
    dropped = sum(n - before.get(name, 0) for name, n in after.items() if name.startswith(("dropped\n", "counted\n")))
    counts |= {"filtered": dropped, "waiting": state.waiting().lines}
    if as_json:
        print_json(counts)
        return
    if not once and not sys.stderr.isatty():
        logger.info("stopped", extra=counts)
        return
    console = make_console(stderr=True)
    console.print(styled(", ".join(f"{value} {name.replace('_', ' ')}" for name, value in counts.items())))
    if not done:
        console.print(styled(f"Not everything was delivered: {shipper.delivery.trouble}", "yellow"), soft_wrap=True)
        console.print(styled("It waits in the state folder and goes out with the next run.", "dim"), soft_wrap=True)


def _print_status(folder: Path, as_json: bool) -> None:
    from ingest.shipping.status import read_status, seconds_since

    found = read_status(folder)
    if as_json:
        print_json(asdict(found))
        return
    console = make_console()
    sent = f"last delivery {seconds_since(found.sent_us):.0f} s ago" if found.sent_us else "nothing was delivered yet"
    console.print(styled(f"{'running' if found.is_running else 'not running'}, {sent}", "bold"), soft_wrap=True)
    if found.trouble:
        console.print(styled(f"trouble: {found.trouble}", "yellow"), soft_wrap=True)
    console.print(
        styled(f"waiting: {found.waiting_lines} lines in {found.waiting_batches} batches, {found.waiting_bytes} bytes")
    )
    for name, value in found.counters.items():
        console.print(styled(f"{name.replace('_', ' ')}: {value}"), soft_wrap=True)
    for file in sorted(found.files, key=lambda file: -file.behind):
        behind = f"{file.behind} bytes behind" if file.behind >= 0 else "not there any more"
        console.print(styled(f"{file.path}: read to {file.offset}, {behind}"), soft_wrap=True)


class _JsonFormatter(logging.Formatter):
    """A log line as one JSON object, for whatever collects the shipper's own log."""

    def format(self, record: logging.LogRecord) -> str:
        facts = {name: value for name, value in vars(record).items() if name not in _USUAL_LOG_FIELDS}
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(record.created))
        told = {"timestamp": moment, "level": record.levelname, "message": record.getMessage(), **facts}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=str)


def _set_up_logging() -> None:
    if sys.stderr.isatty():
        return
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_JsonFormatter())
    logging.getLogger("cli.commands.ship").setLevel(logging.INFO)

"""The demo: a small real shop is started, broken, and explained from what it sent. Nothing of it is staged."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import typer

from cli.answer import print_answer, print_evidence_line
from cli.commands.ask import INCONCLUSIVE, follow
from cli.screen import make_console, styled
from cli.server import ServerState, find_server, make_login_link, start_server, stop_server
from domain.errors import CausegraphError
from domain.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.console import Console

    from cli.backend import Backend
    from examples.shop.shop import Shop

CUSTOMERS_PER_SECOND = 16.0
_SETTLE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """What one demo does; times in seconds."""

    fault: str
    warmup: float
    broken: float
    seed: int
    question: str
    keep: bool


@dataclass(frozen=True, slots=True)
class Counts:
    """What the customers saw so far."""

    ok: int
    failed: int


def list_faults() -> None:
    """Print the faults that can be injected."""
    faults, _ = import_shop()
    console = make_console()
    for fault in faults.values():
        console.print(styled(f"{fault.name:16} ", "bold") + styled(fault.description))


def run_demo(plan: DemoPlan) -> None:
    """Run a demo from beginning to end; whatever happens, the shop is stopped."""
    faults, shop_class = import_shop()
    if plan.fault not in faults:
        raise CausegraphError(f"There is no fault {plan.fault!r}: `causegraph demo --fault list` lists them.")
    from cli.stack import stack_status, stop_stack

    settings, console = load_settings(), make_console()
    had_stack, had_server = stack_status(settings.data_dir).running, find_server(settings.data_dir) is not None
    try:
        with sigterm_as_interrupt():
            state, key = start_servers(settings, console)
            environment = asyncio.run(new_environment(settings))
            _index_shop(settings, console)
            folder = Path(tempfile.mkdtemp(prefix="causegraph-shop-"))
            try:
                shop = shop_class.watched_by(
                    state.address, folder, headers={"X-API-Key": key}, environment=environment, seed=plan.seed
                )
                body = _play(plan, shop, environment, faults[plan.fault].description, settings, console)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            if plan.keep:
                _print_next(console, body, environment, make_login_link(state, key))
    finally:
        if not plan.keep:
            stop_what_was_started(settings, console, had_server, had_stack, stop_stack)
    if body["verdict"]["outcome"] == "INCONCLUSIVE":
        raise typer.Exit(INCONCLUSIVE)


def import_shop() -> tuple[Any, Any]:
    try:
        from examples.shop.faults import FAULTS
        from examples.shop.shop import Shop
    except ImportError as exc:
        raise CausegraphError(
            f"The example shop is not here ({exc}): run the demo from a checkout of the repository, after `uv sync`."
        ) from exc
    return FAULTS, Shop


def start_servers(settings: Settings, console: Console) -> tuple[ServerState, str]:
    from cli.services import open_services

    chapter(console, "The private servers", "MariaDB and FalkorDB, and the API that the shop sends its telemetry to")

    async def prepare() -> tuple[str, str, str]:
        async with open_services(settings, lambda line: console.print(styled(f"  {line}", "dim"))) as services:
            key = await services.keys.ensure_local_key(settings.data_dir)
            return await services.database.ping(), await services.graph.ping(), key

    began = time.monotonic()
    with console.status(styled("starting the local stack", "dim")):
        mariadb, falkordb, key = asyncio.run(prepare())
        state = start_server(settings, lambda line: None)
    took = time.monotonic() - began
    console.print(
        styled(f"  MariaDB {mariadb}, FalkorDB {falkordb}, API at {state.address} ({took:.1f} s)"), soft_wrap=True
    )
    return state, settings.api_key or key


def _index_shop(settings: Settings, console: Console) -> None:
    """Index the shop's code, so that the answer can name lines of it. The demo goes on without."""
    from cli.code_index import open_index
    from examples.shop import layout
    from indexer.roots import make_root
    from storage.code import CodeService

    async def index() -> str:
        root = make_root(str(Path(layout.__file__).parent))
        services = [CodeService(root.id, "", name) for name in layout.SERVICES]
        async with open_index() as opened:
            report = await opened.add(root, services, lambda step, done, total: None)
        return f"  {report.root.files} files of its code are indexed"

    try:
        with console.status(styled("indexing the shop's code", "dim")):
            console.print(styled(asyncio.run(index()), "dim"))
    except CausegraphError as exc:
        console.print(styled(f"  its code is not indexed: {exc}", "yellow"), soft_wrap=True)


async def new_environment(settings: Settings) -> str:
    from cli.backend import open_backend

    async with open_backend(settings, lambda line: None) as backend:
        known = set((await backend.info())["environments"])
    now = datetime.now(UTC)
    name = f"shop-{now:%Y%m%d-%H%M}"
    return name if name not in known else f"{name}{now:%S}"


def _play(
    plan: DemoPlan, shop: Shop, environment: str, description: str, settings: Settings, console: Console
) -> dict[str, Any]:
    chapter(console, "A shop at work", f"ten services and their customers, as environment {environment}")
    with console.status(styled("starting the shop", "dim")):
        shop.start()
    try:
        shop.load(CUSTOMERS_PER_SECOND)
        watch(shop, plan.warmup, "working", console)
        chapter(console, f"Something happens: {plan.fault}", description)
        with console.status(styled("injecting the fault", "dim")):
            moment = shop.inject(plan.fault)
        console.print(styled(f"  in force since {moment:%H:%M:%S} UTC"))
        watch(shop, plan.broken, "broken" if plan.fault != "none" else "still working", console)
        # The last spans are on their way: the shop's exporters send them every second or so.
        time.sleep(_SETTLE_SECONDS)
        chapter(console, f'The question: "{plan.question}"', "asked of the records alone; the demo tells it nothing")
        return asyncio.run(_explain(plan, environment, settings, console))
    finally:
        with console.status(styled("stopping the shop", "dim")):
            shop.stop()


async def _explain(plan: DemoPlan, environment: str, settings: Settings, console: Console) -> dict[str, Any]:
    from cli.backend import Asked, open_backend

    async with open_backend(settings, lambda line: None, investigate=True) as backend:
        body = await follow(backend, Asked(plan.question, environment), console)
        trace = await backend.trace(body["trace_id"]) if body["trace_id"] else {}
        print_answer(console, body, str(trace.get("scorecard", "")))
        await _open_evidence(backend, body, environment, console)
    return body


async def _open_evidence(backend: Backend, body: dict[str, Any], environment: str, console: Console) -> None:
    cited = list(dict.fromkeys(found for claim in body["claims"] for found in claim["evidence"]))
    if not cited:
        return
    chapter(console, "The evidence", f"each of the {len(cited)} records that the answer cites, read once more")
    for found in cited:
        print_evidence_line(console, await backend.evidence(found, environment))


def watch(shop: Shop, seconds: float, word: str, console: Console) -> None:
    """Let the time pass, and show how the customers fare."""
    begin, last = _count(shop), _count(shop)
    end, told = time.monotonic() + seconds, time.monotonic()
    with console.status("") as status:
        while (left := end - time.monotonic()) > 0:
            time.sleep(min(1.0, left))
            now = _count(shop)
            line = f"{word}: {now.ok - last.ok:3d} requests ok, {now.failed - last.failed:3d} failed per second"
            status.update(styled(f"{line}, {max(0.0, end - time.monotonic()):.0f} s to go"))
            if not console.is_terminal and time.monotonic() - told >= 5:
                console.print(styled(f"  {line}"))
                told = time.monotonic()
            last = now
    after = _count(shop)
    ok, failed = after.ok - begin.ok, after.failed - begin.failed
    console.print(
        styled(f"  {word} for {seconds:.0f} s: {ok} requests ok, ")
        + styled(f"{failed} failed", "red" if failed else "")
    )


def _count(shop: Shop) -> Counts:
    routes = shop.stats().values()
    return Counts(sum(route.ok for route in routes), sum(route.failed for route in routes))


def _print_next(console: Console, body: dict[str, Any], environment: str, link: str) -> None:
    claims = [found for claim in body["claims"] for found in claim["evidence"]]
    chapter(console, "What to try next", "the servers and the pages go on running; `causegraph down` stops them")
    for line in (
        f'.venv/bin/causegraph ask "what is wrong with checkout?" --environment {environment}',
        *([f".venv/bin/causegraph evidence {claims[0]}"] if claims else []),
        f".venv/bin/causegraph trace show {body['trace_id']}",
        f".venv/bin/causegraph incidents {body['incident_id']}",
        ".venv/bin/causegraph demo --fault list",
    ):
        console.print(styled(f"  {line}", "cyan"), soft_wrap=True)
    console.print()
    console.print(styled("  In a browser (logs in once, within 15 minutes; `causegraph status` makes a new link):"))
    console.print(styled(f"  {link}", "cyan"), soft_wrap=True)


def stop_what_was_started(
    settings: Settings, console: Console, had_server: bool, had_stack: bool, stop_stack: Any
) -> None:
    with console.status(styled("stopping what the demo started", "dim")):
        if not had_server:
            stop_server(settings.data_dir, lambda line: None)
        if not had_stack:
            stop_stack(settings.data_dir)


def chapter(console: Console, title: str, note: str) -> None:
    console.print()
    console.print(styled(title, "bold reverse"))
    console.print(styled(f"  {note}", "dim"))


@contextlib.contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """End in order when told to end, so that no process of the shop is left behind."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

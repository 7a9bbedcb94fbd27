"""`causegraph serve`: the API and the web pages, in the foreground."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.screen import make_console, styled
from domain.addresses import Address, parse_address
from domain.errors import SettingsError

if TYPE_CHECKING:
    from agents.services import Services
    from domain.settings import Settings

_COLLECT_AFTER = 20_000  # objects that are still there; the default is some hundreds


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (CAUSEGRAPH_HOST).")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one (CAUSEGRAPH_PORT).")
    ] = None,
) -> None:
    """Serve the API and the web pages until Ctrl-C.

    Starts the private servers if need be. On an address that other machines can reach, it refuses to start before a
    key was made on purpose with `causegraph keys create`.
    """
    from domain.settings import load_settings

    asyncio.run(_serve(load_settings(host=host, port=port)))


async def _serve(settings: Settings) -> None:
    from api.listeners import listening
    from cli.code_sync import syncing_code
    from cli.services import open_services, patiently, reviving_stack

    notes = make_console(stderr=True)
    listener = _listen(settings.host, settings.port)
    try:
        async with (
            open_services(settings, lambda line: notes.print(styled(line, "dim"))) as services,
            reviving_stack(settings),
        ):
            await patiently(lambda: _check_keys(settings, services))
            await patiently(lambda: services.keys.ensure_local_key(settings.data_dir))
            async with listening(services), syncing_code(settings, services.database):
                await _run(settings, services, listener)
    finally:
        listener.close()


async def _run(settings: Settings, services: Services, listener: socket.socket) -> None:
    import uvicorn

    from api.app import build_app
    from cli.server import ServerState, announce, withdraw

    instance = secrets.token_hex(8)
    address = _address(listener)
    state = ServerState(address, os.getpid(), instance, datetime.now(UTC).isoformat(timespec="seconds"))
    announced = False

    class Server(uvicorn.Server):
        """A server that says when it listens, and whose signals end it in order instead of being raised again."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            nonlocal announced
            await super().startup(sockets)
            if self.started:
                _spare_the_collector()
                # Asks another server over HTTP whether it is alive, which must not hold up this one.
                announced = await asyncio.to_thread(announce, settings.data_dir, state)
                _greet(services, address)

        @contextmanager
        def capture_signals(self) -> Iterator[None]:
            loop = asyncio.get_running_loop()
            for number in (signal.SIGINT, signal.SIGTERM):
                loop.add_signal_handler(number, self.handle_exit, number, None)
            yield

    app = build_app(services, instance)
    config = uvicorn.Config(
        app, log_config=None, access_log=False, proxy_headers=False, server_header=False, timeout_graceful_shutdown=10
    )
    try:
        await Server(config).serve(sockets=[listener])
    finally:
        if announced:
            withdraw(settings.data_dir, state)


def _spare_the_collector() -> None:
    """Let the garbage collector pass over what stays for good, and come seldom: records make no cycles, and are many."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(_COLLECT_AFTER, 20, 20)


def _greet(services: Services, address: str) -> None:
    console, settings = make_console(), services.settings
    console.print(styled("Causegraph listens on ") + styled(address, "bold"), soft_wrap=True)
    for source in services.sources.opened:
        console.print(styled(f"{source.name}: {source.problem or source.address}", "dim"), soft_wrap=True)
    console.print(styled(f"The API key is in {settings.data_dir / 'api-key'}", "dim"), soft_wrap=True)
    console.print(styled("`causegraph status` prints a link that logs a browser in", "dim"), soft_wrap=True)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        # With its protocol: asyncio looks at that before it sends what is written at once (TCP_NODELAY). Without, every
        # second reply on a connection waits 40 ms for the acknowledgement of the one before.
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
    except OSError as exc:
        raise SettingsError(
            f"Port {port} of {host} cannot be listened on: {exc.strerror or exc}. "
            "`causegraph serve --port 0` picks a free one."
        ) from exc
    listener.setblocking(False)
    return listener


def _address(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it is what was asked for, and named here as what can be opened
        host = "127.0.0.1" if host == "0.0.0.0" else "::1"  # noqa: S104
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _check_keys(settings: Settings, services: Services) -> None:
    grpc = parse_address("grpc_listen", settings.grpc_listen)
    reachable = [place for place in (Address(settings.host, settings.port), grpc) if place and not place.is_loopback]
    if not reachable:
        return
    keys = await services.keys.list()
    if not any(key.revoked_us is None and key.name != "local" for key in keys):
        raise SettingsError(
            f"Other machines can reach {reachable[0]}, and no API key was made for them yet: run "
            "`causegraph keys create --name ... --role ask` (and one with the role ingest) first."
        )

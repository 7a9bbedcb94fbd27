"""`causegraph mcp`: tools for an assistant that speaks the Model Context Protocol, over standard input and output."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx


def mcp() -> None:
    """Give an assistant its tools over standard input and output (Model Context Protocol).

    Put `causegraph mcp` into the assistant's list of MCP servers. It asks the server of the data folder and starts one
    in the background if there is none. Over HTTP the same tools are at `/mcp` of that server, for callers with an API key.
    """
    import importlib.util

    from cli.screen import make_console, styled
    from cli.server import read_local_key, start_server
    from domain.errors import SettingsError
    from domain.settings import load_settings

    if importlib.util.find_spec("mcp") is None:
        raise SettingsError("The protocol's library is missing: install `causegraph[mcp]`.")
    from api.mcp import build_mcp

    settings = load_settings()
    notes = make_console(stderr=True)
    address = start_server(settings, lambda line: notes.print(styled(line, "dim"))).address
    key = settings.api_key or read_local_key(settings.data_dir)

    @asynccontextmanager
    async def connect(headers: Mapping[str, str]) -> AsyncIterator[httpx.AsyncClient]:
        import httpx

        async with httpx.AsyncClient(base_url=address, headers={"X-API-Key": key}, timeout=300.0) as client:
            yield client

    build_mcp(connect).run("stdio")

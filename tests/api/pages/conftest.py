"""A real headless browser on the whole application, logged in. Skipped, with the reason, where there is no Chromium."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvicorn
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from agents.services import Services
from api.app import build_app
from domain.errors import StackError
from tools.chromium import FLAGS, provide_chromium

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
PATIENCE_MS = 60_000
expect.set_options(timeout=PATIENCE_MS)


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    """The browser of the session."""
    try:
        found = await asyncio.to_thread(provide_chromium)
    except StackError as exc:
        pytest.skip(str(exc))
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(
            executable_path=found.path, args=list(FLAGS), env={**os.environ, **found.environ}
        )
        yield opened
        await opened.close()


@pytest.fixture(scope="module")
async def address(services: Services) -> AsyncIterator[str]:
    """The address of the application, served for real."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(build_app(services), log_level="warning", lifespan="off", ws="none")
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        with contextlib.ExitStack() as stack:
            stack.callback(setattr, server, "should_exit", True)
            running = asyncio.create_task(server.serve(sockets=[listening]))
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        await running


@dataclass
class Tab:
    """A page of the browser, and what went wrong on it so far."""

    page: Page
    address: str
    trouble: list[str] = field(default_factory=list)

    async def open(self, path: str) -> Page:
        """Open a page of the application, and wait until its script is there."""
        await self.page.goto(f"{self.address}{path}")
        await self.page.wait_for_selector("html[data-script=ready]")
        return self.page

    async def check_access(self, *rules: str) -> list[str]:
        """Return what axe-core finds on the open page, by all its rules or by some: missing labels, contrast ..."""
        await self.page.evaluate(AXE.read_text(encoding="utf-8"))
        options = {"resultTypes": ["violations"]} | ({"runOnly": list(rules)} if rules else {})
        run = "(options) => axe.run(options).then((found) => found.violations)"
        found: list[dict[str, Any]] = await self.page.evaluate(run, options)
        return [f"{one['id']}: {node['html'][:120]} {node['failureSummary']}" for one in found for node in one["nodes"]]


async def _log_in(context: BrowserContext, address: str, key: str) -> None:
    async with httpx.AsyncClient(base_url=address, headers={"X-API-Key": key}) as client:
        link = (await client.post("/session-links")).json()["url"]
    page = await context.new_page()
    await page.goto(link)
    await page.wait_for_url(f"{address}/")
    await page.close()


@pytest.fixture(params=["light"])
def scheme(request: pytest.FixtureRequest) -> Any:
    """The colours that the person of a test prefers."""
    return request.param


@pytest.fixture
async def tab(chromium: Browser, address: str, admin_key: str, scheme: Any) -> AsyncIterator[Tab]:
    """A tab of somebody who is logged in; the test fails if anything was wrong on its console."""
    context = await chromium.new_context(color_scheme=scheme, viewport={"width": 1360, "height": 860})
    context.set_default_timeout(PATIENCE_MS)
    await _log_in(context, address, admin_key)
    tab = Tab(await context.new_page(), address)
    tab.page.on("console", lambda said: tab.trouble.append(said.text) if said.type in ("error", "warning") else None)
    tab.page.on("pageerror", lambda error: tab.trouble.append(str(error)))
    tab.page.on("dialog", lambda dialog: tab.trouble.append(f"dialog {dialog.message}"))
    yield tab
    await context.close()
    assert tab.trouble == []

"""The application: every way in over HTTP, on one set of services."""

from __future__ import annotations

import asyncio
import importlib.util
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from fastapi import Depends, FastAPI
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from agents.plain import error_body, program_version
from agents.services import Services
from api.agent_traces import agent_traces_router
from api.alerts import alerts_router
from api.approvals import approvals_router
from api.auth import Gate
from api.chat import Desk, chat_router
from api.chats import Chats
from api.code import code_router
from api.completions import completions_router
from api.dead_letters import dead_letters_router
from api.errors import install_error_handlers
from api.incidents import incidents_router
from api.ingest import ingest_router
from api.intake import intake_router
from api.logs import logs_router
from api.pages import Pages, is_page, pages_router
from api.quality import quality_router
from api.records import records_router
from api.review import cases_router, policies_router
from api.runbooks import runbooks_router
from api.search import search_router
from api.threads import threads_router
from api.topology import topology_router
from api.traces import traces_router
from api.webhooks import webhooks_router
from api.workflows import workflows_router
from domain.errors import PayloadTooLarge
from ingest.alert_sources import AlertSources
from ingest.https_fetch import fetch_https

if TYPE_CHECKING:
    from api.mcp import McpMount

_BODY_BYTES = 256 * 1024
_TELEMETRY = (
    "/v1/logs",
    "/v1/traces",
    "/v1/metrics",
    "/ingest/",
    "/evals",
    "/api/v1/",
    "/api/v2/",
)  # where bodies have the larger bound of ingest
# No script and no style but our own files: telemetry that found a way into a page could still do nothing there.
_HEADERS = {
    "content-security-policy": "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_RAW_HEADERS = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]


def build_app(services: Services, instance: str = "") -> FastAPI:
    """Build the application. While it runs, it also keeps the topology graph up to date with what is
    ingested, and notices symptoms."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        answering = mcp.running() if mcp else nullcontext()
        async with services.projecting(), services.watching(), chats.running(), answering:
            stop = asyncio.Event()
            runs = asyncio.create_task(desk.runs.run(stop))
            try:
                yield
            finally:
                stop.set()
                await runs

    app = FastAPI(
        title="Causegraph", version=program_version(), lifespan=lifespan, docs_url=None, redoc_url=None
    )  # the documentation pages load scripts from elsewhere; /openapi.json is there
    gate = Gate(services.keys, services.settings.data_dir)
    desk = Desk(services)
    chats = Chats(services, desk, services.remedy if services.settings.workflow_dir else None)
    mcp = _mount_mcp(app, gate)
    pages = Pages(services, gate, desk)
    _ = services.investigator  # imported now, so that the first question does not wait for it

    async def tell_projection() -> AsyncIterator[None]:
        yield
        services.projection.notify()

    for build in (ingest_router, intake_router):
        app.include_router(build(services.ingest, gate.require), dependencies=[Depends(tell_projection)])
    app.include_router(agent_traces_router(services.ingest, services.agent_intake, gate.require))
    app.include_router(
        webhooks_router(services.ingest, gate.require, services.settings, fetch_https, services.blobs),
        dependencies=[Depends(tell_projection)],
    )
    app.include_router(alerts_router(services.ingest, gate, AlertSources(services.settings), services.blobs))
    app.include_router(chat_router(desk, gate))
    app.include_router(threads_router(services, gate))
    app.include_router(completions_router(services, desk, gate))
    app.include_router(records_router(services, gate, instance or secrets.token_hex(8)))
    app.include_router(traces_router(services, gate))
    app.include_router(incidents_router(services, gate))
    app.include_router(chats.router())
    app.include_router(topology_router(services, gate))
    app.include_router(logs_router(services, gate))
    app.include_router(search_router(services, gate))
    app.include_router(dead_letters_router(services, gate))
    app.include_router(code_router(services, gate))
    app.include_router(runbooks_router(services, gate))
    app.include_router(workflows_router(services, gate))
    app.include_router(approvals_router(services, gate))
    app.include_router(policies_router(services, gate))
    app.include_router(cases_router(services, gate))
    app.include_router(quality_router(services, gate))
    app.include_router(pages_router(pages))
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    install_error_handlers(app, is_page, pages.render_error, _HEADERS)
    pages.install_login_redirect(app)
    app.add_middleware(_BoundBodies)
    app.add_middleware(_SafeHeaders)
    return app


def _mount_mcp(app: FastAPI, gate: Gate) -> McpMount | None:
    """Answer assistants at `/mcp`, where the protocol's library is installed."""
    if importlib.util.find_spec("mcp") is None:
        return None
    from api.mcp import McpMount

    mount = McpMount(app, gate)
    app.router.routes.append(Route("/mcp", mount))  # a mount would answer at `/mcp/` alone
    return mount


class _SafeHeaders:
    """Adds the headers that tell browsers to be careful."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                own = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(pair for pair in _RAW_HEADERS if pair[0] not in own)]
            await send(message)

        await self._app(scope, receive, send_with_headers if scope["type"] == "http" else send)


class _BoundBodies:
    """Reads the small bodies that are expected where no telemetry is taken in (ingest has a bound of its own)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith(_TELEMETRY):
            await self._app(scope, receive, send)
            return
        messages: list[Message] = []
        size = 0
        while not messages or messages[-1].get("more_body"):
            messages.append(await receive())
            size += len(messages[-1].get("body", b""))
            if size > _BODY_BYTES:
                error = PayloadTooLarge(f"The body is larger than the {_BODY_BYTES} bytes that are taken here.")
                await JSONResponse(error_body(error), 413, {"Connection": "close"})(scope, receive, send)
                return
        waiting = iter(messages)

        async def receive_again() -> Message:
            return next(waiting, None) or await receive()

        await self._app(scope, receive_again, send)

"""Slack, put together: the app that takes things in, the worker that answers, and the socket where there is one."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request, Response

from agents.chat_surface import Approvals
from agents.services import Services
from api.chat import Desk
from api.chat_desk import ChatDesk, queue_of
from domain.errors import SettingsError

if TYPE_CHECKING:
    from slack_bolt.async_app import AsyncApp

    from api.slack_surface import SlackSurface

logger = logging.getLogger(__name__)


class Slack:
    """The app of one server. Raises SettingsError where its settings or its library are missing."""

    def __init__(self, services: Services, desk: Desk, approvals: Approvals | None) -> None:
        settings = services.settings
        if not (settings.slack_signing_secret or settings.slack_app_token):
            raise SettingsError(
                "CAUSEGRAPH_SLACK_BOT_TOKEN is set: Slack also needs CAUSEGRAPH_SLACK_SIGNING_SECRET (HTTP) or "
                "CAUSEGRAPH_SLACK_APP_TOKEN (socket mode)."
            )
        try:
            from api.slack_app import build_slack_app
            from api.slack_surface import SlackSurface, make_client
        except ImportError as exc:
            raise SettingsError(
                "CAUSEGRAPH_SLACK_BOT_TOKEN needs the extra `slack`: pip install 'causegraph[slack]'."
            ) from exc
        client = make_client(settings.slack_bot_token, settings.slack_api_url)
        self._settings = settings
        self.surface: SlackSurface = SlackSurface(client)
        self.app: AsyncApp = build_slack_app(settings, client, queue_of(services, self.surface.name))
        self._desk = ChatDesk(
            services,
            desk,
            self.surface,
            approvals,
            roles=settings.slack_roles,
            environments=settings.slack_environments,
        )

    def router(self) -> APIRouter:
        """Return the address for events, commands and clicks; none in socket mode alone."""
        router = APIRouter(tags=["slack"])
        if not self._settings.slack_signing_secret:
            return router
        from slack_bolt.adapter.starlette.async_handler import AsyncSlackRequestHandler

        handler = AsyncSlackRequestHandler(self.app)

        @router.post("/slack/events")
        async def events(request: Request) -> Response:
            """Take what Slack sends; needs Slack's signature, and no key."""
            try:
                (await request.body()).decode()
            except UnicodeDecodeError:
                return Response(status_code=400)
            return await handler.handle(request)

        return router

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer what comes in, and keep the socket open in socket mode, for as long as the block lasts."""
        handler = await self._connect()
        try:
            async with self._desk.answering():
                yield
        finally:
            if handler is not None:
                await handler.close_async()

    async def _connect(self) -> Any:
        if not self._settings.slack_app_token:
            return None
        from slack_bolt.adapter.socket_mode.aiohttp import AsyncSocketModeHandler

        handler = AsyncSocketModeHandler(self.app, self._settings.slack_app_token)
        with suppress(OSError):  # it goes on trying by itself
            await handler.connect_async()  # type: ignore[no-untyped-call]  # it says no types
        return handler

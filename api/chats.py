"""Every chat of one server: Slack both ways, and what only sends; put together from the settings."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext

from fastapi import APIRouter

from agents.announce import Announcer
from agents.chat_hooks import read_hooks
from agents.chat_surface import Approvals, ChatSurface, Place
from agents.services import Services
from api.chat import Desk
from api.slack import Slack

_STOP_SECONDS = 5.0


class Chats:
    """The chats that the settings name; none, where they name none. Raises SettingsError."""

    def __init__(self, services: Services, desk: Desk, approvals: Approvals | None = None) -> None:
        settings = services.settings
        self.slack = Slack(services, desk, approvals) if settings.slack_bot_token else None
        told: list[tuple[ChatSurface, Place]] = [(hook, Place()) for hook in read_hooks(settings.chat_webhooks)]
        surfaces = [surface for surface, _ in told]
        if self.slack is not None:
            surfaces.insert(0, self.slack.surface)
            if settings.slack_channel:
                told.insert(0, (self.slack.surface, Place(settings.slack_channel)))
        self.announcer = Announcer(services, told, surfaces) if surfaces else None

    def router(self) -> APIRouter:
        """Return the addresses that chats send to."""
        return self.slack.router() if self.slack is not None else APIRouter()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell of incidents and answer, for as long as the block lasts."""
        stop = asyncio.Event()
        telling = asyncio.create_task(self.announcer.run(stop)) if self.announcer is not None else None
        try:
            async with self.slack.running() if self.slack is not None else nullcontext():
                yield
        finally:
            stop.set()
            if telling is not None:
                await asyncio.wait({telling}, timeout=_STOP_SECONDS)
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)

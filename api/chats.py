"""Every chat of one server, put together from the settings: those that both ask and are told, and those that are only told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager

from fastapi import APIRouter

from agents.announce import Announcer
from agents.chat_hooks import read_hooks
from agents.chat_surface import Approvals, ChatSurface, Place
from agents.services import Services
from api.chat import Desk
from api.chat_desk import ChatDesk, pairs_of, queue_of
from api.chat_doors import Door, chat_doors_router
from api.json_chat import JsonChat, JsonDoor
from api.mattermost import Mattermost, MattermostDoor
from api.slack import Slack
from api.teams import Teams, TeamsDoor
from domain.errors import SettingsError
from domain.settings import Settings

_STOP_SECONDS = 5.0


class Chats:
    """The chats that the settings name; none, where they name none. Raises SettingsError."""

    def __init__(self, services: Services, desk: Desk, approvals: Approvals | None = None) -> None:
        settings = services.settings
        self.slack = Slack(services, desk, approvals) if settings.slack_bot_token else None
        self._doors = [(door, queue_of(services, door.surface.name)) for door in _doors(settings)]
        self._desks = [
            ChatDesk(
                services,
                desk,
                door.surface,
                approvals,
                roles=pairs_of(settings.chat_roles, door.surface.name),
                environments=pairs_of(settings.chat_environments, door.surface.name),
            )
            for door, _ in self._doors
        ]
        told: list[tuple[ChatSurface, Place]] = [(hook, Place()) for hook in read_hooks(settings.chat_webhooks)]
        surfaces = [surface for surface, _ in told] + [door.surface for door, _ in self._doors]
        told += [
            (door.surface, Place(settings.mattermost_channel))
            for door, _ in self._doors
            if isinstance(door, MattermostDoor) and settings.mattermost_channel
        ]
        if self.slack is not None:
            surfaces.insert(0, self.slack.surface)
            if settings.slack_channel:
                told.insert(0, (self.slack.surface, Place(settings.slack_channel)))
        self.announcer = Announcer(services, told, surfaces) if surfaces else None

    def router(self) -> APIRouter:
        """Return the addresses that chats send to."""
        router = APIRouter()
        if self.slack is not None:
            router.include_router(self.slack.router())
        router.include_router(chat_doors_router(self._doors))
        return router

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Tell of incidents and answer, for as long as the block lasts."""
        stop = asyncio.Event()
        telling = asyncio.create_task(self.announcer.run(stop)) if self.announcer is not None else None
        try:
            async with AsyncExitStack() as stack:
                if self.slack is not None:
                    await stack.enter_async_context(self.slack.running())
                for desk in self._desks:
                    await stack.enter_async_context(desk.answering())
                yield
        finally:
            stop.set()
            if telling is not None:
                await asyncio.wait({telling}, timeout=_STOP_SECONDS)
                telling.cancel()
                await asyncio.gather(telling, return_exceptions=True)


def _doors(settings: Settings) -> Iterator[Door]:
    """Yield the ways in of the chats that the settings name; raises SettingsError where one is named by half."""
    if settings.mattermost_url:
        if not (settings.mattermost_token and settings.mattermost_tokens.split()):
            raise SettingsError(
                "CAUSEGRAPH_MATTERMOST_URL is set: Mattermost also needs CAUSEGRAPH_MATTERMOST_TOKEN (of our bot) and "
                "CAUSEGRAPH_MATTERMOST_TOKENS (of its webhooks and commands)."
            )
        surface = Mattermost(settings.mattermost_url, settings.mattermost_token, settings.public_url)
        yield MattermostDoor(surface, settings.mattermost_tokens)
    if settings.teams_url:
        if not settings.teams_secrets.split():
            raise SettingsError("CAUSEGRAPH_TEAMS_URL is set: Teams also needs CAUSEGRAPH_TEAMS_SECRETS.")
        yield TeamsDoor(Teams(settings.teams_url), settings.teams_secrets)
    if settings.json_chat_url:
        if not settings.json_chat_secrets.split():
            raise SettingsError("CAUSEGRAPH_JSON_CHAT_URL is set: it also needs CAUSEGRAPH_JSON_CHAT_SECRETS.")
        yield JsonDoor(JsonChat(settings.json_chat_url, settings.json_chat_secrets), settings.json_chat_secrets)

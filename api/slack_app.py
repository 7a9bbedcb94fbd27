"""Slack's side of the program, with slack-bolt: what comes in is written to a durable queue before it is acknowledged.

Events, commands and clicks come over HTTP with Slack's signature, or over a socket. Nothing is answered, looked up or asked of
Slack before the acknowledgement; a retry has the key of the first delivery and changes nothing.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from slack_bolt import BoltResponse
from slack_bolt.async_app import AsyncApp
from slack_bolt.authorization import AuthorizeResult
from slack_sdk.web.async_client import AsyncWebClient

from agents.chat_surface import Heard
from domain.errors import StorageError
from domain.settings import Settings
from storage.jobs import JobQueue

logger = logging.getLogger(__name__)

_MENTION = re.compile(r"<@[A-Z0-9]+(?:\|[^>]*)?>")
_HELP = "Ask a question: `/causegraph why did checkout fail at 10:42?`"


def build_slack_app(settings: Settings, client: AsyncWebClient, queue: JobQueue) -> AsyncApp:
    """Build the app: it takes things in, and does nothing with them."""

    async def authorize(**_: Any) -> AuthorizeResult:
        # One workspace, one token. Slack is not asked whose it is: that would be a call before the acknowledgement.
        return AuthorizeResult(enterprise_id=None, team_id=None, bot_token=settings.slack_bot_token)

    app = AsyncApp(
        client=client,
        signing_secret=settings.slack_signing_secret or "socket mode alone",
        authorize=authorize,
        ignoring_self_events_enabled=False,  # would have to know who we are; what bots say is left out below
        attaching_conversation_kwargs_enabled=False,
    )
    take = _Intake(queue)
    for event in ("app_mention", "message"):
        app.event(event, middleware=[take.event])(_done)
    app.command(re.compile("^/"))(take.command)
    app.action(re.compile("^cg_"), middleware=[take.click])(_done)
    return app


async def _done() -> None:
    """Everything was done before the acknowledgement."""


class _Intake:
    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue

    async def event(self, body: Mapping[str, Any], next: Callable[[], Awaitable[Any]]) -> Any:  # noqa: A002 - Bolt's name
        """Keep a mention, a direct message or a reply in a thread; what else is said in channels is nobody's business."""
        event: Mapping[str, Any] = body.get("event", {})
        if _is_for_us(event):
            team, ts = str(body.get("team_id", "")), str(event.get("ts", ""))
            heard = Heard(
                kind="question",
                user=str(event.get("user", "")),
                channel=str(event.get("channel", "")),
                thread=str(event.get("thread_ts") or ts),
                message_id=ts,
                team=team,
                home=str(event.get("user_team") or event.get("team") or team),
                mentioned=event.get("type") == "app_mention" or event.get("channel_type") == "im",
                text=plain_words(str(event.get("text", ""))),
            )
            # A mention in a channel that we read comes as two events, each with an id of its own: the message is one.
            key = f"{heard.team} {heard.channel} {ts} {heard.mentioned}"
            if (refused := await self._keep(heard, key)) is not None:
                return refused
        return await next()

    async def command(self, ack: Callable[..., Awaitable[Any]], body: Mapping[str, Any]) -> None:
        """Keep the question of a slash command."""
        text = plain_words(str(body.get("text", "")))
        if not text:
            await ack(_HELP)
            return
        heard = Heard(
            kind="question",
            user=str(body.get("user_id", "")),
            channel=str(body.get("channel_id", "")),
            team=str(body.get("team_id", "")),
            home=str(body.get("team_id", "")),
            text=text,
            reply_url=str(body.get("response_url", "")),
        )
        if await self._keep(heard, f"command {body.get('trigger_id', '')}") is not None:
            await ack("This cannot be taken just now: please try again in a minute.")
            return
        await ack(f"Looking into it: {text[:200]}".replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))

    async def click(self, body: Mapping[str, Any]) -> BoltResponse:
        """Keep a click; the reply to it is empty, since any text would replace the message."""
        action: Mapping[str, Any] = (body.get("actions") or [{}])[0]
        message: Mapping[str, Any] = body.get("message") or {}
        container: Mapping[str, Any] = body.get("container") or {}
        button = str(action.get("action_id", "")).removeprefix("cg_")
        ts = str(message.get("ts") or container.get("message_ts", ""))
        heard = Heard(
            kind="click",
            user=str((body.get("user") or {}).get("id", "")),
            channel=str((body.get("channel") or {}).get("id") or container.get("channel_id", "")),
            thread=str(message.get("thread_ts") or container.get("thread_ts") or ts),
            message_id=ts,
            team=str((body.get("team") or {}).get("id", "")),
            home=str((body.get("user") or {}).get("team_id", "")),
            button=button,
            value=str(action.get("value", ""))[:2000],
            reply_url=str(body.get("response_url", "")),
            shown=json.dumps(message.get("blocks") or []),
        )
        if button.startswith("open"):
            return BoltResponse(status=200)
        refused = await self._keep(heard, f"click {heard.user} {action.get('action_ts', '')} {button} {ts}")
        return refused or BoltResponse(status=200)

    async def _keep(self, heard: Heard, key: str) -> BoltResponse | None:
        """Write to the queue; return what to answer where that fails, so that Slack sends it again."""
        try:
            await self._queue.enqueue(heard.to_payload(), key=key)
        except StorageError as exc:
            logger.error("Something from Slack was not kept", extra={"reason": str(exc)})
            return BoltResponse(status=503, body="")
        return None


def _is_for_us(event: Mapping[str, Any]) -> bool:
    if event.get("bot_id") or event.get("subtype") or not event.get("user") or not str(event.get("text", "")).strip():
        return False
    if event.get("type") == "app_mention" or event.get("channel_type") == "im":
        return True
    # In a channel without a mention, only replies: whether the thread is one of ours is looked up later.
    return bool(event.get("thread_ts")) and not _MENTION.search(str(event.get("text", "")))


def plain_words(text: str) -> str:
    """Return what a person typed, without mentions, and with Slack's escapes and links undone."""
    text = _MENTION.sub(" ", text)
    text = re.sub(r"<(?:https?://|mailto:)[^|>]*\|([^>]*)>", r"\1", text)
    text = re.sub(r"<([^>]*)>", r"\1", text)
    for escaped, plain in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        text = text.replace(escaped, plain)
    return " ".join(text.split())

"""Slack as far as it is used: its Web API with its limits, its addresses for replies, and somebody who signs as it does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

import httpx
import uvicorn
from fastapi import FastAPI, Request, Response
from slack_sdk.signature import SignatureVerifier

from agents.services import Services
from api.chat_desk import queue_of
from domain.errors import ApprovalError
from domain.remedy import Actor
from storage.approvals import Approval

SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
CHANNEL, ALERTS, TEAM = "C0000000001", "C0000000002", "T0000000001"
ASKER, APPROVER, NOBODY = "U0000000001", "U0000000002", "U0000000003"


@dataclass
class FakeSlack:
    """Slack's Web API as far as it is used, with its limits."""

    url: str = ""
    posted: list[dict[str, Any]] = field(default_factory=list)
    updated: list[dict[str, Any]] = field(default_factory=list)
    whispered: list[dict[str, Any]] = field(default_factory=list)
    replied: list[dict[str, Any]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    closed: set[str] = field(default_factory=set)
    uses: dict[str, int] = field(default_factory=dict)
    failing: int = 0

    def reply_url(self) -> str:
        """Return a new address for replies, as a command or a click brings one."""
        name = uuid.uuid4().hex
        self.uses[name] = 0
        return f"{self.url.removesuffix('api/')}reply/{name}"

    def app(self) -> FastAPI:
        api = FastAPI()

        @api.post("/api/{method}")
        async def call(method: str, request: Request) -> dict[str, Any]:
            if request.headers.get("authorization") != "Bearer xoxb-test":
                return {"ok": False, "error": "invalid_auth"}
            if self.failing:
                self.failing -= 1
                return {"ok": False, "error": "internal_error"}
            body = await request.json()
            self.problems += [f"{method}: {problem}" for problem in broken_limits(body)]
            if body["channel"] in self.closed:
                return {"ok": False, "error": "not_in_channel"}
            match method:
                case "chat.postMessage":
                    body["ts"] = f"{1_700_000_000 + len(self.posted)}.000100"
                    self.posted.append(body)
                case "chat.update":
                    self.updated.append(body)
                case "chat.postEphemeral":
                    self.whispered.append(body)
                case _:
                    return {"ok": False, "error": "unknown_method"}
            return {"ok": True, "ts": body.get("ts", ""), "channel": body["channel"]}

        @api.post("/reply/{name}")
        async def reply(name: str, request: Request) -> Response:
            if self.uses.get(name, 5) >= 5:
                return Response('{"ok":false,"error":"used_url"}', 404)
            self.uses[name] += 1
            body = await request.json()
            self.problems += [f"reply: {problem}" for problem in broken_limits(body)]
            self.replied.append(body)
            return Response("ok")

        return api


def broken_limits(body: dict[str, Any]) -> list[str]:
    blocks = body.get("blocks", [])
    found = [f"{len(blocks)} blocks"] if len(blocks) > 50 else []
    for block in blocks:
        texts = [block["text"]] if "text" in block else block.get("elements", [])
        for text in texts:
            if text.get("type") == "mrkdwn":
                found.append("mrkdwn")
            most = {"header": 150, "section": 3000, "context": 3000}.get(block["type"], 75)
            said = text["text"]["text"] if isinstance(text.get("text"), dict) else text.get("text", "")
            found += [f"{block['type']} of {len(said)}"] if not 0 < len(said) <= most else []
    return found + (["no text"] if not body.get("text") else [])


@contextlib.asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[str]:
    """Serve an application on a free port, and give its address."""

    class Server(uvicorn.Server):
        @contextlib.contextmanager
        def capture_signals(self) -> Any:
            yield

    server = Server(uvicorn.Config(app, port=0, log_config=None, lifespan="off", ws="none"))
    running = asyncio.create_task(server.serve())
    while not server.started:
        await asyncio.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await running


@contextlib.asynccontextmanager
async def running_slack() -> AsyncIterator[FakeSlack]:
    """Serve it on a free port."""
    fake = FakeSlack()
    async with serving(fake.app()) as address:
        fake.url = f"{address}/api/"
        yield fake


@dataclass
class FakeApprovals:
    """The record of approvals: one person may, once, on the right bytes."""

    decided: list[tuple[str, str, Actor, str]] = field(default_factory=list)
    needed: int = 1

    async def find_approval(self, approval_id: str) -> Approval:
        return Approval(approval_id, "run-1", "", "d" * 64, {}, "", self.needed, "pending", 0, 0, None)

    async def decide(self, approval_id: str, decision: Any, actor: Actor, *, digest: str, reason: str = "") -> Approval:
        self.decided.append((approval_id, decision, actor, digest))
        if actor.role != "approve":
            raise ApprovalError(f"the role {actor.role!r} may not approve")
        waits = self.needed > len([one for one in self.decided if one[2].role == "approve"])
        return Approval("apr-1", "run-1", "", digest, {}, "", self.needed, "pending" if waits else "approved", 0, 0, 0)


@dataclass
class Workspace:
    """A server with Slack, and somebody who sends what Slack would send."""

    client: httpx.AsyncClient
    slack: FakeSlack
    services: Services

    async def send(
        self, body: str, content_type: str, at: float | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        stamp = str(int(time.time() if at is None else at))
        signature = SignatureVerifier(SECRET).generate_signature(timestamp=stamp, body=body)
        sent = {
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": str(signature),
            "Content-Type": content_type,
            **(headers or {}),
        }
        return await self.client.post("/slack/events", content=body.encode(), headers=sent)

    async def event(self, event: dict[str, Any], event_id: str = "", **headers: str) -> httpx.Response:
        body = {
            "type": "event_callback", "team_id": TEAM, "event_id": event_id or f"Ev{uuid.uuid4().hex[:8]}",
            "api_app_id": "A1", "event": {"channel": CHANNEL, "user": ASKER, "team": TEAM, **event},
        }  # fmt: skip
        return await self.send(json.dumps(body), "application/json", headers=headers)

    async def click(
        self, user: str, action: str, value: str, message: dict[str, Any], at: str = "", reply_url: str = ""
    ) -> httpx.Response:
        payload = {
            "type": "block_actions", "team": {"id": TEAM}, "user": {"id": user, "team_id": TEAM}, "channel": {"id": CHANNEL},
            "message": message, "container": {"type": "message", "message_ts": message["ts"]}, "api_app_id": "A1",
            "response_url": reply_url,
            "actions": [{"action_id": action, "value": value, "type": "button", "action_ts": at or str(time.time())}],
        }  # fmt: skip
        return await self.send(urlencode({"payload": json.dumps(payload)}), "application/x-www-form-urlencoded")


async def wait_for(what: Callable[[], bool], told: Callable[[], Any] = lambda: None) -> None:
    end = time.monotonic() + 120
    while not what():
        assert time.monotonic() < end, told()
        await asyncio.sleep(0.02)


async def drained(workspace: Workspace) -> None:
    """Wait until everything that was taken in is done."""
    queue, end = queue_of(workspace.services, "slack"), time.monotonic() + 120
    while (counts := await queue.counts()).get("queued", 0) + counts.get("running", 0):
        assert time.monotonic() < end, counts
        await asyncio.sleep(0.05)


def said(body: dict[str, Any]) -> str:
    return json.dumps(body["blocks"], ensure_ascii=False)

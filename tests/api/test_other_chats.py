"""Mattermost, Microsoft Teams and a bridge of plain JSON, both ways, against a local server that speaks as they do."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from agents.chat_hooks import render
from agents.chat_messages import answer_message
from agents.chat_surface import ChatMessage, Place
from agents.services import Services
from api.app import build_app
from api.chat import Desk
from api.chat_desk import Roles, pairs_of, queue_of
from api.chats import Chats
from api.errors import install_error_handlers
from api.json_chat import SIGNATURE, JsonChat
from api.mattermost import Mattermost
from domain.errors import SettingsError
from tests.api.slack_server import FakeApprovals, serving, wait_for

BOT, HOOK, COMMAND = "bot-token", "hook-token", "command-token"
TEAMS_KEY, JSON_KEY = base64.b64encode(b"a security token of teams").decode(), "bridge-secret"
ASKER, APPROVER, OURSELVES = "asker0", "approver0", "botuser0"
FORM, JSON = "application/x-www-form-urlencoded", "application/json"


@dataclass
class Elsewhere:
    """A Mattermost server, a workflow of Teams, and a bridge; each keeps what it was told."""

    url: str = ""
    posts: dict[str, dict[str, Any]] = field(default_factory=dict)
    ephemeral: list[dict[str, Any]] = field(default_factory=list)
    commands: list[dict[str, Any]] = field(default_factory=list)
    cards: list[str] = field(default_factory=list)
    bridged: list[dict[str, Any]] = field(default_factory=list)
    bots_may_whisper: bool = True

    def app(self) -> FastAPI:
        app = FastAPI()

        def denied(request: Request) -> bool:
            return request.headers.get("authorization") != f"Bearer {BOT}"

        @app.get("/api/v4/users/me")
        async def me() -> dict[str, Any]:
            return {"id": OURSELVES}

        @app.get("/api/v4/posts/{post_id}")
        async def read(post_id: str) -> Any:
            return self.posts.get(post_id) or Response(status_code=404)

        @app.post("/api/v4/posts")
        async def create(request: Request) -> Any:
            if denied(request):
                return Response(status_code=401)
            post = await request.json()
            root = self.posts.get(post["root_id"])
            if post["root_id"] and (root is None or root["root_id"]):
                return Response('{"id": "api.post.create_post.root_id.app_error"}', 400)
            post |= {"id": f"post{len(self.posts)}", "user_id": OURSELVES}
            self.posts[post["id"]] = post
            return post

        @app.put("/api/v4/posts/{post_id}/patch")
        async def patch(post_id: str, request: Request) -> Any:
            self.posts[post_id] |= await request.json()
            return self.posts[post_id]

        @app.post("/api/v4/posts/ephemeral")
        async def whisper(request: Request) -> Any:
            if not self.bots_may_whisper:
                return Response(status_code=403)
            self.ephemeral.append(await request.json())
            return {}

        @app.post("/hooks/commands/{name}")
        async def command(name: str, request: Request) -> dict[str, Any]:
            self.commands.append(await request.json())
            return {}

        @app.post("/workflow")
        async def workflow(request: Request) -> dict[str, Any]:
            self.cards.append(json.dumps(await request.json(), ensure_ascii=False))
            return {}

        @app.post("/bridge")
        async def bridge(request: Request) -> dict[str, Any]:
            body, headers = await request.body(), request.headers
            stamp = headers[SIGNATURE.timestamp_header]
            SIGNATURE.check(JSON_KEY, body, headers[SIGNATURE.header], stamp, time.time())
            self.bridged.append(json.loads(body))
            return {}

        return app

    def said(self, root: str) -> list[dict[str, Any]]:
        """Return the posts in a thread."""
        return [post for post in self.posts.values() if post["root_id"] == root]


@dataclass
class Bench:
    """Our server, whoever is elsewhere, and the record of approvals."""

    client: httpx.AsyncClient
    elsewhere: Elsewhere
    approvals: FakeApprovals
    services: Services

    async def mattermost(self, body: dict[str, Any], kind: str = JSON) -> httpx.Response:
        content = json.dumps(body) if kind == JSON else urlencode(body)
        return await self.client.post("/chats/mattermost", content=content, headers={"content-type": kind})

    async def teams(self, body: dict[str, Any], signature: str = "", at: float | None = None) -> httpx.Response:
        moment = datetime.fromtimestamp(time.time() if at is None else at, UTC).isoformat()
        content = json.dumps({"type": "message", "timestamp": moment, **body}).encode()
        made = base64.b64encode(hmac.digest(base64.b64decode(TEAMS_KEY), content, "sha256")).decode()
        headers = {"content-type": JSON, "authorization": signature or f"HMAC {made}"}
        return await self.client.post("/chats/teams", content=content, headers=headers)

    async def json(self, body: dict[str, Any], key: str = JSON_KEY, at: float | None = None) -> httpx.Response:
        content, stamp = json.dumps(body).encode(), str(int(time.time() if at is None else at))
        headers = {SIGNATURE.timestamp_header: stamp, SIGNATURE.header: SIGNATURE.sign(key, content, stamp)}
        return await self.client.post("/chats/json", content=content, headers=headers)

    async def drained(self) -> None:
        for name in ("mattermost", "teams", "json"):
            queue, end = queue_of(self.services, name), time.monotonic() + 120
            while (counts := await queue.counts()).get("queued", 0) + counts.get("running", 0):
                assert time.monotonic() < end, counts
                await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
async def bench(services: Services) -> AsyncIterator[Bench]:
    elsewhere, approvals = Elsewhere(), FakeApprovals()
    async with serving(elsewhere.app()) as url:
        elsewhere.url = url
        settings = services.settings.model_copy(
            update={
                "mattermost_url": url, "mattermost_token": BOT, "mattermost_tokens": f"{HOOK} {COMMAND}",
                "teams_secrets": f"{base64.b64encode(b'the one before').decode()} {TEAMS_KEY}", "teams_url": f"{url}/workflow",
                "json_chat_secrets": JSON_KEY, "json_chat_url": f"{url}/bridge", "public_url": "https://causegraph.example",
                "chat_roles": f"mattermost:{APPROVER}=approve,teams:{APPROVER}=approve,json:{APPROVER}=approve,"
                f"mattermost:{ASKER}=ask,teams:{ASKER}=ask,json:{ASKER}=ask",
            }
        )  # fmt: skip
        own = replace(services, settings=settings)
        chats = Chats(own, Desk(own), approvals)
        app = FastAPI()
        app.include_router(chats.router())
        install_error_handlers(app, lambda request: False, lambda *_: None, {})  # type: ignore[arg-type]
        async with (
            chats.running(),
            httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
        ):
            yield Bench(client, elsewhere, approvals, own)


def proposal() -> ChatMessage:
    """An answer that proposes something."""
    workflow = {"approval_id": f"apr-{'a' * 16}", "digest": "d" * 64, "title": "Restart", "dry_run": "restart payment"}
    verdict = {"outcome": "LIKELY", "causes": [], "not_seen": []}
    return answer_message(
        {"answer": "x", "incident_id": "inc-1", "verdict": verdict, "claims": [], "workflow": workflow}
    )


# -- signatures and tokens ---------------------------------------------------------------------------------------------


async def test_only_what_the_chats_have_sent_is_taken(bench: Bench) -> None:
    post = {"token": HOOK, "user_id": ASKER, "channel_id": "c1", "post_id": "p-sign", "text": ""}
    assert (await bench.mattermost(post)).status_code == 200
    for token in ("", "wrong", HOOK[:-1], f"{HOOK} {COMMAND}"):
        for kind in (JSON, FORM):
            assert (await bench.mattermost({**post, "token": token}, kind)).status_code == 401
    said = {"id": "t-sign", "text": "<at>Bot</at>", "from": {"id": ASKER}, "conversation": {"id": "19:x"}}
    assert (await bench.teams(said)).status_code == 200
    for signature in ("HMAC ", "HMAC AAAA", f"Bearer {TEAMS_KEY}", "nothing"):
        assert (await bench.teams(said, signature)).status_code == 401
    assert (await bench.teams(said, at=time.time() - 301)).status_code == 401, "a replay"
    asked = {"id": "j-sign", "user": ASKER, "channel": "c1", "text": " x "}
    assert (await bench.json(asked, "other")).status_code == 401
    assert (await bench.json(asked, at=time.time() - 301)).status_code == 401, "a replay"
    for bad in ({**asked, "id": ""}, {**asked, "text": ""}, {**asked, "text": 7}):
        assert (await bench.json(bad)).status_code == 400
    assert (await bench.client.post("/chats/json", content=b"\xff")).status_code == 401
    await bench.drained()
    assert not bench.elsewhere.bridged and not bench.elsewhere.cards


async def test_a_button_counts_where_it_was_made_and_nowhere_else(bench: Bench) -> None:
    surface = Mattermost(bench.elsewhere.url, BOT, "https://causegraph.example")
    post_id = await surface.post(Place("c1", ""), proposal())
    (attachment,) = bench.elsewhere.posts[post_id]["props"]["attachments"]
    approve = next(action for action in attachment["actions"] if action["name"] == "Approve")
    assert approve["integration"]["url"] == "https://causegraph.example/chats/mattermost"
    context = approve["integration"]["context"]
    click = {"user_id": APPROVER, "channel_id": "c1", "post_id": post_id, "trigger_id": "t1", "context": context}
    for forged in (
        {**click, "channel_id": "c2"},
        {**click, "context": {**context, "button": "reject"}},
        {**click, "context": {**context, "value": context["value"].replace("d", "e")}},
        {**click, "context": {**context, "seal": ""}},
        {**click, "context": "x"},
    ):
        assert (await bench.mattermost(forged)).status_code == 401
    assert not bench.approvals.decided
    await bench.mattermost({**click, "user_id": ASKER})
    await wait_for(lambda: bool(bench.elsewhere.ephemeral))
    assert "may not approve" in bench.elsewhere.ephemeral[-1]["post"]["message"]
    for _ in range(3):
        assert (await bench.mattermost(click)).status_code == 200
    await bench.drained()
    assert [(actor.name, digest) for _, _, actor, digest in bench.approvals.decided] == [
        (f"mattermost:{ASKER}", "d" * 64),
        (f"mattermost:{APPROVER}", "d" * 64),
    ]
    post = bench.elsewhere.posts[post_id]
    assert post["props"]["attachments"] == [] and f"Approved by {APPROVER}" in post["message"]


# -- questions ---------------------------------------------------------------------------------------------------------


async def test_mattermost_is_answered_in_the_thread(bench: Bench, incident: str) -> None:
    posts = bench.elsewhere.posts
    posts["root1"] = {"id": "root1", "root_id": "", "message": "hm"}
    posts["ask1"] = {"id": "ask1", "root_id": "root1", "message": "@causegraph why"}
    asked = {"token": HOOK, "user_id": ASKER, "channel_id": "c1", "post_id": "ask1", "trigger_word": "@causegraph",
             "text": f"@causegraph why did checkout fail? env:{incident}"}  # fmt: skip
    for kind in (FORM, JSON, JSON):
        assert (await bench.mattermost(asked, kind)).json() == {}
    await wait_for(lambda: any("payment" in post["message"] for post in bench.elsewhere.said("root1")), lambda: posts)
    await bench.drained()
    (_, answer) = bench.elsewhere.said("root1")
    assert "\\[span\\-" in answer["message"], "with its evidence, as text"
    assert "<script>" not in answer["message"]
    before = len(posts)
    await bench.mattermost({**asked, "post_id": "own1", "user_id": OURSELVES})
    await bench.drained()
    assert len(posts) == before, "what we say ourselves is not answered"


async def test_a_command_of_mattermost_and_those_who_may_not_ask(bench: Bench) -> None:
    command = {"token": COMMAND, "command": "/causegraph", "text": "why?", "user_id": "nobody", "channel_id": "c1",
               "trigger_id": "tr1", "response_url": f"{bench.elsewhere.url}/hooks/commands/1"}  # fmt: skip
    reply = await bench.mattermost(command, FORM)
    assert reply.json() == {"response_type": "ephemeral", "text": "Looking into it."}
    await wait_for(lambda: bool(bench.elsewhere.commands))
    assert "You may not ask here" in bench.elsewhere.commands[-1]["text"]
    assert "Ask a question" in (await bench.mattermost({**command, "text": " "}, FORM)).text
    whispers = len(bench.elsewhere.ephemeral)
    stranger = {**command, "trigger_id": "tr2", "response_url": "https://evil.example/hook"}
    await bench.mattermost(stranger, FORM)
    await wait_for(lambda: len(bench.elsewhere.ephemeral) > whispers)
    bench.elsewhere.bots_may_whisper = False
    posts = len(bench.elsewhere.posts)
    await bench.mattermost({**stranger, "trigger_id": "tr3"}, FORM)
    await wait_for(lambda: len(bench.elsewhere.posts) > posts)
    bench.elsewhere.bots_may_whisper = True


async def test_teams_asks_and_decides_in_words(bench: Bench, incident: str) -> None:
    cards = bench.elsewhere.cards
    said = {"id": "t1", "text": f"<at>Causegraph</at>&nbsp;why did checkout fail? env:{incident}\n",
            "from": {"id": "29:1xyz", "aadObjectId": ASKER}, "conversation": {"id": "19:abc@thread.tacv2;messageid=1"}}  # fmt: skip
    replies = [await bench.teams(said) for _ in range(3)]
    assert {reply.json()["type"] for reply in replies} == {"message"}
    await wait_for(lambda: any("payment" in card for card in cards), lambda: cards)
    await bench.drained()
    assert len([card for card in cards if "payment" in card]) == 1, "a retry is the same message"
    card = render("teams", proposal(), written=True)["attachments"][0]["content"]
    words = next(
        block["inlines"][0]["text"] for block in card["body"] if "Approve: write" in block["inlines"][0]["text"]
    )
    approval_id = f"apr-{'a' * 16}"
    digest = "d" * 16
    assert words == f"Approve: write approve {approval_id} {'d' * 16}"
    bench.approvals.decided.clear()
    decision = {**said, "text": f"<at>Causegraph</at> approve {approval_id} {digest}"}
    for number, user in enumerate(("stranger", ASKER, APPROVER)):
        await bench.teams({**decision, "id": f"t2{number}", "from": {"aadObjectId": user}})
    await bench.teams({**decision, "id": "t3", "text": f"approve {approval_id} {'0' * 16}", "from": {"id": APPROVER}})
    await bench.drained()
    decided = {(actor.name, digest) for _, _, actor, digest in bench.approvals.decided}
    assert decided == {
        *((f"teams:{user}", "d" * 64) for user in ("stranger", ASKER, APPROVER)),
        (f"teams:{APPROVER}", "0" * 16),
    }, "every attempt reaches the record, which says who may"
    assert any(f"Approved by {APPROVER}" in card for card in cards)


async def test_a_bridge_asks_and_clicks(bench: Bench, incident: str) -> None:
    told = bench.elsewhere.bridged
    asked = {
        "id": "j1",
        "user": ASKER,
        "channel": "room",
        "thread": "th1",
        "text": f"why did checkout fail? env:{incident}",
    }
    assert [(await bench.json(asked)).json() for _ in range(2)] == [{"accepted": True}] * 2
    await wait_for(lambda: any(one["what"] == "update" for one in told), lambda: told)
    await bench.drained()
    first, answer = told
    assert (first["what"], answer["id"], answer["channel"], answer["thread"]) == ("message", first["id"], "room", "th1")
    assert any("payment" in part["text"] for part in answer["parts"])
    assert [button["button"] for button in answer["buttons"]][:1] == ["details"]
    bench.approvals.decided.clear()
    await JsonChat(f"{bench.elsewhere.url}/bridge", JSON_KEY).post(Place("room", "th1"), proposal())
    approve = told[-1]["buttons"][0]
    click = {"user": APPROVER, "channel": "room", "thread": "th1", "message_id": told[-1]["id"], **approve}
    await bench.json({**click, "id": "j2", "user": ASKER})
    await bench.json({**click, "id": "j3"})
    await bench.json({**click, "id": "j3"})
    await bench.drained()
    assert [one["what"] for one in told[3:]] in (["whisper", "settled"], ["settled", "whisper"])
    assert [actor.name for _, _, actor, _ in bench.approvals.decided].count(f"json:{APPROVER}") == 1


# -- settings ----------------------------------------------------------------------------------------------------------


def test_roles_and_channels_are_told_apart_by_chat() -> None:
    text = "teams:29:abc=admin,json:29:abc=approve,*=ask"
    assert Roles(pairs_of(text, "teams")).of("29:abc", "", "") == "admin"
    assert Roles(pairs_of(text, "json")).of("29:abc", "", "") == "approve"
    assert Roles(pairs_of(text, "mattermost")).of("29:abc", "", "") == "ask"
    assert Roles(pairs_of("teams:*=ask", "json")).of("x", "", "") == ""


@pytest.mark.parametrize(
    ("given", "missing"),
    [
        ({"mattermost_url": "http://x"}, "MATTERMOST_TOKEN"),
        ({"teams_url": "http://x"}, "TEAMS_SECRETS"),
        ({"teams_url": "http://x", "teams_secrets": "not base64!"}, "TEAMS_SECRETS"),
        ({"json_chat_url": "http://x"}, "JSON_CHAT_SECRETS"),
    ],
)
def test_half_a_chat_is_refused(services: Services, given: dict[str, str], missing: str) -> None:
    own = replace(services, settings=services.settings.model_copy(update=given))
    with pytest.raises(SettingsError, match=missing):
        Chats(own, Desk(own))


async def test_the_application_has_the_ways_in(bench: Bench) -> None:
    paths = build_app(bench.services, "chats").openapi()["paths"]
    assert {"/chats/mattermost", "/chats/teams", "/chats/json"} <= set(paths)

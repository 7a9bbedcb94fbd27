"""Slack end to end, against a local server that speaks its Web API and signs events as it does."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from aiohttp import WSMsgType, web
from fastapi import FastAPI
from slack_sdk.signature import SignatureVerifier

from agents.chat_hooks import read_hooks, render
from agents.chat_messages import answer_message
from agents.chat_surface import Button, ChatMessage, Part, Place
from agents.incident_run import announce
from agents.services import Services
from agents.triage import AlertTriage
from api.chat import Desk
from api.chat_desk import Roles
from api.chats import Chats
from api.slack_app import plain_words
from api.slack_blocks import escape, split_text
from api.slack_blocks import render as render_blocks
from domain.errors import SettingsError
from domain.remedy import Actor
from domain.settings import Settings
from tests.api.slack_server import (
    ALERTS,
    APPROVER,
    ASKER,
    CHANNEL,
    NOBODY,
    SECRET,
    TEAM,
    FakeApprovals,
    FakeSlack,
    Workspace,
    broken_limits,
    drained,
    running_slack,
    said,
    wait_for,
)
from tests.settling import settle

VECTOR = (
    "token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar"
    "&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com"
    "%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121."
    "803a0bc887a14d10d2c447fce8b6703c"
)


@pytest.fixture(scope="module")
async def slack() -> AsyncIterator[FakeSlack]:
    async with running_slack() as fake:
        yield fake


@pytest.fixture(scope="module")
def approvals() -> FakeApprovals:
    return FakeApprovals()


@pytest.fixture(scope="module")
async def workspace(services: Services, slack: FakeSlack, approvals: FakeApprovals) -> AsyncIterator[Workspace]:
    settings = Settings(
        data_dir=services.settings.data_dir, embedder="none", slack_bot_token="xoxb-test", slack_signing_secret=SECRET,
        slack_api_url=slack.url, slack_channel=ALERTS, slack_roles=f"{ASKER}=ask,{APPROVER}=approve",
        public_url="https://causegraph.example", slack_environments=f"{CHANNEL}=nowhere",
    )  # fmt: skip
    own = replace(services, settings=settings)
    chats = Chats(own, Desk(own), approvals)
    app = FastAPI()
    app.include_router(chats.router())
    async with (
        chats.running(),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client,
    ):
        yield Workspace(client, slack, own)


# -- signatures --------------------------------------------------------------------------------------------------------


def test_the_known_answer_of_slack() -> None:
    class Clock:
        def now(self) -> float:
            return 1531420620.0

    expected = "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"
    verifier = SignatureVerifier(SECRET, Clock())  # type: ignore[arg-type]
    assert verifier.is_valid(VECTOR, "1531420618", expected)
    assert not verifier.is_valid(VECTOR + "x", "1531420618", expected)


async def test_only_what_slack_has_signed_lately_is_taken(workspace: Workspace) -> None:
    challenge = json.dumps({"type": "url_verification", "challenge": "abc", "token": "t"})
    reply = await workspace.send(challenge, "application/json")
    assert (reply.status_code, reply.json()) == (200, {"challenge": "abc"})
    assert (await workspace.send(challenge, "application/json", at=time.time() - 301)).status_code == 401
    wrong = {"X-Slack-Signature": "v0=00"}
    assert (await workspace.send(challenge, "application/json", headers=wrong)).status_code == 401
    assert (await workspace.client.post("/slack/events", content=VECTOR)).status_code == 401
    old = {
        "X-Slack-Request-Timestamp": "1531420618", "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Signature": "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503",
    }  # fmt: skip
    assert (await workspace.client.post("/slack/events", content=VECTOR, headers=old)).status_code == 401
    assert (await workspace.client.post("/slack/events", content=b"\xff\xfe")).status_code == 400


# -- questions ---------------------------------------------------------------------------------------------------------


async def test_a_mention_is_answered_in_its_thread_with_evidence(
    workspace: Workspace, incident: str, slack: FakeSlack
) -> None:
    ts, text = "1700000500.000200", f"<@U0BOT> why did checkout fail? env:{incident}"
    event = {"type": "app_mention", "text": text, "ts": ts}
    posted, updated = len(slack.posted), len(slack.updated)
    began = time.monotonic()
    first = await workspace.event(event, "Ev0001")
    assert first.status_code == 200
    assert time.monotonic() - began < 3, "Slack waits for three seconds"
    retries = [await workspace.event(event, "Ev0001", **{"X-Slack-Retry-Num": str(n)}) for n in (1, 2, 3)]
    again = await workspace.event(event, "Ev0002")
    assert {reply.status_code for reply in (*retries, again)} == {200}
    await wait_for(lambda: len(slack.updated) > updated, lambda: slack.whispered)
    await drained(workspace)
    assert len(slack.posted) == posted + 1, "one message for one mention, however often it is delivered"
    placeholder, answer = slack.posted[-1], slack.updated[-1]
    assert (placeholder["thread_ts"], placeholder["channel"]) == (ts, CHANNEL)
    assert answer["ts"] == placeholder["ts"]
    told = said(answer)
    assert "payment" in told
    assert "[span-" in told, "each claim names its evidence"
    assert slack.problems == []
    buttons = [element for block in answer["blocks"] if block["type"] == "actions" for element in block["elements"]]
    assert [button["action_id"] for button in buttons][:3] == ["cg_details", "cg_right", "cg_wrong"]
    assert buttons[-1]["url"].startswith("https://causegraph.example/ui/incidents/inc-")
    await follow_up(workspace, slack, incident, (ts, buttons[0]["value"]), answer)


async def follow_up(
    workspace: Workspace, slack: FakeSlack, environment: str, about: tuple[str, str], answer: dict[str, Any]
) -> None:
    """In the same thread: more questions, the details, and feedback."""
    thread, incident_id = about
    updated, posted = len(slack.updated), len(slack.posted)
    chatter = {
        "type": "message",
        "text": "lunch?",
        "ts": "1700000501.0001",
        "thread_ts": thread,
        "channel_type": "channel",
    }
    await workspace.event(chatter)
    mention = {"type": "app_mention", "text": "<@U0BOT> what changed?", "ts": "1700000502.0001", "thread_ts": thread}
    await workspace.event(mention)
    await wait_for(lambda: len(slack.updated) > updated)
    assert len(slack.posted) == posted + 1, "what people say among themselves is not answered"
    assert slack.posted[-1]["thread_ts"] == thread
    assert "payment" in said(slack.updated[-1]), "the thread knows what it is about"
    thread_id = f"slack-{CHANNEL}-{thread}"
    turns = await workspace.services.conversations.turns(environment, thread_id)
    assert [turn.question for turn in turns] == ["why did checkout fail?", "what changed?"], (
        "the thread is one conversation"
    )
    message = {"ts": answer["ts"], "thread_ts": thread, "blocks": answer["blocks"]}
    whispered = len(slack.whispered)
    await workspace.click(ASKER, "cg_details", incident_id, message)
    await wait_for(lambda: len(slack.whispered) > whispered)
    assert slack.whispered[-1]["user"] == ASKER
    await workspace.click(ASKER, "cg_wrong", incident_id, message, at="1.5")
    await workspace.click(ASKER, "cg_wrong", incident_id, message, at="1.5")
    await wait_for(lambda: "Noted" in said(slack.whispered[-1]))
    events = await AlertTriage(workspace.services).log.events(incident_id)
    assert [(e.kind, e.text, e.actor) for e in events] == [("feedback", "wrong", f"slack:{ASKER}")]


async def test_a_direct_message_and_a_command(workspace: Workspace, slack: FakeSlack) -> None:
    updated = len(slack.updated)
    await workspace.event(
        {"type": "message", "channel_type": "im", "channel": "D1", "text": "why is it slow?", "ts": "17.1"}
    )
    await wait_for(lambda: len(slack.updated) > updated)
    assert slack.updated[-1]["channel"] == "D1"
    form = {"command": "/causegraph", "text": "why did <https://x.example|checkout> fail &amp; burn?", "user_id": ASKER,
            "team_id": TEAM, "channel_id": CHANNEL, "trigger_id": "tr1"}  # fmt: skip
    form_type = "application/x-www-form-urlencoded"
    replies = [await workspace.send(urlencode(form), form_type) for _ in range(2)]
    assert {reply.status_code for reply in replies} == {200}
    assert "Looking into it: why did checkout fail &amp; burn?" in replies[0].text
    await wait_for(lambda: len(slack.updated) > updated + 1)
    empty = await workspace.send(urlencode({**form, "text": " ", "trigger_id": "tr2"}), form_type)
    assert "Ask a question" in empty.text
    root = slack.updated[-1]["ts"]
    reply = {"type": "message", "text": "and since when?", "ts": "18.1", "thread_ts": root, "channel_type": "channel"}
    await workspace.event(reply)
    await wait_for(lambda: len(slack.updated) > updated + 2)
    assert slack.posted[-1]["thread_ts"] == root, "a thread of ours needs no mention"


async def test_who_has_no_role_is_told_so(workspace: Workspace, slack: FakeSlack) -> None:
    posted, whispered = len(slack.posted), len(slack.whispered)
    await workspace.event({"type": "app_mention", "text": "<@U0BOT> why?", "ts": "19.1", "user": NOBODY})
    await wait_for(lambda: len(slack.whispered) > whispered)
    assert "You may not ask here" in said(slack.whispered[-1])
    assert len(slack.posted) == posted
    for silent in ({"bot_id": "B1"}, {"subtype": "message_changed"}, {"text": ""}):
        reply = await workspace.event({"type": "app_mention", "text": "x", "ts": f"{uuid.uuid4().int}", **silent})
        assert reply.status_code == 200
    await drained(workspace)
    assert len(slack.posted) == posted


def test_people_of_other_workspaces_count_only_by_name() -> None:
    roles = Roles("U1=admin, *=ask")
    assert roles.of("U1", "T2", "T1") == "admin"
    assert roles.of("U2", "T1", "T1") == "ask"
    assert roles.of("U2", "T2", "T1") == ""
    assert Roles("").of("U2", "T1", "T1") == ""


# -- approvals ---------------------------------------------------------------------------------------------------------


async def test_buttons_are_a_view_of_the_approval(
    workspace: Workspace, slack: FakeSlack, approvals: FakeApprovals
) -> None:
    body = {
        "answer": "x", "incident_id": "inc-1", "verdict": {"outcome": "LIKELY", "causes": [], "not_seen": []}, "claims": [],
        "workflow": {"approval_id": "apr-1", "digest": "d1", "title": "Restart", "dry_run": "restart payment", "expires": "soon",
                     "tainted": ["service"]},
    }  # fmt: skip
    (rendered,) = render_blocks(answer_message(body))
    assert "restart payment" in said(rendered)
    assert "telemetry gave: service" in said(rendered)
    buttons = [element for block in rendered["blocks"] if block["type"] == "actions" for element in block["elements"]]
    approve = next(button for button in buttons if button["action_id"] == "cg_approve")
    message = {"ts": "20.1", "blocks": rendered["blocks"]}
    whispered, updated = len(slack.whispered), len(slack.updated)
    await workspace.click(NOBODY, "cg_approve", approve["value"], message)
    await wait_for(lambda: len(slack.whispered) > whispered)
    assert "'none' may not approve" in said(slack.whispered[-1])
    assert len(slack.updated) == updated, "a click that does not count changes nothing"
    await workspace.click(APPROVER, "cg_approve", approve["value"], message, at="2.0")
    await workspace.click(APPROVER, "cg_approve", approve["value"], message, at="2.0")
    await wait_for(lambda: len(slack.updated) > updated)
    assert f"Approved by {APPROVER}" in said(slack.updated[-1])
    assert "cg_approve" not in said(slack.updated[-1])
    assert approvals.decided == [
        ("apr-1", "approve", Actor(f"slack:{NOBODY}", "none", "slack"), "d1"),
        ("apr-1", "approve", Actor(f"slack:{APPROVER}", "approve", "slack"), "d1"),
    ]
    await workspace.click(APPROVER, "cg_reject", "not json", message)
    await wait_for(lambda: "nothing to approve" in said(slack.whispered[-1]))


async def test_where_two_must_approve_the_buttons_stay_for_the_second(
    workspace: Workspace, slack: FakeSlack, approvals: FakeApprovals
) -> None:
    value, message = json.dumps({"approval_id": "apr-2", "digest": "d2"}), {"ts": "21.1", "blocks": []}
    approvals.decided.clear()
    approvals.needed = 2
    posted, updated = len(slack.posted), len(slack.updated)
    await workspace.click(APPROVER, "cg_approve", value, message)
    await wait_for(lambda: len(slack.posted) > posted)
    assert f"Approved by {APPROVER}. It waits for somebody else" in said(slack.posted[-1])
    assert slack.posted[-1]["thread_ts"] == "21.1" and len(slack.updated) == updated
    await workspace.click(APPROVER, "cg_approve", value, message, at="9.9")
    await wait_for(lambda: len(slack.updated) > updated)
    approvals.needed = 1


# -- addresses for replies ---------------------------------------------------------------------------------------------


async def test_one_person_is_answered_at_the_address_that_came_with_the_click(
    workspace: Workspace, slack: FakeSlack
) -> None:
    message = {"ts": "22.1", "blocks": [{"type": "actions", "elements": []}]}
    value, url = json.dumps({"approval_id": "apr-3", "digest": "d3"}), slack.reply_url()
    updated, whispered, replied = len(slack.updated), len(slack.whispered), len(slack.replied)
    await workspace.click(NOBODY, "cg_approve", value, message, reply_url=url)
    await wait_for(lambda: len(slack.replied) > replied)
    refused = slack.replied[-1]
    assert (refused["response_type"], refused["replace_original"], refused["thread_ts"]) == ("ephemeral", False, "22.1")
    await workspace.click(APPROVER, "cg_approve", value, message, reply_url=url)
    await wait_for(lambda: len(slack.replied) > replied + 1)
    assert slack.replied[-1]["replace_original"] is True and "Approved by" in slack.replied[-1]["text"]
    assert (len(slack.updated), len(slack.whispered)) == (updated, whispered)
    for used_up in (url, "https://evil.example/reply/1", "http://[", slack.url.replace("127.0.0.1", "127.0.0.2")):
        slack.uses[url.rpartition("/")[2]] = 5
        await workspace.click(NOBODY, "cg_approve", value, message, reply_url=used_up)
        await wait_for(lambda: len(slack.whispered) > whispered)  # noqa: B023 - waited for at once
        whispered += 1
    assert slack.problems == []


async def test_a_command_where_we_may_not_post_is_answered_to_whoever_gave_it(
    workspace: Workspace, slack: FakeSlack
) -> None:
    slack.closed.add("G9")
    form = {"command": "/causegraph", "text": "why is it slow?", "user_id": ASKER, "team_id": TEAM, "channel_id": "G9",
            "trigger_id": "tr9", "response_url": slack.reply_url()}  # fmt: skip
    posted, replied = len(slack.posted), len(slack.replied)
    await workspace.send(urlencode(form), "application/x-www-form-urlencoded")
    await wait_for(lambda: len(slack.replied) > replied)
    assert slack.replied[-1]["response_type"] == "ephemeral" and slack.replied[-1]["blocks"]
    assert len(slack.posted) == posted


# -- incidents ---------------------------------------------------------------------------------------------------------


async def test_an_incident_is_told_once_and_kept_up_to_date(
    workspace: Workspace, client: httpx.AsyncClient, slack: FakeSlack, environment: str
) -> None:
    alert = {"name": "Slow <!channel>", "status": "firing", "service": "cart"}
    sent = await client.post("/ingest/alerts/generic", json=[alert], params={"environment": environment})
    assert sent.status_code == 200
    triage = AlertTriage(workspace.services)
    await settle(triage)
    live = await workspace.services.incidents.list(status="live", limit=50)
    (found,) = [one for one in live if one.environment == environment]

    def ours(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [message for message in messages if message["text"].startswith("Slow &lt;!channel&gt; (cart) ")]

    slack.failing = 1
    await announce(workspace.services, found.id, "opened 1")
    await wait_for(lambda: bool(ours(slack.posted)))
    assert [(one["channel"], one["text"]) for one in ours(slack.posted)] == [
        (ALERTS, "Slow &lt;!channel&gt; (cart) is open")
    ]
    await announce(workspace.services, found.id, "opened 1")
    await announce(workspace.services, found.id, "resolved 2")
    await wait_for(lambda: bool(ours(slack.updated)))
    assert len(ours(slack.posted)) == 1
    assert slack.problems == []


# -- the socket --------------------------------------------------------------------------------------------------------


async def test_the_same_over_a_socket(services: Services, slack: FakeSlack) -> None:
    """Slack's server side of socket mode: an address, a greeting, an envelope, and its acknowledgement."""
    acknowledged: list[str] = []
    address = ""

    async def connections_open(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer xapp-test"
        return web.json_response({"ok": True, "url": address})

    async def socket(request: web.Request) -> web.WebSocketResponse:
        opened = web.WebSocketResponse()
        await opened.prepare(request)
        await opened.send_json({"type": "hello", "num_connections": 1})
        event = {
            "type": "app_mention",
            "text": "<@U0BOT> why?",
            "ts": "30.1",
            "channel": CHANNEL,
            "user": ASKER,
            "team": TEAM,
        }
        body = {"type": "event_callback", "team_id": TEAM, "event_id": "EvSocket", "event": event}
        for envelope in ("e1", "e2"):
            await opened.send_json({"type": "events_api", "envelope_id": envelope, "payload": body})
        async for message in opened:
            if message.type is WSMsgType.TEXT:
                acknowledged.append(json.loads(message.data)["envelope_id"])  # noqa: PERF401 - as they come
        return opened

    async def forward(request: web.Request) -> web.Response:
        async with httpx.AsyncClient() as client:
            headers = {"Authorization": request.headers["Authorization"]}
            reply = await client.post(
                slack.url + request.match_info["method"], json=await request.json(), headers=headers
            )
        return web.json_response(reply.json())

    app = web.Application()
    app.router.add_post("/api/apps.connections.open", connections_open)
    app.router.add_post("/api/{method}", forward)
    app.router.add_get("/socket", socket)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    address = f"ws://127.0.0.1:{port}/socket"
    settings = services.settings.model_copy(
        update={
            "slack_bot_token": "xoxb-test", "slack_app_token": "xapp-test", "slack_roles": f"{ASKER}=ask",
            "slack_api_url": f"http://127.0.0.1:{port}/api/",
        }
    )  # fmt: skip
    own = replace(services, settings=settings)
    chats, updated = Chats(own, Desk(own)), len(slack.updated)
    try:
        async with chats.running():
            await wait_for(lambda: len(acknowledged) == 2)
            await wait_for(lambda: len(slack.updated) > updated)
        assert sorted(acknowledged) == ["e1", "e2"]
        assert slack.posted[-1]["thread_ts"] == "30.1"
        assert len(slack.updated) == updated + 1
    finally:
        await runner.cleanup()


# -- texts -------------------------------------------------------------------------------------------------------------


def test_long_answers_are_split_within_the_limits() -> None:
    parts = (
        Part("heading", "x" * 400),
        *(Part("quote", "word " * 900 + "🔥" * 900) for _ in range(20)),
        Part("text", " "),
    )
    message = ChatMessage("s" * 900, parts, tuple(Button("open", f"b{n}" * 60, "https://x") for n in range(7)))
    bodies = render_blocks(message)
    assert len(bodies) > 3
    for body in bodies:
        assert broken_limits(body) == []
        assert sum(len(json.dumps(block)) for block in body["blocks"]) < 120_000
    assert sum(block["type"] == "actions" for body in bodies for block in body["blocks"]) == 2
    assert "".join(split_text("a" * 9000)) == "a" * 9000


def test_telemetry_cannot_mention_link_or_command() -> None:
    hostile = "<!channel> <@U1> <https://evil.example|click> *bold* \u202e"
    assert escape(hostile) == "&lt;!channel&gt; &lt;@U1&gt; &lt;https://evil.example|click&gt; *bold* \\u202e"
    (body,) = render_blocks(ChatMessage(hostile, (Part("text", hostile),)))
    assert body["blocks"][0]["text"]["type"] == "plain_text"
    assert "<!" not in body["text"]
    assert plain_words("<@U1|bot> see <https://a.example|a> <#C1|general> &lt;b&gt;") == "see a #C1|general <b>"


def test_other_chats_get_the_same_as_text() -> None:
    message = ChatMessage(
        "s", (Part("heading", "*Slow*"), Part("quote", "[a](http://evil)")), (Button("open", "Open", "https://x"),)
    )
    assert render("mattermost", message)["text"] == "#### \\*Slow\\*\n> \\[a\\]\\(http\\://evil\\)\n[Open](https://x)"
    card = render("teams", message)["attachments"][0]["content"]
    assert card["body"][0]["inlines"][0]["text"] == "*Slow*"
    assert {block["type"] for block in card["body"]} == {"RichTextBlock"}
    assert render("json", message)["links"] == [{"label": "Open", "url": "https://x"}]
    assert [hook.name for hook in read_hooks("json=https://a mattermost=https://b")] == ["json-1", "mattermost-2"]
    for wrong in ("https://a", "irc=https://a", "json=ftp://a"):
        with pytest.raises(SettingsError, match="CHAT_WEBHOOKS"):
            read_hooks(wrong)


async def test_a_webhook_surface_posts_json(slack: FakeSlack) -> None:
    (hook,) = read_hooks(f"json={slack.url}nothing")
    assert await hook.post(Place(), ChatMessage("s", (Part("text", "x"),))) == ""


def test_slack_needs_a_way_in(services: Services) -> None:
    bare = services.settings.model_copy(update={"slack_bot_token": "xoxb-test"})
    with pytest.raises(SettingsError, match="SLACK_SIGNING_SECRET"):
        Chats(replace(services, settings=bare), Desk(services))

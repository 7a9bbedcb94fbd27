"""A conversation of ten turns over `POST /chat`, with everything built anew in the middle, and the threads that are kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.services import Services
from api.app import build_app
from cli.services import build_services
from domain.settings import Settings


async def say(client: httpx.AsyncClient, environment: str, thread: str, text: str, **more: Any) -> dict[str, Any]:
    body = {"question": text, "environment": environment, "thread_id": thread, **more}
    reply = await client.post("/chat", json=body, timeout=60)
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


async def test_ten_turns_with_a_restart_in_the_middle(
    client: httpx.AsyncClient, services: Services, admin_key: str, data_dir: Path, incident: str
) -> None:
    thread = "thr-ten-turns"
    first = await say(client, incident, thread, "why does checkout fail?")
    assert first["verdict"]["causes"][0]["service"] == "payment"
    assert (first["kind"], first["turn"]) == ("why", 1)

    logs = await say(client, incident, thread, "show me the logs")
    assert logs["kind"] == "logs"
    assert logs["verdict"]["outcome"] == ""
    assert logs["claims"]
    assert all(" payment: KeyError" in claim["text"] and claim["evidence"] for claim in logs["claims"])

    errors = await say(client, incident, thread, "how many errors were there?")
    assert errors["kind"] == "count"
    assert "error lines" in errors["answer"]

    changed = await say(client, incident, thread, "what changed in payment in the last 10 minutes?")
    assert changed["kind"] == "changes"
    assert [claim["evidence"][0].split("-")[0] for claim in changed["claims"]] == ["change"]

    callers = await say(client, incident, thread, "who calls it?", at=None)
    assert callers["kind"] == "calls"
    assert callers["answer"].startswith("payment is called by storefront")
    assert callers["claims"][0]["evidence"][0].startswith("edge-")

    # Everything that was in memory is gone from here on.
    again = build_services(Settings(data_dir=data_dir, embedder="none"), services.database, services.graph)
    transport = httpx.ASGITransport(build_app(again), raise_app_exceptions=False)
    async with httpx.AsyncClient(
        transport=transport, base_url="http://test", headers={"X-API-Key": admin_key}
    ) as other:
        templates = await say(other, incident, thread, "which log templates does it write?")
        assert templates["kind"] == "templates"
        assert any("KeyError" in claim["text"] for claim in templates["claims"])

        before = await say(other, incident, thread, "is storefront ok?", **{"from": first["window"]["from"]})
        assert before["kind"] == "why"

        runbook = await say(other, incident, thread, "what does the runbook bad-deploy-roll-back say?")
        assert runbook["runbook"]["id"] == "bad-deploy-roll-back"
        assert runbook["kind"] == "runbook"

        poem = await say(other, incident, "thr-poem", "write me a poem about roses")
        assert poem["kind"] == "other"
        assert "not something I can help with" in poem["answer"]

        unclear = await say(other, incident, "thr-unclear", "show me the logs")
        assert (unclear["kind"], unclear["judge"]["action"]) == ("clarify", "NEED_CLARIFICATION")
        clear = await say(other, incident, "thr-unclear", "payment")
        assert clear["kind"] == "logs"
        assert clear["claims"]

        ninth = await say(other, incident, thread, "why does checkout fail?")
        assert ninth["verdict"]["causes"][0]["service"] == "payment"
        tenth = await say(other, incident, thread, "and before the deploy?")
        assert tenth["turn"] == 10
        assert tenth["kind"] == "why"
        assert tenth["verdict"]["outcome"] in ("HEALTHY", "INCONCLUSIVE")
        assert tenth["window"]["to"] < ninth["window"]["to"]

        held = (await other.get(f"/threads/{thread}", params={"environment": incident})).json()["turns"]
        assert [turn["turn"] for turn in held] == list(range(1, 11))
        assert held[0]["answer"]["incident_id"] == first["incident_id"]
        assert [turn["kind"] for turn in held[:4]] == ["why", "logs", "count", "changes"]
        threads = (await other.get("/threads", params={"environment": incident})).json()["threads"]
        assert {one["thread_id"]: one["turns"] for one in threads}[thread] == 10
        for turn in held:
            for claim in turn["answer"]["claims"]:
                for evidence in claim["evidence"]:
                    assert (
                        await other.get(f"/evidence/{evidence}", params={"environment": incident})
                    ).status_code == 200


async def test_feedback_is_kept_with_its_turn(client: httpx.AsyncClient, incident: str) -> None:
    await say(client, incident, "thr-rated", "what changed?")
    reply = await client.post(
        "/threads/thr-rated/feedback", json={"helpful": False, "note": "too long", "environment": incident}
    )
    assert reply.json()["turn"] == 1
    held = (await client.get("/threads/thr-rated", params={"environment": incident})).json()["turns"]
    assert held[0]["feedback"] == {"helpful": False, "note": "too long", "cause": ""}
    wrong = {"helpful": True, "turn": 7, "environment": incident}
    assert (await client.post("/threads/thr-rated/feedback", json=wrong)).status_code == 404
    assert (await client.get("/threads/nobody", params={"environment": incident})).status_code == 404


@pytest.mark.parametrize("text", ["what changed?", "how many errors in the last 5 minutes?", "who calls payment?"])
async def test_what_is_looked_up_says_so_where_nothing_is_stored(
    client: httpx.AsyncClient, environment: str, text: str
) -> None:
    body = await say(client, environment, "", text)
    assert body["verdict"]["outcome"] == ""
    assert body["claims"] == []
    assert body["incident_id"] == ""


async def test_what_is_looked_up_is_judged_and_counted_too(client: httpx.AsyncClient, incident: str) -> None:
    asked = {
        "why": "why does checkout fail?",
        "count": "how many errors were there in payment?",
        "calls": "who calls payment?",
        "code": "where is charge_card defined?",
    }
    bodies = {kind: await say(client, incident, f"thr-{incident}-{kind}", text) for kind, text in asked.items()}
    assert {kind: body["kind"] for kind, body in bodies.items()} == {kind: kind for kind in asked}
    stats = (await client.get("/review/stats", params={"by": "intent", "environment": incident})).json()
    assert {group["value"]: group["runs"] for group in stats["groups"]} == dict.fromkeys(asked, 1)
    for kind, body in bodies.items():
        trace = (await client.get(f"/traces/{body['trace_id']}")).json()
        assert (trace["facts"]["intent"], trace["answer"], trace["status"]) == (kind, body["answer"], "complete")
        held = (await client.get(f"/traces/{body['trace_id']}/reviews")).json()["decisions"]
        assert [(one["action"], one["policy"] != "") for one in held] == [(body["judge"]["action"], kind == "why")]
    # A policy is tried on what policies decide: nothing that was looked up.
    policy = "name: p\nrules: []\notherwise: ESCALATE"
    tried = (await client.post("/policies/dry-run", json={"text": policy, "environment": incident})).json()
    assert tried["looked_at"] == 1

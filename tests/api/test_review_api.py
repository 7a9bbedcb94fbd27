"""Judging, through the ways in that people use."""

from __future__ import annotations

import httpx

from agents.services import Services


async def test_the_claims_that_code_writes_hold_against_their_records(
    client: httpx.AsyncClient, incident: str, services: Services
) -> None:
    reply = await client.post("/chat", json={"question": "why did checkout fail?", "environment": incident})
    judge = reply.json()["judge"]
    assert len(reply.json()["claims"]) >= 3
    checked = {"cited", "retrieved", "unchanged", "entities", "support", "path", "order", "claims_kept"}
    assert {name: judge["scores"].get(name) for name in checked} == dict.fromkeys(checked, 1.0)
    assert not [gap for gap in judge["gaps"] if gap.startswith("cut:")]
    assert judge["strengths"]
    view = await services.traces.load(reply.json()["trace_id"])
    assert view.judges[-1].strengths == tuple(judge["strengths"])
    assert view.judges[-1].scores == judge["scores"]

"""How runs do, over HTTP: groups, failures, patterns, calibration, flags raised by themselves, and two runs compared."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import httpx

from agents.calibration_watch import CalibrationWatch
from agents.services import Services
from review.policy_document import built_in_policy


async def judged(services: Services, environment: str, score: float, outcome: str = "CONFIRMED") -> str:
    """Keep a decision about a run, and return the run's id."""
    trace_id = f"trc_20260101_000000_{uuid.uuid4().hex[:8]}"
    signals: dict[str, Any] = {
        "answer": {
            **{
                "outcome": outcome,
                "clarification": False,
                "symptom": True,
                "causes": 1,
                "not_seen": 0,
                "doubted": False,
            }
        },
        "scores": {"claims_kept": 1.0, "numbers": score, "quotes": 1.0},
        "checks": {"complete": True},
        "model": {"asked": False},
    }
    about = {"service": "payment", "intent": "why", "outcome": outcome, "confidence": 0.9}
    await services.rulings.record(
        built_in_policy(),
        signals,
        environment=environment,
        trace_id=trace_id,
        judge="checks",
        title="why?",
        about=about,
        gaps=("something is missing",),
    )
    return trace_id


async def test_runs_are_summed_up_flagged_and_settled(
    client: httpx.AsyncClient, services: Services, environment: str, tmp_path: Path
) -> None:
    ids = [await judged(services, environment, 0.5) for _ in range(3)]
    ids.append(await judged(services, environment, 1.0, "INCONCLUSIVE"))
    where = {"environment": environment}
    stats = (await client.get("/review/stats", params=where)).json()
    assert (stats["runs"], stats["allowed"]) == (4, 3)
    assert stats["groups"][0]["value"] == "payment"
    assert stats["patterns"][0]["principle"] == "numbers"
    by_outcome = (await client.get("/review/stats", params=where | {"by": "outcome"})).json()
    assert {g["value"]: g["runs"] for g in by_outcome["groups"]} == {"CONFIRMED": 3, "INCONCLUSIVE": 1}
    assert (await client.get("/review/stats", params={"by": "mood"})).status_code == 422
    failures = (await client.get("/review/failures", params=where)).json()
    assert (failures["count"], failures["looked_at"]) == (1, 4)
    assert failures["failures"][0]["gaps"] == ["something is missing"]
    patterns = (await client.get("/review/patterns", params=where | {"min_runs": 4})).json()
    assert patterns["patterns"] == []

    for trace_id in ids:
        await services.rulings.evaluations.review(trace_id, "ann", trace_id == ids[0], "", ())
    calibration = (await client.get("/review/calibration", params=where)).json()
    assert calibration["reliability"]["runs"] == 4
    assert calibration["reliability"]["stands_out"] is False
    assert {flag["kind"] for flag in calibration["flags"]} == {"principle", "regression"}

    file = tmp_path / "alerts.md"
    watch = CalibrationWatch(services.database, file)
    raised = await watch.look()
    own = [flag for flag in raised if flag.trace_id in ids]
    assert sorted(flag.kind for flag in own) == ["principle", "principle", "principle", "regression"]
    assert f"numbers in {environment}" in file.read_text(encoding="utf-8")
    assert await watch.look() == []
    assert await CalibrationWatch(services.database, file).look() == []
    flagged = (await client.get("/review/flagged", params={"limit": 500})).json()["flagged"]
    assert set(ids) <= {run["trace_id"] for run in flagged}
    assert (await client.post(f"/review/flagged/{ids[0]}/settle")).json()["settled"] == 1
    left = (await client.get("/review/flagged", params={"limit": 500})).json()["flagged"]
    assert ids[0] not in {run["trace_id"] for run in left}


async def test_two_runs_are_compared(client: httpx.AsyncClient, incident: str) -> None:
    asked = {"question": "why did checkout fail?", "environment": incident}
    a = (await client.post("/chat", json=asked)).json()["trace_id"]
    b = (await client.post("/chat", json=asked)).json()["trace_id"]
    said = (await client.get("/review/compare", params={"a": a, "b": b})).json()
    assert said["same_question"] is True
    assert said["outcome"] == ["CONFIRMED", "CONFIRMED"]
    assert said["gaps_a_only"] == said["gaps_b_only"] == []
    unset = await client.post("/review/compare", json={"a": a, "b": b})
    assert (unset.status_code, "CAUSEGRAPH_JUDGE_MODEL" in unset.json()["message"]) == (422, True)
    missing = await client.get("/review/compare", params={"a": a, "b": "trc_20200101_000000_00000000"})
    assert missing.status_code == 404

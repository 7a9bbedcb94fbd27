"""Traces of other programs go by the time of their arrival, with what was said of them; our own stay."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest

from domain.times import DAY_US
from domain.verdict import JudgeAction
from storage.cases import CaseStore
from storage.database import QUERIES, Database
from storage.evaluations import Evaluation, EvaluationStore, make_evaluation_id
from storage.flags import FlagStore, TraceFlag
from storage.migrate import migrate
from storage.trace_retention import TraceRetention
from storage.trace_search import TraceFilter
from storage.traces import TraceStore
from tracing import Event, Trace
from tracing.events import encode_payload

QUERIES["retention_age_trace"] = "UPDATE trace SET stored_us = ? WHERE id = ?"
QUERIES["retention_of_trace"] = """SELECT (SELECT COUNT(*) FROM trace_event WHERE trace_id = t.id) +
  (SELECT COUNT(*) FROM evaluation WHERE trace_id = t.id) + (SELECT COUNT(*) FROM trace_review WHERE trace_id = t.id) +
  (SELECT COUNT(*) FROM trace_flag WHERE trace_id = t.id) + (SELECT COUNT(*) FROM review_case WHERE trace_id = t.id)
FROM (SELECT ? AS id) t"""
QUERIES["retention_case_events"] = "SELECT COUNT(*) FROM case_event"


@pytest.fixture
async def own(fresh_url: Callable[[], str], open_database: Callable[[str], Awaitable[Database]]) -> Database:
    database = await open_database(fresh_url())
    await migrate(database)
    return database


def _sent_by(run: Trace, source: str) -> list[Event]:
    first, *others = run.events
    return [replace(first, payload=encode_payload({**first.data(), "source": source})), *others]


def _evaluation(trace_id: str, action: JudgeAction) -> Evaluation:
    return Evaluation(
        id=make_evaluation_id(),
        environment="e",
        trace_id=trace_id,
        created_us=1,
        judge="x",
        service="",
        intent="",
        outcome="",
        confidence=None,
        policy="p",
        policy_version=1,
        rule="",
        action=action,
        reason="R",
        severity="low",
        input_hash="0" * 64,
        signals={},
    )


async def _store(
    own: Database, store: TraceStore, *, days_ago: float, action: JudgeAction | None = None, source: str = "ingest"
) -> str:
    """Store a trace that arrived so many days ago, with a review, a flag, and a case where its policy escalates."""
    run = Trace("why?", "e")
    run.end()
    await store.append(_sent_by(run, source))
    if action:
        await CaseStore(own).record(_evaluation(run.id, action), "why?")
        await EvaluationStore(own).review(run.id, "me", True, "", [])
        await FlagStore(own).raise_all([TraceFlag(run.id, "principle", "numbers", "text", 1)])
    await own.execute("retention_age_trace", (time.time_ns() // 1000 - round(days_ago * DAY_US), run.id))
    return run.id


async def test_old_traces_of_other_programs_go_with_all_that_was_said_of_them(own: Database, tmp_path: Path) -> None:
    store = TraceStore(own, tmp_path)
    gone = await _store(own, store, days_ago=9, action="ALLOW_ANSWER")
    resolved = await _store(own, store, days_ago=9, action="ESCALATE")
    case = (await CaseStore(own).of_trace(resolved))[0]
    await CaseStore(own).move(case.id, "resolve", "me")
    kept = {
        await _store(own, store, days_ago=9, action="ESCALATE"),  # somebody still has its case
        await _store(own, store, days_ago=5),
        await _store(own, store, days_ago=400, source="causegraph"),
    }
    assert await TraceRetention(own, 0).drop() == 0
    assert await TraceRetention(own, 7).drop() == 2
    assert {row.id for row in await store.search.find(TraceFilter())} == kept
    for trace_id in (gone, resolved):
        assert (await own.fetch("retention_of_trace", (trace_id,)))[0][0] == 0
    assert (await own.fetch("retention_case_events"))[0][0] == 1
    assert await TraceRetention(own, 7).drop() == 0


async def test_what_was_added_to_late_is_young_again(own: Database, tmp_path: Path) -> None:
    store = TraceStore(own, tmp_path)
    run = Trace("why?", "e")
    await store.append(_sent_by(run, "ingest"))
    await own.execute("retention_age_trace", (1, run.id))
    run.end()
    await store.append(_sent_by(run, "ingest"))
    assert await TraceRetention(own, 1).drop() == 0

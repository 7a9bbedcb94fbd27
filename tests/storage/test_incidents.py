"""Incidents keep the answer as it was given."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domain.errors import NotFound
from storage.database import Database
from storage.incidents import Incident, IncidentStore, make_incident_id


@pytest.fixture
def store(database: Database) -> IncidentStore:
    return IncidentStore(database)


def make(environment: str, created_us: int = 1, thread_id: str = "thread-1") -> Incident:
    answer = {"answer": "payment 🔥", "verdict": {"outcome": "LIKELY", "causes": []}}
    return Incident(
        id=make_incident_id(),
        environment=environment,
        thread_id=thread_id,
        trace_id="trc_20260101_000000_00000000",
        created_us=created_us,
        question="why did checkout fail?",
        outcome="LIKELY",
        answer=answer,
        service="payment",
        started_us=5,
    )


async def test_an_incident_comes_back(store: IncidentStore, environment: str) -> None:
    incident = make(environment)
    assert len(incident.id) == 16 and incident.id.startswith("inc-")
    await store.save(incident)
    assert await store.get(incident.id) == incident
    with pytest.raises(NotFound, match="inc-000000000000"):
        await store.get("inc-000000000000")


async def test_saving_again_replaces_the_answer(store: IncidentStore, environment: str) -> None:
    incident = make(environment)
    await store.save(incident)
    better = replace(incident, outcome="CONFIRMED", answer={"answer": "better"}, ended_us=9)
    await store.save(better)
    assert await store.list(environment) == [better]


async def test_lists_are_newest_first_and_threads_in_order(store: IncidentStore, environment: str) -> None:
    incidents = [make(environment, created_us=at) for at in (1, 2, 3)]
    other = make(environment, created_us=4, thread_id="thread-2")
    elsewhere = make(environment + "-other", created_us=5)
    for incident in (*incidents, other, elsewhere):
        await store.save(incident)
    assert await store.list(environment) == [other, *reversed(incidents)]
    assert await store.list(environment, limit=1, before_us=4) == [incidents[2]]
    assert await store.by_thread(environment, "thread-1") == incidents
    assert await store.by_thread(environment, "nobody") == []

"""A runbook that helped is an edge of the graph, until somebody says that the answer was wrong."""

from __future__ import annotations

import time

from agents.runbook_memory import RunbookMemory
from domain.incident import TimelineEvent
from graph.runbooks import RelatedRunbook, RunbookGraph
from graph.topology import TopologyGraph
from storage.database import Database
from storage.incident_log import IncidentLog
from storage.incidents import Incident, IncidentStore, make_incident_id


async def test_what_helped_is_remembered_and_what_was_wrong_forgotten(
    database: Database, topology: TopologyGraph, environment: str
) -> None:
    log, store, edges = IncidentLog(database), IncidentStore(database), RunbookGraph(topology.connection)
    now = time.time_ns() // 1000
    ids = [make_incident_id() for _ in range(3)]
    for number, incident_id in enumerate(ids):
        cause = {"service": "store", "fault_class": "resource"}
        answer = {"verdict": {"outcome": "CONFIRMED", "causes": [cause]}, "runbook": {"id": f"book-{number}"}}
        await store.save(Incident(incident_id, environment, "", "", now + number, "why?", "CONFIRMED", answer, "store"))
    run = TimelineEvent(ids[0], now, "helped", "workflow x: verified", details={"run_id": "run-1"})
    for event in (
        run,
        TimelineEvent(ids[1], now, "feedback", "right: yes", "somebody"),
        TimelineEvent(ids[2], now, "helped", "a cup of tea", "somebody"),
    ):
        await log.note(event)
    memory = RunbookMemory(log, topology)

    async def related(at: int = now + 10) -> list[RelatedRunbook]:
        while await memory.advance():
            pass
        return await edges.related(environment, ["store", "nobody"], at)

    expected = [RelatedRunbook("store", f"book-{n}", "resource", ids[n], now + n) for n in (1, 0)]
    assert await related() == expected, "what people did besides says nothing of a runbook"
    assert await related() == expected
    assert await related(now + 1) == expected[1:], "nothing from after the time that is asked about"
    await topology.drop(environment)
    memory._incarnation = ""
    assert await related() == expected, "a graph that was lost is filled again"
    await log.note(TimelineEvent(ids[1], now, "feedback", "wrong", "somebody else"))
    assert await related() == expected[1:]

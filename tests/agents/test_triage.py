"""Alerts become incidents on a real database: storms, ends, flapping, restarts, merges and splits by hand."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agents.incident_run import IncidentRun
from agents.services import Services
from agents.triage import AlertTriage
from agents.watch import SymptomWatch
from cli.services import build_services
from diagnosis.grouping import Nearness, group
from domain.errors import NotFound, QuestionError
from domain.incident import AlertSeen, LiveIncident, TimelineEvent
from domain.noticed import NoticedSymptom
from domain.settings import Settings
from domain.telemetry import Alert
from domain.times import HOUR_US, MINUTE_US, SECOND_US
from graph.topology import TopologyGraph
from storage.database import QUERIES, Database
from storage.incidents import make_incident_id
from storage.ingest import Batch, IngestStore, prepare
from storage.regrouping import Regrouping
from storage.symptoms import _symptom_row
from tests.settling import settle

QUERIES["test_members"] = "SELECT incident_id, COUNT(*) FROM incident_alert WHERE environment = ? GROUP BY incident_id"
QUERIES["test_incidents"] = (
    "SELECT id, status, firing, merged_into, rounds, wanted FROM incident WHERE environment = ? ORDER BY created_us, id"
)
QUERIES["test_silence"] = "UPDATE incident SET wanted = 0 WHERE environment = ?"


@pytest.fixture(scope="module")
def services(database: Database, topology: TopologyGraph, data_dir: Path) -> Services:
    settings = Settings(data_dir=data_dir, embedder="none", alert_investigations_per_hour=0, watermark_seconds=0.1)
    return build_services(settings, database, topology)


class Feed:
    """Alerts of one environment; the same name and service is the same thing."""

    def __init__(self, database: Database, environment: str) -> None:
        self._store = IngestStore(database)
        self._environment = environment
        self.start_us = time.time_ns() // 1000 - 10 * MINUTE_US

    def alert(self, name: str, service: str, seconds: float = 0.0, over: float | None = None, **labels: Any) -> Alert:
        at = self.start_us + round(seconds * SECOND_US)
        return Alert(
            environment=self._environment, time_us=at, source="alertmanager", name=name,
            status="firing" if over is None else "resolved", fingerprint=f"{name} {service} {sorted(labels.items())}"[:120],
            service=service, severity="critical", summary="it is <b>bad</b>",
            ended_us=None if over is None else self.start_us + round(over * SECOND_US), labels=labels,
        )  # fmt: skip

    async def send(self, *alerts: Alert) -> None:
        await self._store.write(prepare(Batch(self._environment, "alerts", uuid.uuid4().hex, 0, alerts=alerts)))


@pytest.fixture
def feed(database: Database, environment: str) -> Feed:
    return Feed(database, environment)


type Look = Callable[[], Awaitable[list[tuple[str, str, int]]]]


@pytest.fixture
def look(database: Database, environment: str) -> Look:
    """Return (id, status, firing) of the incidents that are not part of others, oldest first."""

    async def read() -> list[tuple[str, str, int]]:
        rows = await database.fetch("test_incidents", (environment,))
        return [(str(row[0]), str(row[1]), int(row[2])) for row in rows if not row[3]]

    return read


async def test_a_storm_of_ten_thousand_alerts(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    rules = [(f"Rule{n}", service) for service in ("cart", "billing", "search") for n in range(5)]
    for part in range(20):
        storm = [
            feed.alert(*rules[n % len(rules)], seconds=n * 0.006, instance=f"i-{n}")
            for n in range(part * 500, part * 500 + 500)
        ]
        await feed.send(*storm)
    triage, other = AlertTriage(services), AlertTriage(services)
    began = time.perf_counter()
    await asyncio.gather(settle(triage), settle(other))
    print(f"10,000 alerts grouped in {time.perf_counter() - began:.1f} s")
    incidents = await look()
    assert len(incidents) <= 3
    assert sum(firing for _, _, firing in incidents) == 10_000
    members = await database.fetch("test_members", (environment,))
    assert sum(int(row[1]) for row in members) == 10_000, "each alert is in one incident"
    decisions = [await triage.log.decisions(incident_id, 20_000) for incident_id, _, _ in incidents]
    assert sum(d.kind in ("open", "join") for every in decisions for d in every) == 10_000
    rules_told = await triage.log.rules(incidents[0][0])
    assert sum(rule.alerts for rule in rules_told) == incidents[0][2]


async def test_alerts_end_and_so_does_their_incident(
    services: Services, database: Database, feed: Feed, look: Look
) -> None:
    triage = AlertTriage(services)
    await feed.send(feed.alert("Slow", "cart"), feed.alert("Errors", "cart", 5))
    await settle(triage)
    ((incident_id, status, firing),) = await look()
    assert (status, firing) == ("open", 2)
    await feed.send(feed.alert("Slow", "cart", over=60))
    await settle(triage)
    assert (await look())[0][2] == 1
    await feed.send(feed.alert("Errors", "cart", 5, over=90))
    await settle(triage)
    now = time.time_ns() // 1000
    await triage.log.settle(now, MINUTE_US, MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "open", "it waits whether it stays quiet"
    await triage.log.settle(now + 2 * MINUTE_US, MINUTE_US, MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "resolved"
    assert (await triage.log.get(incident_id)).ended_us == feed.start_us + 90 * SECOND_US
    await feed.send(feed.alert("Slow", "cart", 300))
    await settle(triage)
    assert [row[:2] for row in await look()] == [(incident_id, "open")]
    kinds = [event.kind for event in await triage.log.events(incident_id)]
    assert kinds == ["opened", "resolved", "reopened"]
    await feed.send(feed.alert("Slow", "cart", 300, over=310))
    await settle(triage)
    later = time.time_ns() // 1000 + 2 * MINUTE_US
    await triage.log.settle(later, MINUTE_US, MINUTE_US, HOUR_US)
    await triage.log.settle(later + 2 * HOUR_US, MINUTE_US, MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "closed"


async def test_what_flaps_is_one_incident_that_waits_longer(services: Services, feed: Feed, look: Look) -> None:
    triage = AlertTriage(services)
    for number in range(4):
        await feed.send(feed.alert("Flap", "cart", number * 30, over=number * 30 + 10))
        await settle(triage)
    ((incident_id, status, _),) = await look()
    now = time.time_ns() // 1000
    await triage.log.settle(now + 2 * MINUTE_US, MINUTE_US, 10 * MINUTE_US, HOUR_US)
    assert ((await look())[0][1], status) == ("open", "open")
    assert [rule.flapping for rule in await triage.log.rules(incident_id)] == [True]
    await triage.log.settle(now + 11 * MINUTE_US, MINUTE_US, 10 * MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "resolved"


async def test_what_was_grouped_by_a_process_that_died_is_not_grouped_again(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    triage = AlertTriage(services)
    await settle(triage)
    await feed.send(feed.alert("Slow", "cart"))
    waiting = await triage.store.waiting(100)
    seen: list[Sequence[AlertSeen]] = []

    def place(env: str, alerts: Sequence[AlertSeen], incidents: Sequence[LiveIncident], known: Any) -> Any:
        seen.append(alerts)
        return group(alerts, incidents, known, Nearness(), iter(make_incident_id, ""), 1_800_000_000_000_000)

    def die(*given: Any) -> Any:
        place(*given)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await triage.store.follow(waiting, die, 1)
    assert await look() == []
    assert await triage.store.follow(waiting, place, 1) == 1
    assert await triage.store.follow(waiting, place, 1) is None, "another process was here"
    assert len(seen) == 2
    assert len(await look()) == 1


async def test_too_few_alerts_wait_and_are_closed(
    services: Services, database: Database, feed: Feed, look: Look
) -> None:
    strict = replace(services, settings=services.settings.model_copy(update={"incident_min_alerts": 2}))
    triage = AlertTriage(strict)
    await feed.send(feed.alert("Slow", "cart"), feed.alert("Full", "", over=1))
    await settle(triage)
    assert sorted(row[1] for row in await look()) == ["pending", "pending"]
    await feed.send(feed.alert("Errors", "cart", 9))
    await settle(triage)
    assert sorted(row[1] for row in await look()) == ["open", "pending"]
    await triage.log.settle(time.time_ns() // 1000 + 2 * MINUTE_US, MINUTE_US, MINUTE_US, HOUR_US)
    assert sorted(row[1] for row in await look()) == ["closed", "open"]


async def test_merge_and_split_by_hand(services: Services, database: Database, feed: Feed, look: Look) -> None:
    triage, now = AlertTriage(services), time.time_ns() // 1000
    log, regrouping = triage.log, Regrouping(database)
    await feed.send(feed.alert("Slow", "cart"), feed.alert("Full", "", team="x"), feed.alert("Errors", "cart", 3))
    await settle(triage)
    by_size = sorted(await look(), key=lambda row: -row[2])
    (large, _, _), (small, _, _) = by_size
    merged = await regrouping.merge(large, small, "ann", "the disk is the cart's", now)
    assert (merged.firing, merged.profile.alerts) == (3, 3)
    assert [row[0] for row in await look()] == [large]
    with pytest.raises(QuestionError, match=f"part of {large}"):
        await regrouping.merge(large, small, "ann", "", now)
    with pytest.raises(QuestionError, match="itself"):
        await regrouping.merge(large, large, "ann", "", now)
    with pytest.raises(NotFound):
        await regrouping.merge(large, "inc-none", "ann", "", now)
    new = await regrouping.split(large, lambda alert: alert.name == "Full", make_incident_id(), "bob", "it is not", now)
    assert (new.profile.alerts, new.title, new.status, new.held) == (1, "Full", "open", True)
    assert (await log.get(large)).profile.alerts == 2
    for chosen in (lambda alert: True, lambda alert: False):
        with pytest.raises(QuestionError, match="nothing to split"):
            await regrouping.split(large, chosen, make_incident_id(), "bob", "", now)
    # What a person has split is not joined again, and each takes its own alerts in.
    await feed.send(feed.alert("Full", "", 60, team="x"), feed.alert("Slow", "cart", 60))
    await settle(triage)
    assert {row[0]: row[2] for row in await look()} == {large: 3, new.id: 2}
    told = Counter(event.kind for event in await log.events(large))
    assert told["merged"] == told["split"] == 1
    kinds = [(d.kind, d.actor) for d in await log.decisions(new.id)]
    assert kinds[0] == ("split", "bob")


async def test_symptoms_and_alerts_about_one_service_are_one_incident(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    triage, watch = AlertTriage(services), SymptomWatch(services)
    await settle(triage)
    await feed.send(feed.alert("Slow", "cart", 500))
    await settle(triage)
    ((incident_id, _, _),) = await look()
    symptom = noticed(environment, "cart")
    await database.execute("put_symptom", _symptom_row(symptom, symptom.noticed_us))
    await watch._decide(symptom)
    assert (await services.symptoms.get(symptom.id)).incident_id == incident_id
    assert len(await look()) == 1
    await feed.send(feed.alert("Slow", "cart", 500, over=510))
    await settle(triage)
    later = time.time_ns() // 1000 + 2 * MINUTE_US
    await triage.log.settle(later, MINUTE_US, MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "open", "requests of it still fail"
    over = replace(symptom, status="recovered", ended_us=symptom.noticed_us + 1)
    await database.execute("put_symptom", _symptom_row(over, over.noticed_us))
    assert incident_id in await triage.log.settle(later, MINUTE_US, MINUTE_US, HOUR_US)
    assert (await look())[0][1] == "resolved"
    await database.execute("test_silence", (environment,))


async def test_an_alert_joins_the_incident_that_a_symptom_has_opened(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    eager = replace(
        services, settings=services.settings.model_copy(update={"symptom_investigations_per_hour": 100_000})
    )
    triage, watch = AlertTriage(services), SymptomWatch(eager)
    await settle(triage)
    symptom = noticed(environment, "cart")
    await database.execute("put_symptom", _symptom_row(symptom, symptom.noticed_us))
    await watch._decide(symptom)
    await watch._decide(symptom)  # as after a crash in between
    ((incident_id, status, _),) = await look()
    assert status == "open"
    await feed.send(feed.alert("Slow", "cart", 590))
    await settle(triage)
    assert await look() == [(incident_id, "open", 1)]
    assert Counter(event.kind for event in await triage.log.events(incident_id))["symptom"] >= 1
    job = await watch.queue.claim()
    assert job is not None
    await watch.queue.finish(job)


def noticed(environment: str, service: str) -> NoticedSymptom:
    now = time.time_ns() // 1000 - 30 * SECOND_US
    return NoticedSymptom(environment, service, "GET /", "errors", "open", now - MINUTE_US, now, None, 60, 100, 0.01)


class Scripted:
    """Answers as told; notes what it was asked."""

    def __init__(self, services: Services, outcome: str) -> None:
        self._services, self._outcome = services, outcome
        self.asked: list[Any] = []

    async def ask(self, question: Any) -> dict[str, Any]:
        from storage.incidents import Incident

        self.asked.append(question)
        cause = {"service": "payment", "fault_class": "config"}
        verdict = {"outcome": self._outcome, "causes": [cause] if self._outcome == "LIKELY" else []}
        body = {
            "trace_id": "trc_1",
            "verdict": verdict,
            "runbook": {"id": "wrong-address"},
            "incident_id": question.incident_id,
        }
        await self._services.incidents.save(
            Incident(
                question.incident_id, question.environment, question.thread_id, "trc_1", question.at_us, question.text,
                self._outcome, body,
            )
        )  # fmt: skip
        return body


async def test_an_incident_is_investigated_once_and_known_again(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    eager = replace(services, settings=services.settings.model_copy(update={"alert_investigations_per_hour": 100_000}))
    scripted = Scripted(services, "LIKELY")
    eager.__dict__["investigator"] = scripted
    triage = AlertTriage(services)
    await settle(triage)
    await feed.send(feed.alert("Slow", "cart"), feed.alert("Errors", "cart", 1))
    await settle(triage)
    ((first, _, _),) = await look()
    wanted = [
        (incident.id, rounds) for incident, rounds in await triage.log.wanted() if incident.environment == environment
    ]
    assert wanted == [(first, 1)]
    run = IncidentRun(eager, triage.log)
    incident = await triage.log.get(first)
    assert await run.investigate(incident, "Why?", incident.profile.last_us) == {"outcome": "LIKELY", "recurrence": ""}
    assert (await look())[0][1] == "identified"
    stored = await services.incidents.get(first)
    assert (stored.outcome, stored.started_us, stored.title) == ("LIKELY", feed.start_us, "Slow (cart)")
    await triage.log.note(TimelineEvent(first, 1, "helped", "rolled the address back", "ann"))
    await triage.log.change(first, "closed", TimelineEvent(first, 2, "closed", "", "ann"))
    feed.start_us += 3 * HOUR_US
    await feed.send(feed.alert("Slow", "cart"), feed.alert("Errors", "cart", 1))
    await settle(triage)
    second = next(row[0] for row in await look() if row[0] != first)
    found = await run.investigate(await triage.log.get(second), "Why?", feed.start_us)
    assert found["recurrence"] == first
    events = {event.kind: event for event in await triage.log.events(second)}
    assert list(events) == ["opened", "investigating", "recurrence", "verdict"], "what is known comes before the answer"
    assert "LIKELY: payment (config); what helped: rolled the address back" in events["recurrence"].text
    await triage.log.note(TimelineEvent(first, 3, "feedback", "wrong: it was the bank", "ann"))
    assert first not in dict(await triage.log.earlier(await triage.log.get(second)))
    await database.execute("test_silence", (environment,))


async def test_the_follower_orders_one_investigation_and_keeps_to_its_budget(
    services: Services, database: Database, feed: Feed, environment: str, look: Look
) -> None:
    triage = AlertTriage(services)
    await settle(triage)
    await feed.send(feed.alert("Slow", "cart"))
    await settle(triage)
    ((incident_id, _, _),) = await look()

    async def wanted() -> int:
        return sum(incident.id == incident_id for incident, _ in await triage.log.wanted())

    assert await wanted() == 1, "no budget: it waits for one"
    triage._services = replace(
        services, settings=services.settings.model_copy(update={"alert_investigations_per_hour": 100_000})
    )
    await triage.advance()
    await triage.advance()
    assert await wanted() == 0
    job = await triage.queue.enqueue({}, key=f"{incident_id} 1")
    assert (await triage.queue.get(job)).payload == {"incident_id": incident_id}

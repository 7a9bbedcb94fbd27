"""Kafka in and out, on the mock cluster that librdkafka has built in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import Producer, TopicPartition
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from domain.errors import SettingsError, StorageUnavailable
from domain.settings import Settings
from ingest.insights import InsightPublisher, insight_queue
from ingest.kafka_client import KafkaTrouble, open_consumer, open_producer, read_options
from ingest.kafka_source import BadMessage, Form, KafkaSource, read_topics
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source
from storage.database import Database
from storage.incidents import Incident, IncidentStore, make_incident_id
from storage.ingest import IngestStore

QUIET = KafkaTrouble(Source("kafka", ""))
QUICK = {"session.timeout.ms": "6000", "heartbeat.interval.ms": "300"}


@pytest.fixture(scope="module")
def brokers() -> Iterator[str]:
    """The addresses of a cluster that lives as long as its first client."""
    host = Producer({"test.mock.num.brokers": 2, "log_level": 0})
    deadline = time.monotonic() + 30
    while not (found := host.list_topics(timeout=30).brokers):
        assert time.monotonic() < deadline
    yield ",".join(f"{broker.host}:{broker.port}" for broker in found.values())
    del host


class Gate(Ingest):
    """An ingest whose database is away for the first `failures` deliveries of logs."""

    failures = 0

    async def accept_logs(self, delivery: Delivery) -> Receipt:
        if b"defect" in delivery.body:
            raise ZeroDivisionError
        if self.failures:
            self.failures -= 1
            raise StorageUnavailable
        return await super().accept_logs(delivery)


class Reading:
    def __init__(self, database: Database, brokers: str, group: str, topics: dict[str, Form], environment: str) -> None:
        self.ingest = Gate(IngestStore(database), Settings())
        self.source = Source("kafka", brokers)
        self.bad: list[BadMessage] = []
        trouble = KafkaTrouble(self.source)
        self.consumer = open_consumer(brokers, QUICK, group, trouble)
        self.reader = KafkaSource(
            self.ingest, self.consumer, topics, environment, self.source, trouble, lambda: None, self.bad.append
        )

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Reading]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.reader.run(stop))
        try:
            yield self
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)


def line(message: str) -> dict[str, Any]:
    return {"timestamp": "2024-03-01T10:42:00Z", "service": "cart", "level": "info", "message": message}


async def produce(brokers: str, topic: str, bodies: list[bytes | None], **headers: str) -> None:
    producer = open_producer(brokers, {}, QUIET)

    def send() -> None:
        for number, body in enumerate(bodies):
            producer.produce(topic, body, str(number), headers=dict(headers))
        assert producer.flush(60) == 0

    await asyncio.to_thread(send)


async def until(check: Callable[[], bool]) -> None:
    end = time.monotonic() + 90
    while not check():
        assert time.monotonic() < end
        await asyncio.sleep(0.05)


async def stored(database: Database, table: str, environment: str) -> int:
    def work(tx: Any) -> int:
        tx._cursor.execute(f"SELECT COUNT(*) FROM {table} WHERE environment = ?", (environment,))  # noqa: S608
        return int(tx._cursor.fetchall()[0][0])

    return await database.transaction(work)


async def committed(reading: Reading, topic: str) -> int:
    """Return the sum of the committed offsets of a topic."""

    def ask() -> int:
        partitions = reading.consumer.list_topics(topic, timeout=30).topics[topic].partitions
        found = reading.consumer.committed([TopicPartition(topic, number) for number in partitions], timeout=30)
        return sum(max(0, place.offset) for place in found)

    return await asyncio.to_thread(ask)


async def test_every_form_is_read_and_offsets_follow(brokers: str, database: Database, environment: str) -> None:
    spans = ExportTraceServiceRequest()
    # Its second byte, the length of the first field, is that of a brace.
    span = (
        spans.resource_spans.add()
        .scope_spans.add()
        .spans.add(trace_id=b"t" * 16, span_id=b"s" * 8, start_time_unix_nano=5000)
    )
    while spans.ByteSize() < 125:
        span.name += "x"
    assert spans.SerializeToString()[:2] == b"\n{"
    topics: dict[str, Form] = {"a-logs": "logs", "a-spans": "otlp_traces", "a-changes": "changes"}
    await produce(brokers, "a-logs", [json.dumps([line(f"n {n}")] * 2).encode() for n in range(20)] + [None])
    await produce(brokers, "a-spans", [spans.SerializeToString()])
    change = {"timestamp": 1709289720, "service": "cart", "kind": "deploy", "summary": "x", "environment": "ignored"}
    await produce(brokers, "a-changes", [json.dumps({**change, "environment": environment}).encode()])
    async with Reading(database, brokers, "a", topics, environment).running() as reading:
        await until(lambda: reading.source.counts["accepted"] == 42)
        while await committed(reading, "a-logs") != 21:
            await asyncio.sleep(0.05)
    for table, expected in (("log_event", 40), ("span", 1), ("change_event", 1)):
        assert await stored(database, table, environment) == expected


async def test_what_was_accepted_but_not_committed_counts_once(
    brokers: str, database: Database, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    await produce(brokers, "b", [json.dumps(line(f"n {n}")).encode() for n in range(50)], environment=environment)
    first = Reading(database, brokers, "b", {"b": "logs"}, "")

    async def crash(done: Any) -> None:
        """As if the process had died between both."""

    monkeypatch.setattr(first.reader, "_commit", crash)
    async with first.running():
        await until(lambda: first.source.counts["accepted"] == 50)
    await produce(brokers, "b", [json.dumps(line(f"n {n}")).encode() for n in range(50, 60)], environment=environment)
    second = Reading(database, brokers, "b", {"b": "logs"}, "")
    async with second.running():
        await until(lambda: sum(second.source.counts.values()) == 60)
    assert (second.source.counts["accepted"], second.source.counts["duplicate"]) == (10, 50)
    assert await stored(database, "log_event", environment) == 60


@pytest.mark.long
async def test_a_second_reader_takes_over_and_nothing_counts_twice(
    brokers: str, database: Database, environment: str
) -> None:
    topics: dict[str, Form] = {"c": "logs"}
    bodies: list[bytes | None] = [json.dumps(line(f"n {n}")).encode() for n in range(300)]
    await produce(brokers, "c", bodies[:100], environment=environment)
    async with Reading(database, brokers, "c", topics, "").running() as first:
        await until(lambda: first.source.counts["accepted"] > 0)
        async with Reading(database, brokers, "c", topics, "").running() as second:
            await produce(brokers, "c", bodies[100:], environment=environment)
            both = (first.source.counts, second.source.counts)
            await until(lambda: sum(counts["accepted"] for counts in both) == 300)
    assert await stored(database, "log_event", environment) == 300


async def test_nothing_is_committed_before_it_is_accepted_and_poison_is_kept(
    brokers: str, database: Database, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    bodies: list[bytes | None] = [b"{poison", b"defect", json.dumps(line("good")).encode()]
    await produce(brokers, "d", bodies, environment=environment)
    with caplog.at_level(logging.CRITICAL):
        reading = Reading(database, brokers, "d", {"d": "logs"}, "")
        reading.ingest.failures = 10**9
        async with reading.running():
            await until(lambda: reading.ingest.failures < 10**9 - 3)
            # Where the broker gave the first lines alone, they may be: they are kept elsewhere.
            assert await committed(reading, "d") <= min(2, len(reading.bad))
            reading.ingest.failures = 0
            await until(lambda: reading.source.counts["accepted"] == 1)
            while await committed(reading, "d") != 3:
                await asyncio.sleep(0.05)
    bad, defect = sorted(reading.bad, key=lambda bad: bad.body, reverse=True)
    assert defect.reason.startswith("ZeroDivisionError")
    assert (bad.body, bad.form, bad.environment) == (b"{poison", "logs", environment)
    assert "not JSON" in bad.reason
    assert reading.source.counts["rejected"] == 2


async def test_an_insight_is_published_for_each_investigation(
    brokers: str, database: Database, environment: str
) -> None:
    queue = insight_queue(database)
    store = IncidentStore(database, queue)
    causes = [{"service": "payment", "fault_class": "code", "confidence": 0.9}]
    answer = {
        "verdict": {"outcome": "CONFIRMED", "causes": causes},
        "answer": "payment did it",
        "judge": {"action": "ALLOW_ANSWER"},
    }
    incident = Incident(
        make_incident_id(), environment, "t", f"trc-{environment}", 1_709_289_720_000_000, "why?", "CONFIRMED", answer
    )
    for _ in range(2):
        await store.save(incident)
    stop = asyncio.Event()
    publisher = InsightPublisher(queue, store, open_producer(brokers, {}, QUIET), "insights", QUIET)
    task = asyncio.create_task(publisher.run(stop))
    consumer = open_consumer(brokers, QUICK, "reader", QUIET)
    consumer.subscribe(["insights"])

    async def next_message() -> Any:
        end = time.monotonic() + 90
        while time.monotonic() < end:
            message = await asyncio.to_thread(consumer.poll, 0.5)
            if message is not None and message.error() is None:
                return message
        raise AssertionError("no insight came")

    message = await next_message()
    stop.set()
    await asyncio.wait_for(task, 60)
    await asyncio.to_thread(consumer.close)
    insight = json.loads(message.value())
    assert message.key() == incident.id.encode()
    assert insight == {
        "schema": "causegraph.insight/1", "incident_id": incident.id, "trace_id": incident.trace_id,
        "environment": environment, "question": "why?", "created_at": "2024-03-01T10:42:00Z", "started_at": None,
        "ended_at": None, "service": "", "outcome": "CONFIRMED", "causes": causes, "not_seen": [],
        "answer": "payment did it", "action": "ALLOW_ANSWER", "runbook": None,
    }  # fmt: skip
    assert (await queue.counts()).get("done", 0) >= 1


async def test_brokers_that_are_away_are_a_problem_that_is_shown_and_not_a_flood(
    database: Database, environment: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "ingest.kafka_client"):
        async with Reading(database, "127.0.0.1:1", "away", {"x": "logs"}, environment).running() as reading:
            await until(lambda: bool(reading.source.problem))
            await asyncio.sleep(1)
    assert len(caplog.records) == 1


def test_settings_are_read_and_named() -> None:
    assert read_topics("a, b=otlp_logs ,c=changes") == {"a": "logs", "b": "otlp_logs", "c": "changes"}
    for wrong in ("a=nonsense", "=logs", "a="):
        with pytest.raises(SettingsError, match="CAUSEGRAPH_KAFKA_TOPICS"):
            read_topics(wrong)
    assert read_options("security.protocol=SASL_SSL; sasl.password=a=b") == {
        "security.protocol": "SASL_SSL",
        "sasl.password": "a=b",
    }
    for wrong in ("secret", "no.such.option=1"):
        with pytest.raises(SettingsError, match="CAUSEGRAPH_KAFKA_OPTIONS") as caught:
            open_consumer("localhost:1", read_options(wrong), "g", QUIET)
        assert "secret" not in str(caught.value)


def test_without_the_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "confluent_kafka", None)
    with pytest.raises(SettingsError, match=r"causegraph\[kafka\]"):
        open_consumer("localhost:1", {}, "g", QUIET)

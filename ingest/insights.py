"""Publishes an insight for each finished investigation to a topic of Kafka, at least once.

Investigations leave a job in the same database as their answer; it is done when the brokers have acknowledged the message.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import msgspec

from domain.errors import CausegraphError
from domain.times import format_us
from ingest.kafka_client import KafkaTrouble
from storage.incidents import INSIGHTS, Incident, IncidentStore
from storage.jobs import Job, JobQueue, run_worker

SCHEMA = "causegraph.insight/1"
_FLUSH_SECONDS = 40.0
_LISTEN_SECONDS = 5.0
_ATTEMPTS = 10_000  # with pauses of ten minutes: weeks


def make_insight(incident: Incident) -> dict[str, Any]:
    """Return the insight of an incident: the contract is in docs/sources.md."""
    answer = incident.answer
    verdict, runbook = answer.get("verdict") or {}, answer.get("runbook") or {}
    return {
        "schema": SCHEMA,
        "incident_id": incident.id,
        "trace_id": incident.trace_id,
        "environment": incident.environment,
        "question": incident.question,
        "created_at": format_us(incident.created_us),
        "started_at": None if incident.started_us is None else format_us(incident.started_us),
        "ended_at": None if incident.ended_us is None else format_us(incident.ended_us),
        "service": incident.service,
        "outcome": incident.outcome,
        "causes": verdict.get("causes", []),
        "not_seen": verdict.get("not_seen", []),
        "answer": answer.get("answer", ""),
        "action": (answer.get("judge") or {}).get("action", ""),
        "runbook": runbook.get("id"),
    }


class InsightPublisher:
    """Sends what waits to a topic, for as long as `run` runs."""

    def __init__(
        self, queue: JobQueue, incidents: IncidentStore, producer: Any, topic: str, trouble: KafkaTrouble
    ) -> None:
        self._queue = queue
        self._incidents = incidents
        self._producer = producer
        self._topic = topic
        self._trouble = trouble
        self._thread = ThreadPoolExecutor(1, "kafka-insights")

    async def run(self, stop: asyncio.Event) -> None:
        """Publish until `stop` is set."""
        listening = asyncio.create_task(self._listen())
        try:
            await run_worker(self._queue, self._publish, stop)
        finally:
            listening.cancel()
            self._thread.shutdown(wait=False)

    async def _listen(self) -> None:
        """Let the client tell of trouble while there is nothing to publish."""
        loop = asyncio.get_running_loop()
        while True:
            await loop.run_in_executor(self._thread, self._producer.poll, 0)
            self._trouble.settle()
            await asyncio.sleep(_LISTEN_SECONDS)

    async def _publish(self, job: Job) -> Mapping[str, Any]:
        incident = await self._incidents.get(str(job.payload["incident_id"]))
        body = msgspec.json.encode(make_insight(incident))
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._thread, self._send, incident.id.encode(), body)
        return {}

    def _send(self, key: bytes, body: bytes) -> None:
        outcome: list[Any] = []
        self._producer.produce(self._topic, body, key, on_delivery=lambda error, message: outcome.append(error))
        self._producer.flush(_FLUSH_SECONDS)
        if outcome != [None]:
            raise CausegraphError(f"Kafka has not taken the insight: {outcome[0] if outcome else 'no answer in time'}")


def insight_queue(database: Any) -> JobQueue:
    """Return the queue of insights that wait to be published."""
    return JobQueue(database, INSIGHTS, max_attempts=_ATTEMPTS)

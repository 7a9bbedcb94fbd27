"""Reads topics of Kafka into `Ingest`. An offset is committed after its message was accepted, and never before.

A message is one delivery, named by its topic, partition, offset, time and content: what is read again after a crash or a
rebalance counts once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Literal, cast, get_args

from blake3 import blake3

from domain.errors import CausegraphError, PayloadError, SettingsError, StorageBusy, StorageFull, StorageUnavailable
from ingest.kafka_client import KafkaTrouble
from ingest.otlp import JSON, PROTOBUF
from ingest.service import Delivery, Ingest, Receipt
from ingest.sources import Source

logger = logging.getLogger(__name__)

type Form = Literal["logs", "changes", "events", "otlp_logs", "otlp_traces", "otlp_metrics"]
FORMS: tuple[Form, ...] = get_args(Form.__value__)

_AT_ONCE = 32  # messages that wait for the same sync of the spool
_MESSAGES = 500
_POLL_SECONDS = 0.5
_RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0)
_REFUSALS = 5


@dataclass(frozen=True, slots=True)
class BadMessage:
    """A message that can never be taken, and why."""

    place: str
    form: Form
    environment: str
    body: bytes
    reason: str


def read_topics(text: str) -> dict[str, Form]:
    """Return the form of each topic of a setting such as `app-logs=logs, otel-traces=otlp_traces`."""
    topics: dict[str, Form] = {}
    for part in filter(str.strip, text.split(",")):
        topic, equals, form = (piece.strip() for piece in part.partition("="))
        if not topic or (form or "logs") not in FORMS or (equals and not form):
            told = f"{part.strip()[:100]!r} is not TOPIC=FORM; forms are {', '.join(FORMS)}."
            raise SettingsError(f"CAUSEGRAPH_KAFKA_TOPICS: {told}")
        topics[topic] = cast(Form, form or "logs")
    return topics


class KafkaSource:
    """One consumer. `keep` is given messages that can never be taken."""

    def __init__(
        self,
        ingest: Ingest,
        consumer: Any,
        topics: Mapping[str, Form],
        environment: str,
        source: Source,
        trouble: KafkaTrouble,
        notify: Callable[[], None],
        keep: Callable[[BadMessage], None],
    ) -> None:
        self._ingest = ingest
        self._consumer = consumer
        self._topics = topics
        self._environment = environment
        self._source = source
        self._trouble = trouble
        self._notify = notify
        self._keep = keep
        self._turns = asyncio.Semaphore(_AT_ONCE)
        # The client's calls block; it is used from one thread only.
        self._thread = ThreadPoolExecutor(1, "kafka")

    async def run(self, stop: asyncio.Event) -> None:
        """Read until `stop` is set; then leave the group."""
        try:
            await self._call(self._consumer.subscribe, list(self._topics))
            while not stop.is_set():
                messages = await self._call(self._consumer.consume, _MESSAGES, _POLL_SECONDS)
                self._trouble.settle()
                await self._take(messages, stop)
        finally:
            await asyncio.shield(self._call(self._consumer.close))
            self._thread.shutdown(wait=False)

    async def _call(self, work: Callable[..., Any], *arguments: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    async def _take(self, messages: Sequence[Any], stop: asyncio.Event) -> None:
        good = [message for message in messages if not self._is_error(message)]
        if not good:
            return
        settled = await asyncio.gather(*(self._settle(message, stop) for message in good))
        done: dict[tuple[str, int], int] = {}
        stuck: set[tuple[str, int]] = set()
        for message, is_settled in zip(good, settled, strict=True):
            place = (message.topic(), message.partition())
            if not is_settled:
                stuck.add(place)  # what comes after it is read again, and counts once
            elif place not in stuck:
                done[place] = message.offset() + 1
        if done:
            await self._commit(done)
            self._notify()

    def _is_error(self, message: Any) -> bool:
        error = message.error()
        if error is None:
            return False
        self._source.counts["errors"] += 1
        self._trouble(error)
        return True

    async def _commit(self, done: Mapping[tuple[str, int], int]) -> None:
        from confluent_kafka import KafkaException, TopicPartition

        offsets = [TopicPartition(topic, partition, offset) for (topic, partition), offset in done.items()]
        try:
            await self._call(lambda: self._consumer.commit(offsets=offsets, asynchronous=False))
        except KafkaException as exc:
            # As after a rebalance. Whoever has the partition now reads the messages again.
            logger.warning("Offsets could not be committed.", extra={"reason": str(exc)})

    async def _settle(self, message: Any, stop: asyncio.Event) -> bool:
        """Bring a message to its end: accepted, or kept as one that cannot be. False if `stop` came first."""
        body = message.value()
        if not body:  # a tombstone
            return True
        delivery, form = self._delivery(message, body), self._topics[message.topic()]
        tries = refusals = 0
        async with self._turns:
            while not stop.is_set():
                try:
                    self._source.count(await self._accept(form)(delivery))
                    return True
                except PayloadError as exc:
                    await asyncio.to_thread(self._refuse, message, form, delivery, str(exc))
                    return True
                except CausegraphError as exc:
                    refusals += not isinstance(exc, StorageUnavailable | StorageBusy | StorageFull)
                    if refusals >= _REFUSALS:
                        await asyncio.to_thread(self._refuse, message, form, delivery, str(exc))
                        return True
                    if tries == 0:
                        logger.warning("Messages of Kafka wait to be stored.", extra={"reason": str(exc)})
                except Exception as exc:  # the outermost loop: one message must not end the reading of all
                    logger.exception("A message of Kafka failed.")
                    await asyncio.to_thread(self._refuse, message, form, delivery, f"{type(exc).__name__}: {exc}")
                    return True
                await _sleep(stop, _RETRY_SECONDS[min(tries, len(_RETRY_SECONDS) - 1)])
                tries += 1
        return False

    def _accept(self, form: Form) -> Callable[[Delivery], Awaitable[Receipt]]:
        return {
            "logs": self._ingest.accept_logs,
            "changes": self._ingest.accept_changes,
            "events": self._ingest.accept_events,
            "otlp_logs": self._ingest.accept_otlp_logs,
            "otlp_traces": self._ingest.accept_otlp_traces,
            "otlp_metrics": self._ingest.accept_otlp_metrics,
        }[form]

    def _delivery(self, message: Any, body: bytes) -> Delivery:
        headers = {
            str(name).lower(): value.decode("utf-8", "replace")
            for name, value in message.headers() or ()
            if isinstance(value, bytes)
        }
        is_otlp = self._topics[message.topic()].startswith("otlp_")
        guessed = PROTOBUF if is_otlp and not body.startswith(b"{") else JSON
        # With the content in it, a topic that was deleted and made again is not taken for the old one.
        digest = blake3(body).hexdigest(length=8)
        place = f"kafka {message.topic()} {message.partition()} {message.offset()} {message.timestamp()[1]} {digest}"
        return Delivery(
            body=body,
            content_type=headers.get("content-type", guessed),
            content_encoding=headers.get("content-encoding", ""),
            environment=headers.get("environment", self._environment),
            idempotency_key=place,
            bulk=True,
        )

    def _refuse(self, message: Any, form: Form, delivery: Delivery, reason: str) -> None:
        self._source.counts["rejected"] += 1
        place = f"{message.topic()}/{message.partition()}/{message.offset()}"
        logger.warning("A message of Kafka cannot be taken.", extra={"message": place, "reason": reason})
        try:
            self._keep(BadMessage(place, form, delivery.environment, delivery.body, reason))
        except CausegraphError as exc:
            logger.error("It could not be kept either.", extra={"message": place, "reason": str(exc)})


async def _sleep(stop: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return

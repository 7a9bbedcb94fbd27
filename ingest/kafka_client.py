"""Clients of Kafka from the settings. The library is an extra: `pip install causegraph[kafka]`."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from typing import Any

from domain.errors import SettingsError
from ingest.sources import Source

logger = logging.getLogger(__name__)

_LOG_SECONDS = 60.0
_SILENCE_SECONDS = 30.0
_CRITICAL = 2  # the client logs each failed try to connect; `error_cb` tells of them too

# What makes "acknowledged" mean what it says; options cannot switch it off.
_CONSUMER = {"enable.auto.commit": False, "enable.auto.offset.store": False}
_PRODUCER = {"enable.idempotence": True, "acks": "all"}


def read_options(text: str) -> dict[str, str]:
    """Return librdkafka's options of a setting such as `security.protocol=SASL_SSL; sasl.username=me`."""
    options: dict[str, str] = {}
    for part in filter(str.strip, text.split(";")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip():
            # The part is not quoted: it may be a password.
            raise SettingsError("CAUSEGRAPH_KAFKA_OPTIONS: write name=value, several separated by semicolons.")
        options[name.strip()] = value.strip()
    return options


class KafkaTrouble:
    """What a client tells of trouble: the last of it is a source's problem, and one line a minute goes to the log.

    A client that cannot reach its brokers tells so again and again; silence means that the trouble is over.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._told = self._logged = -_LOG_SECONDS

    def __call__(self, error: Any) -> None:
        """Take an error of the client, from whichever thread."""
        now = time.monotonic()
        self._told, self._source.problem = now, str(error)[:500]
        if now - self._logged >= _LOG_SECONDS:
            self._logged = now
            logger.warning("Kafka tells of trouble.", extra={"reason": self._source.problem})

    def settle(self) -> None:
        """Forget trouble that was not told of again."""
        if self._source.problem and time.monotonic() - self._told > _SILENCE_SECONDS:
            self._source.problem = ""


def open_consumer(servers: str, options: Mapping[str, str], group: str, trouble: KafkaTrouble) -> Any:
    """Return a consumer that commits only what it is told to. Raises SettingsError."""
    usual = {"auto.offset.reset": "earliest", "queued.max.messages.kbytes": 16384}
    mine = {"bootstrap.servers": servers, "group.id": group, **_CONSUMER}
    return _open("Consumer", {**usual, **options, **mine, "error_cb": trouble})


def open_producer(servers: str, options: Mapping[str, str], trouble: KafkaTrouble) -> Any:
    """Return a producer. Raises SettingsError."""
    usual = {"message.timeout.ms": 30_000}
    mine = {"bootstrap.servers": servers, **_PRODUCER}
    return _open("Producer", {**usual, **options, **mine, "error_cb": trouble})


def _open(kind: str, config: Mapping[str, Any]) -> Any:
    try:
        import confluent_kafka
    except ImportError as exc:
        raise SettingsError(
            "Kafka is set up (CAUSEGRAPH_KAFKA_SERVERS), but its client is not installed: add the extra `kafka`, as in "
            "`pip install 'causegraph[kafka]'`."
        ) from exc
    try:
        return getattr(confluent_kafka, kind)({"log_level": _CRITICAL, **config, "logger": logger})
    except (confluent_kafka.KafkaException, ValueError, TypeError) as exc:
        raise SettingsError(f"CAUSEGRAPH_KAFKA_OPTIONS: the Kafka client does not take them: {exc}") from exc

"""Clients of Kafka from the settings. The library is an extra: `pip install causegraph[kafka]`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from domain.errors import SettingsError

logger = logging.getLogger(__name__)

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


def open_consumer(servers: str, options: Mapping[str, str], group: str) -> Any:
    """Return a consumer that commits only what it is told to. Raises SettingsError."""
    usual = {"auto.offset.reset": "earliest", "queued.max.messages.kbytes": 16384}
    mine = {"bootstrap.servers": servers, "group.id": group, **_CONSUMER}
    return _open("Consumer", {**usual, **options, **mine})


def open_producer(servers: str, options: Mapping[str, str]) -> Any:
    """Return a producer. Raises SettingsError."""
    usual = {"message.timeout.ms": 30_000}
    return _open("Producer", {**usual, **options, "bootstrap.servers": servers, **_PRODUCER})


def _open(kind: str, config: Mapping[str, Any]) -> Any:
    try:
        import confluent_kafka
    except ImportError as exc:
        raise SettingsError(
            "Kafka is set up (CAUSEGRAPH_KAFKA_SERVERS), but its client is not installed: add the extra `kafka`, as in "
            "`pip install 'causegraph[kafka]'`."
        ) from exc
    try:
        return getattr(confluent_kafka, kind)({**config, "error_cb": _tell, "logger": logger})
    except (confluent_kafka.KafkaException, ValueError, TypeError) as exc:
        raise SettingsError(f"CAUSEGRAPH_KAFKA_OPTIONS: the Kafka client does not take them: {exc}") from exc


def _tell(error: Any) -> None:
    logger.warning("Kafka tells of trouble.", extra={"reason": str(error)})

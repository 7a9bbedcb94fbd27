"""How the records of a dead letter are read again: by their kind, and the form in which they were sent."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from domain.errors import PayloadError
from ingest import cloudwatch, datadog, deployments, json_records, monitors, otlp, paging, prometheus
from ingest.mapped_alerts import decode_cloudevents, read_cloudevents, read_mappings
from ingest.payload import Decode, Decoded

_LINES = "application/x-ndjson"
_MAX_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Replay:
    """The bodies that a letter holds, what they are, and how each of them is read."""

    decode: Decode
    bodies: list[bytes]
    content_type: str = otlp.JSON


def find_replay(kind: str, source: str, body: bytes, mappings: Path | None) -> Replay:
    """Return how the records of a kind are read that came from a source; raises PayloadError where nothing reads them."""
    form, _, more = source.partition(" ")
    if form == "kafka":
        return _find_message(kind, more.partition(" ")[0], body)
    if (decode := _find_lines(kind, form, more)) is not None:
        return Replay(decode, [body], _LINES)
    decode = _BODIES.get((kind, form)) or (_find_mapping(form, mappings) if kind == "alerts" else None)
    if decode is None:
        raise PayloadError(f"What came as {source[:64]!r} cannot be taken again from here: send it again.")
    return Replay(decode, body.split(b"\n"))


def _find_lines(kind: str, form: str, more: str) -> Decode | None:
    """Return what reads many records at once, one a line."""
    match kind, form:
        case "logs", "json":
            return _dated(json_records.decode_logs)
        case "changes", "json":
            return _dated(json_records.decode_changes)
        case "events", "json":
            return _dated(json_records.decode_events)
        case "logs", "datadog":
            return partial(datadog.decode_logs, msgspec.json.decode(more) if more else {})
        case "alerts", "alertmanager" | "grafana" | "generic":
            return partial(json_records.decode_alerts, form)
    return None


def _find_message(kind: str, form: str, body: bytes) -> Replay:
    """Return how a message of Kafka is read, which is kept as it came."""
    if form.startswith("otlp_"):
        is_json = body.lstrip().startswith(b"{")
        return Replay(_BODIES[kind, "otlp"], [body], otlp.JSON if is_json else otlp.PROTOBUF)
    decode = _find_lines(kind, "json", "")
    if decode is None:
        raise PayloadError("This message of Kafka cannot be taken again from here: send it again.")
    return Replay(decode, [body])


def _dated(decode: Callable[[bytes, str, str], Decoded[Any]]) -> Decode:
    return lambda body, content_type, environment, now_us: decode(body, content_type, environment)


def _decode_cloudwatch(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Any]:
    """Read a subscription's data, or a record of Firehose that could not be unwrapped."""
    if body.startswith(b'{"records":'):
        return cloudwatch.decode_firehose(_MAX_BYTES, body, content_type, environment, now_us)
    return cloudwatch.decode_subscription(body, content_type, environment, now_us)


def _decode_events(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Any]:
    return decode_cloudevents(read_cloudevents({}, body, content_type), body, content_type, environment, now_us)


def _find_mapping(name: str, mappings: Path | None) -> Decode | None:
    mapping = read_mappings(mappings).get(name)
    return partial(mapping.decode, name) if mapping is not None else None


# Of these each line is a body of its own.
_BODIES: dict[tuple[str, str], Decode] = {
    ("logs", "otlp"): otlp.decode_logs,
    ("traces", "otlp"): otlp.decode_traces,
    ("metrics", "otlp"): otlp.decode_metrics,
    ("topology", "json"): _dated(json_records.decode_topology),
    ("topology", "file"): _dated(json_records.decode_topology),
    ("metrics", "prometheus"): prometheus.decode_kept,
    ("logs", "sns"): _decode_cloudwatch,
    ("logs", "firehose"): _decode_cloudwatch,
    ("alerts", "sns"): cloudwatch.decode_alarm,
    ("changes", "github"): deployments.decode_github,
    ("changes", "argocd"): deployments.decode_argocd,
    ("alerts", "pagerduty"): paging.decode_pagerduty,
    ("alerts", "opsgenie"): paging.decode_opsgenie,
    ("alerts", "datadog"): monitors.decode_datadog,
    ("alerts", "sentry"): monitors.decode_sentry,
    ("alerts", "cloudevents"): _decode_events,
}

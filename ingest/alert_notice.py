"""What a sender says of one alert, before it is a record: every decoder of alerts ends here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec
from blake3 import blake3

from domain.errors import PayloadError
from domain.telemetry import Alert
from domain.times import parse_time_us
from ingest.fields import clean_attributes, clean_environment, clean_name, clean_text
from ingest.payload import Decoded

_SERVICE_LABELS = (
    "service", "service_name", "service.name", "app", "app_kubernetes_io_name", "application", "deployment", "job",
)  # fmt: skip
_ENVIRONMENT_LABELS = (
    "deployment.environment.name", "deployment.environment", "deployment_environment_name", "deployment_environment",
    "environment", "env",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Notice:
    """An alert as a sender tells of it. `identity` is what its firing and its end have in common.

    `started` is '' where the sender does not say since when: then it speaks of the open alert of that identity.
    """

    source: str
    name: str
    status: Literal["firing", "resolved"]
    identity: str
    started: str | int | float = ""
    ended: str | int | float = ""
    service: str = ""
    severity: str = ""
    summary: str = ""
    runbook_url: str = ""
    environment: str = ""
    labels: Mapping[str, Any] = field(default_factory=dict)


def take_notice(decoded: Decoded[Alert], notice: Notice, environment: str, now_us: int) -> None:
    """Add the alert of a notice, or say why it is none."""
    try:
        alert = _make_alert(notice, environment, now_us)
    except (ValueError, OverflowError) as exc:
        decoded.reject(f"alert: {exc}")
        return
    if notice.started == "":
        decoded.undated.add(len(decoded.records))
    decoded.records.append(alert)


def _make_alert(notice: Notice, environment: str, now_us: int) -> Alert:
    name = clean_name(notice.name, 255)
    if not name:
        raise ValueError("it has no name")
    labels = clean_attributes((key, value) for key, value in notice.labels.items() if value not in (None, ""))
    over = parse_time_us(notice.ended) if notice.ended != "" else now_us
    begun = over if notice.status == "resolved" else now_us
    start = parse_time_us(notice.started) if notice.started != "" else begun
    ended = max(start, over) if notice.status == "resolved" else None
    said = {key: str(value) for key, value in labels.items()}
    return Alert(
        environment=clean_environment(notice.environment or _first(said, _ENVIRONMENT_LABELS)) or environment,
        time_us=start,
        source=notice.source[:32],
        name=name,
        status=notice.status,
        fingerprint=blake3(notice.identity.encode("utf-8", "replace")).hexdigest(length=8),
        service=clean_name(notice.service or _first(said, _SERVICE_LABELS)),
        severity=clean_name(notice.severity, 32),
        summary=clean_text(notice.summary),
        runbook_url=clean_text(notice.runbook_url, 2000),
        ended_us=ended,
        labels=labels,
    )


def read_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object of a webhook's body; raises PayloadError."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise PayloadError(f"The body is not JSON: {exc}") from exc
    if not isinstance(value, dict):
        raise PayloadError("The body is no JSON object.")
    return value


def _first(said: Mapping[str, str], keys: tuple[str, ...]) -> str:
    return next((said[key] for key in keys if said.get(key)), "")

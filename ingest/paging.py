"""Webhooks of those who page people, PagerDuty (v3) and Opsgenie, to alerts."""

from __future__ import annotations

from typing import Any

from domain.telemetry import Alert
from ingest.alert_notice import Notice, read_object, take_notice
from ingest.json_paths import reach, reach_map, reach_text, read_tags
from ingest.payload import Decoded

_PAGERDUTY_FIRING = {"triggered", "reopened", "acknowledged", "annotated", "escalated", "unacknowledged"}
_OPSGENIE_OVER = {"close", "delete"}
_OPSGENIE_FIRING = {"create", "acknowledge", "unacknowledge", "escalate", "addnote"}


def pagerduty_id(body: bytes) -> str:
    """Return the id of a PagerDuty event, which its retries have in common, or ''. Raises PayloadError."""
    return reach_text(read_object(body), "event.id")


def decode_pagerduty(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alert that an event of an incident tells of. Raises PayloadError.

    An acknowledgement or a note says that the incident is open, should its beginning have been missed.
    """
    event = reach_map(read_object(body), "event")
    kind, _, what = reach_text(event, "event_type").partition(".")
    decoded: Decoded[Alert] = Decoded()
    incident = reach_map(event, "data")
    if reach_text(incident, "type") != "incident":  # an annotation's data is the note itself
        incident = reach_map(incident, "incident")
    identity = reach_text(incident, "id")
    if kind != "incident" or not identity or what not in (*_PAGERDUTY_FIRING, "resolved"):
        decoded.note(f"events of the kind {kind[:40]}.{what[:40]} are not looked at")
        return decoded
    opens = what in ("triggered", "reopened")
    notice = Notice(
        source="pagerduty",
        name=reach_text(incident, "title", "summary") or identity,
        status="resolved" if what == "resolved" else "firing",
        identity=identity,
        started=reach_text(event, "occurred_at") if opens else "",
        ended=reach_text(event, "occurred_at") if what == "resolved" else "",
        service=reach_text(incident, "service.summary"),
        severity=reach_text(incident, "priority.summary", "urgency"),
        summary=reach_text(incident, "title", "summary"),
        labels={
            "pagerduty.incident": identity,
            "pagerduty.service": reach_text(incident, "service.id"),
            "pagerduty.urgency": reach_text(incident, "urgency"),
            "url": reach_text(incident, "html_url"),
        },
    )
    take_notice(decoded, notice, environment, now_us)
    return decoded


def opsgenie_id(body: bytes) -> str:
    """Return what the retries of an Opsgenie webhook have in common, or ''. Raises PayloadError."""
    said = read_object(body)
    parts = [reach_text(said, path) for path in ("alert.alertId", "action", "alert.updatedAt")]
    return " ".join(parts) if all(parts) else ""


def decode_opsgenie(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alert that an action tells of. Raises PayloadError."""
    said = read_object(body)
    action, alert = reach_text(said, "action").lower(), reach_map(said, "alert")
    decoded: Decoded[Alert] = Decoded()
    if action not in (*_OPSGENIE_OVER, *_OPSGENIE_FIRING):
        decoded.note(f"the action {action[:40]!r} is not looked at")
        return decoded
    details = reach_map(alert, "details")
    over = action in _OPSGENIE_OVER
    notice = Notice(
        source="opsgenie",
        name=reach_text(alert, "message") or reach_text(alert, "tinyId"),
        status="resolved" if over else "firing",
        identity=reach_text(alert, "alertId", "alias"),
        started=_number(alert, "createdAt") if action == "create" else "",
        ended=_number(alert, "updatedAt") if over else "",
        service=reach_text(details, "service") or reach_text(alert, "entity"),
        severity=reach_text(alert, "priority"),
        summary=reach_text(alert, "description", "message"),
        runbook_url=reach_text(details, "runbook_url", "runbook"),
        labels={**details, **read_tags(alert.get("tags")), "opsgenie.alias": reach_text(alert, "alias")},
    )
    take_notice(decoded, notice, environment, now_us)
    return decoded


def _number(alert: dict[str, Any], path: str) -> str | int | float:
    found = reach(alert, path)
    return found if isinstance(found, int | float | str) and not isinstance(found, bool) else ""

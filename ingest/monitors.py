"""Webhooks of monitors, Datadog (with the template of docs/triggers.md) and Sentry, to alerts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from domain.telemetry import Alert
from ingest.alert_notice import Notice, read_object, take_notice
from ingest.json_paths import reach_list, reach_map, reach_text, read_tags
from ingest.payload import Decoded

_TRANSITIONS = {
    **dict.fromkeys(("triggered", "warn", "no data"), "began"),
    **dict.fromkeys(("re-triggered", "re-warn", "re-no data", "renotify"), "goes on"),
    **dict.fromkeys(("recovered", "warn recovered", "no data recovered"), "is over"),
    **dict.fromkeys(("error", "warning"), "goes on"),  # of events, which know no transition
    "success": "is over",
}
_VARIABLE = re.compile(r"\$[A-Z][A-Z0-9_]*")
_PREFIX = re.compile(r"^\[[^\]]{1,40}\]\s*")


def datadog_id(body: bytes) -> str:
    """Return the id of a Datadog event, which its retries have in common, or ''. Raises PayloadError."""
    return _known(read_object(body), "id")


def decode_datadog(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alert of a monitor's webhook. A variable that Datadog has not filled in counts as absent."""
    said = read_object(body)
    transition = _known(said, "alert_transition").lower() or _known(said, "alert_type").lower()
    decoded: Decoded[Alert] = Decoded()
    course = _TRANSITIONS.get(transition)
    if course is None:
        decoded.note(f"the transition {transition[:40]!r} neither fires nor is resolved")
        return decoded
    tags, scope = read_tags(_known(said, "tags")), _known(said, "scopes")
    monitor = _known(said, "monitor_id") or _known(said, "aggreg_key") or _known(said, "title")
    title = _PREFIX.sub("", _known(said, "title"))
    notice = Notice(
        source="datadog",
        name=title,
        status="resolved" if course == "is over" else "firing",
        identity=f"{monitor}\n{_known(said, 'alert_cycle_key') or scope}",
        started=_known(said, "date") if course == "began" else "",
        ended=_known(said, "date") if course == "is over" else "",
        service=tags.get("service", ""),
        severity=_known(said, "severity") or _known(said, "alert_type"),
        summary=_known(said, "body") or title,
        environment=tags.get("env", ""),
        labels={
            **tags, **read_tags(scope), "datadog.monitor": _known(said, "monitor_id"),
            "datadog.query": _known(said, "alert_query"), "url": _known(said, "url"),
        },
    )  # fmt: skip
    take_notice(decoded, notice, environment, now_us)
    return decoded


def _known(said: Mapping[str, Any], name: str) -> str:
    text = reach_text(said, name)
    return "" if _VARIABLE.fullmatch(text) else text


def decode_sentry(body: bytes, content_type: str, environment: str, now_us: int) -> Decoded[Alert]:
    """Return the alert of an issue alert, a metric alert or an issue's change. Raises PayloadError."""
    said = read_object(body)
    data, action = reach_map(said, "data"), reach_text(said, "action")
    decoded: Decoded[Alert] = Decoded()
    notice = _sentry_notice(data, action)
    if notice is None:
        decoded.note(f"the action {action[:40]!r} of this resource is not looked at")
    else:
        take_notice(decoded, notice, environment, now_us)
    return decoded


def _sentry_notice(data: Mapping[str, Any], action: str) -> Notice | None:
    if "metric_alert" in data and action in ("critical", "warning", "resolved"):
        return _metric_notice(data, action)
    if "event" in data and action == "triggered":
        return _event_notice(data)
    if "issue" in data and action in ("created", "unresolved", "resolved"):
        return _issue_notice(reach_map(data, "issue"), action)
    return None


def _metric_notice(data: Mapping[str, Any], action: str) -> Notice:
    alert = reach_map(data, "metric_alert")
    projects = [str(name) for name in reach_list(alert, "projects")]
    return Notice(
        source="sentry",
        name=reach_text(alert, "alert_rule.name", "title") or reach_text(data, "description_title"),
        status="resolved" if action == "resolved" else "firing",
        identity=f"metric alert {reach_text(alert, 'id', 'identifier')}",
        started=reach_text(alert, "date_started"),
        ended=reach_text(alert, "date_closed"),
        service=projects[0] if len(projects) == 1 else "",
        severity=action if action != "resolved" else "",
        summary=reach_text(data, "description_text"),
        environment=reach_text(alert, "alert_rule.environment"),
        labels={"sentry.projects": ",".join(projects), "url": reach_text(data, "web_url")},
    )


def _event_notice(data: Mapping[str, Any]) -> Notice:
    event = reach_map(data, "event")
    tags = read_tags(event.get("tags"))
    issue = reach_text(event, "issue_id")
    return Notice(
        source="sentry",
        name=reach_text(event, "title"),
        status="firing",
        identity=f"issue {issue}" if issue else reach_text(event, "event_id"),
        # Each occurrence comes again; the issue goes on since its first one until it is resolved.
        started="" if issue else reach_text(event, "datetime"),
        service=tags.get("service") or reach_text(event, "project_slug", "project_name"),
        severity=reach_text(event, "level"),
        summary=f"{reach_text(event, 'title')} in {reach_text(event, 'culprit')}".removesuffix(" in "),
        environment=tags.get("environment", ""),
        labels={
            **tags, **_last_frame(event), "sentry.rule": reach_text(data, "triggered_rule"), "sentry.issue": issue,
            "service.version": reach_text(event, "release"), "url": reach_text(event, "web_url"),
        },
    )  # fmt: skip


def _last_frame(event: Mapping[str, Any]) -> dict[str, str]:
    """Return where the exception was raised: frames come oldest first, and our own code says more than a library's."""
    raised = reach_list(event, "exception.values")
    frames = reach_list(raised[-1], "stacktrace.frames") if raised else []
    own = [frame for frame in frames if isinstance(frame, dict) and frame.get("in_app")] or frames
    if not own:
        return {}
    return {"code.file.path": reach_text(own[-1], "filename"), "code.line.number": reach_text(own[-1], "lineno")}


def _issue_notice(issue: Mapping[str, Any], action: str) -> Notice:
    return Notice(
        source="sentry",
        name=reach_text(issue, "title"),
        status="resolved" if action == "resolved" else "firing",
        identity=f"issue {reach_text(issue, 'id')}",
        started=reach_text(issue, "firstSeen") if action == "created" else "",
        service=reach_text(issue, "project.slug", "project.name"),
        severity=reach_text(issue, "level"),
        summary=f"{reach_text(issue, 'title')} in {reach_text(issue, 'culprit')}".removesuffix(" in "),
        labels={"sentry.issue": reach_text(issue, "shortId", "id"), "url": reach_text(issue, "web_url")},
    )

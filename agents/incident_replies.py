"""What every way in replies about the life of incidents: timeline, alerts, decisions, and what people do to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from domain.errors import QuestionError
from domain.incident import AlertSeen, Decision, TimelineEvent
from domain.times import SECOND_US, format_us, parse_time_us
from storage.incident_log import IncidentLog, Rule, StoredAlert
from storage.incidents import Incident, make_incident_id
from storage.regrouping import Regrouping

if TYPE_CHECKING:
    from agents.services import Services

_LONGEST_NOTE = 4_000
_VERDICTS = ("right", "wrong", "partly")
ACTIONS = ("merge", "split", "close", "reopen", "note", "feedback")


# -- reading -----------------------------------------------------------------------------------------------------------


async def read_life(services: Services, incident_id: str) -> dict[str, Any]:
    """Return what is known of an incident beside its answer; raises NotFound.

    `{id, environment, status, origin, title, severity, created, started, ended, firing, alerts, services, merged_into,
    recurrence, rules, timeline}`. `recurrence` is the earlier incident that it is like, null if none is known: it was
    found before anything was investigated. `rules` counts its alerts by rule and service.
    """
    log = IncidentLog(services.database)
    incident = await log.get(incident_id)
    events = await log.events(incident_id)
    told = [event for event in events if event.kind == "recurrence"]
    return {
        "id": incident.id,
        "environment": incident.environment,
        "status": incident.status,
        "origin": incident.origin,
        "title": incident.title,
        "severity": incident.severity,
        "created": format_us(incident.created_us),
        "started": _moment(incident.started_us),
        "ended": _moment(incident.ended_us),
        "firing": incident.firing,
        "alerts": incident.profile.alerts,
        "services": sorted(incident.profile.services),
        "merged_into": incident.merged_into,
        "recurrence": {**told[-1].details, "text": told[-1].text} if told else None,
        "rules": [_rule_line(rule) for rule in await log.rules(incident_id)],
        "timeline": await read_timeline(services, incident_id),
    }


async def read_timeline(services: Services, incident_id: str) -> list[dict[str, Any]]:
    """Return what happened, oldest first: `[{time, kind, text, actor, evidence}]`; raises NotFound.

    Alerts are told by rule and service, not one by one; the onset of each cause comes with the evidence for it. Texts hold
    words of telemetry: show them as text, never as markup.
    """
    log = IncidentLog(services.database)
    answered = await services.incidents.get(incident_id)
    lines = [_line(e.time_us, e.kind, e.text, e.actor) for e in await log.events(incident_id)]
    for rule in await log.rules(incident_id):
        lines += _rule_lines(rule)
    for symptom in await log.symptoms(incident_id):
        _, service, kind, status, started_us, _, ended_us = symptom
        lines.append(_line(int(started_us), "symptom", f"{service}: {kind} begin"))
        if ended_us is not None:
            lines.append(_line(int(ended_us), "symptom", f"{service}: {kind} over ({status})"))
    lines += _cause_lines(answered)
    if answered.origin == "question":
        lines.append(_line(answered.created_us, "asked", answered.question))
    lines.sort(key=lambda line: line[0])
    return [line[1] for line in lines]


async def read_alerts(services: Services, incident_id: str, limit: int = 500) -> list[dict[str, Any]]:
    """Return the alerts of an incident, oldest first, as JSON; raises NotFound."""
    log = IncidentLog(services.database)
    await log.get(incident_id)
    return [_alert_line(alert) for alert in await log.alerts(incident_id, limit)]


async def read_decisions(services: Services, incident_id: str, limit: int = 500) -> list[dict[str, Any]]:
    """Return why its alerts are in an incident, oldest first, as JSON; raises NotFound."""
    log = IncidentLog(services.database)
    await log.get(incident_id)
    return [_decision_line(decision) for decision in await log.decisions(incident_id, limit)]


# -- what people do ----------------------------------------------------------------------------------------------------


async def act_on_incident(
    services: Services, incident_id: str, action: str, values: Mapping[str, Any], actor: str
) -> dict[str, Any]:
    """Do one of ACTIONS to an incident and return its life, or that of the one that a split made.

    `values`: merge {with, why?}; split {alerts?: ids, rule?, service?, why?}; close and reopen {note?}, close also
    {helped?}; note {text}; feedback {verdict: right|wrong|partly, text?}. Raises NotFound and QuestionError.
    """
    log, now_us = IncidentLog(services.database), time.time_ns() // 1000
    text = {
        name: _text(values, name) for name in ("with", "why", "note", "text", "helped", "verdict", "rule", "service")
    }
    match action:
        case "merge":
            await Regrouping(services.database).merge(
                incident_id, text["with"], actor, text["why"] or "merged by hand", now_us
            )
        case "split":
            chosen = _choose(values.get("alerts"), text["rule"], text["service"])
            new_id = make_incident_id()
            await Regrouping(services.database).split(
                incident_id, chosen, new_id, actor, text["why"] or "split by hand", now_us
            )
            return await read_life(services, new_id)
        case "close":
            await log.change(incident_id, "closed", TimelineEvent(incident_id, now_us, "closed", text["note"], actor))
            if text["helped"]:
                await log.note(TimelineEvent(incident_id, now_us, "helped", text["helped"], actor))
        case "reopen":
            await log.change(incident_id, "open", TimelineEvent(incident_id, now_us, "reopened", text["note"], actor))
        case "note":
            await log.get(incident_id)
            await log.note(TimelineEvent(incident_id, now_us, "note", _required(text["text"], "text"), actor))
        case "feedback":
            if text["verdict"] not in _VERDICTS:
                raise QuestionError(f"`verdict` must be one of {', '.join(_VERDICTS)}.")
            await log.get(incident_id)
            said = f"{text['verdict']}: {text['text']}".removesuffix(": ")
            await log.note(TimelineEvent(incident_id, now_us, "feedback", said, actor))
        case _:
            raise QuestionError(f"There is no action {action[:40]!r}: use one of {', '.join(ACTIONS)}.")
    return await read_life(services, incident_id)


def _choose(alerts: Any, rule: str, service: str) -> Callable[[AlertSeen], bool]:
    ids = frozenset(str(name) for name in alerts) if isinstance(alerts, list) else frozenset()
    if not (ids or rule or service):
        raise QuestionError("Say what to split off: ids of alerts, a rule or a service.")

    def chosen(alert: AlertSeen) -> bool:
        named = not ids or alert.id in ids
        return named and rule in ("", alert.name, alert.rule) and service in ("", alert.service)

    return chosen


def _text(values: Mapping[str, Any], name: str) -> str:
    value = values.get(name, "")
    if not isinstance(value, str):
        raise QuestionError(f"`{name}` must be text.")
    if len(value) > _LONGEST_NOTE:
        raise QuestionError(f"`{name}` is longer than {_LONGEST_NOTE} characters.")
    return value.strip()


def _required(text: str, name: str) -> str:
    if not text:
        raise QuestionError(f"`{name}` must not be empty.")
    return text


# -- lines -------------------------------------------------------------------------------------------------------------


def _line(
    time_us: int, kind: str, text: str, actor: str = "", evidence: list[str] | None = None
) -> tuple[int, dict[str, Any]]:
    told = {"time": format_us(time_us), "kind": kind, "text": text, "actor": actor, "evidence": evidence or []}
    return time_us, told


def _rule_lines(rule: Rule) -> list[tuple[int, dict[str, Any]]]:
    about = f"{rule.name} of {rule.service}" if rule.service else rule.name
    often = f", {rule.alerts} times in all" if rule.alerts > 1 else ""
    flaps = ", flapping" if rule.flapping else ""
    lines = [_line(rule.first_us, "alert", f"{about} fires ({rule.source}){often}{flaps}")]
    if not rule.firing and rule.ended_us is not None:
        lines.append(_line(rule.ended_us, "alert", f"{about} is over"))
    return lines


def _cause_lines(incident: Incident) -> list[tuple[int, dict[str, Any]]]:
    lines = []
    for cause in incident.answer.get("verdict", {}).get("causes", []):
        onset = parse_time_us(str(cause["onset"]))
        text = f"trouble of {cause['service']} begins ({cause['fault_class']}): {incident.outcome.lower()} cause"
        lines.append(_line(onset, "cause", text, evidence=list(cause.get("evidence", []))))
    return lines


def _rule_line(rule: Rule) -> dict[str, Any]:
    return {
        "source": rule.source,
        "name": rule.name,
        "service": rule.service,
        "alerts": rule.alerts,
        "things": rule.things,
        "firing": rule.firing,
        "flapping": rule.flapping,
        "first": format_us(rule.first_us),
        "last": format_us(rule.last_us),
        "ended": _moment(rule.ended_us),
    }


def _alert_line(alert: StoredAlert) -> dict[str, Any]:
    seen = alert.seen
    return {
        "id": seen.id,
        "time": format_us(seen.time_us),
        "ended": _moment(seen.ended_us),
        "seconds": None if seen.ended_us is None else (seen.ended_us - seen.time_us) / SECOND_US,
        "status": "firing" if seen.firing else "resolved",
        "source": seen.source,
        "name": seen.name,
        "service": seen.service,
        "severity": seen.severity,
        "summary": alert.summary,
        "runbook_url": alert.runbook_url,
        "labels": dict(seen.labels),
        "payload": alert.payload,
    }


def _decision_line(decision: Decision) -> dict[str, Any]:
    return {
        "time": format_us(decision.time_us),
        "kind": decision.kind,
        "subject": decision.subject,
        "score": decision.score,
        "why": decision.why,
        "actor": decision.actor,
    }


def _moment(time_us: int | None) -> str | None:
    return None if time_us is None else format_us(time_us)

"""The life of incidents as it is stored: states, events, decisions, and what people do to them.

Every change of state is one transaction that also writes its event, so that the timeline never says less than the state.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from domain.errors import NotFound, QuestionError
from domain.incident import (
    LIVE,
    AlertSeen,
    Decision,
    EventKind,
    IncidentStatus,
    LiveIncident,
    TimelineEvent,
    may_become,
)
from domain.incident_profile import join_incidents, profile_of
from storage.database import Database, Row, Transaction
from storage.grouping import alert_from_row, incident_from_row, incident_row, write_decisions, write_events

_MOST_ALERTS = 50_000
_MOST_EVENTS = 5_000


@dataclass(frozen=True, slots=True)
class Rule:
    """The alerts of an incident of one rule and service: how many, of how many things, still firing, from when to when."""

    source: str
    name: str
    service: str
    alerts: int
    things: int
    firing: int
    first_us: int
    last_us: int
    ended_us: int | None

    @property
    def flapping(self) -> bool:
        """Whether the same thing fired again and again."""
        return self.alerts >= 3 * self.things


@dataclass(frozen=True, slots=True)
class StoredAlert:
    """An alert of an incident, with what it says."""

    seen: AlertSeen
    summary: str
    runbook_url: str
    payload: str


class IncidentLog:
    """The incidents of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # -- reading -------------------------------------------------------------------------------------------------------

    async def get(self, incident_id: str) -> LiveIncident:
        """Return an incident; raises NotFound."""
        rows = await self._database.fetch("live_incident", (incident_id,)) if incident_id.isascii() else []
        if not rows:
            raise _missing(incident_id)
        return incident_from_row(rows[0])

    async def events(self, incident_id: str) -> Sequence[TimelineEvent]:
        """Return what happened to an incident, oldest first."""
        rows = await self._database.fetch("events_of_incident", (incident_id, _MOST_EVENTS))
        return [TimelineEvent(str(r[0]), int(r[1]), r[2], str(r[3]), str(r[4]), json.loads(r[5])) for r in rows]

    async def decisions(self, incident_id: str, limit: int = _MOST_EVENTS) -> Sequence[Decision]:
        """Return why its alerts are in an incident, oldest first."""
        rows = await self._database.fetch("decisions_of_incident", (incident_id, limit))
        return [Decision(str(r[0]), r[1], str(r[2]), float(r[3]), str(r[4]), int(r[5]), str(r[6])) for r in rows]

    async def alerts(self, incident_id: str, limit: int = 500) -> Sequence[StoredAlert]:
        """Return the alerts of an incident, oldest first."""
        rows = await self._database.fetch("alerts_of_incident", (incident_id, limit))
        return [StoredAlert(alert_from_row(row), str(row[12]), str(row[13]), str(row[14])) for row in rows]

    async def rules(self, incident_id: str, limit: int = 200) -> Sequence[Rule]:
        """Return the alerts of an incident, counted by rule and service."""
        rows = await self._database.fetch("rules_of_incident", (incident_id, limit))
        return [_rule_from_row(row) for row in rows]

    async def symptoms(self, incident_id: str) -> Sequence[Row]:
        """Return the symptoms of an incident: (id, service, kind, status, started_us, noticed_us, ended_us)."""
        return await self._database.fetch("symptoms_of_incident", (incident_id,))

    # -- writing -------------------------------------------------------------------------------------------------------

    async def note(self, event: TimelineEvent) -> None:
        """Add an event."""
        await self._database.transaction(lambda tx: write_events(tx, [event]))

    async def open_for_symptom(self, incident: LiveIncident, event: TimelineEvent) -> None:
        """Store an incident that a symptom opens; one that is there already stays as it is."""

        def work(tx: Transaction) -> None:
            if not tx.fetch("live_incident_locked", (incident.id,)):
                tx.execute("put_live_incident", incident_row(incident))
                write_events(tx, [event])

        await self._database.transaction(work)

    async def change(self, incident_id: str, wanted: IncidentStatus, event: TimelineEvent) -> LiveIncident:
        """Bring an incident into another state and return it.

        Raises NotFound, and QuestionError where it cannot go from its state to that one.
        """

        def work(tx: Transaction) -> LiveIncident:
            incident = _lock(tx, incident_id)
            if not may_become(incident.status, wanted):
                raise QuestionError(f"{incident_id} is {incident.status}: it cannot become {wanted}.")
            return _set(tx, incident, wanted, event)

        return await self._database.transaction(work)

    async def conclude(self, incident_id: str, wanted: IncidentStatus, event: TimelineEvent) -> None:
        """Note an event; the state changes only if the incident is still being investigated."""

        def work(tx: Transaction) -> None:
            incident = _lock(tx, incident_id)
            if incident.status == "investigating":
                _set(tx, incident, wanted, event)
            else:
                write_events(tx, [event])

        await self._database.transaction(work)

    async def merge(self, kept_id: str, gone_id: str, actor: str, why: str, now_us: int) -> LiveIncident:
        """Put everything of one incident into another one of the same environment, and return that.

        Raises NotFound and QuestionError.
        """

        def work(tx: Transaction) -> LiveIncident:
            first, second = sorted(
                (kept_id, gone_id)
            )  # always in one order, so that two merges cannot wait for each other
            held = {incident_id: _lock(tx, incident_id) for incident_id in (first, second)}
            kept, gone = held[kept_id], held[gone_id]
            _check_merge(kept, gone)
            tx.execute("move_incident_alerts", (kept_id, gone_id))
            tx.execute("move_incident_symptoms", (kept_id, gone_id))
            joined = replace(join_incidents(kept, gone, now_us), held=kept.held)
            if joined.status not in LIVE and gone.status in LIVE:
                joined = replace(joined, status="open", ended_us=None)
            closed = replace(gone, status="closed", merged_into=kept_id, firing=0, updated_us=now_us)
            tx.execute_many("put_live_incident", [incident_row(joined), incident_row(closed)])
            write_decisions(tx, [Decision(kept_id, "merge", gone_id, 1.0, why, now_us, actor)])
            merged = ((kept_id, f"{gone_id} is part of it", gone_id), (gone_id, f"merged into {kept_id}", kept_id))
            write_events(
                tx,
                [TimelineEvent(at, now_us, "merged", text, actor, {"incident": other}) for at, text, other in merged],
            )
            return joined

        return await self._database.transaction(work)

    async def split(
        self,
        incident_id: str,
        chosen: Callable[[AlertSeen], bool],
        new_id: str,
        actor: str,
        why: str,
        now_us: int,
    ) -> LiveIncident:
        """Take some alerts of an incident out into a new one, and return that; neither is merged by itself afterwards.

        Raises NotFound, and QuestionError where that would leave one of both without alerts.
        """

        def work(tx: Transaction) -> LiveIncident:
            incident = _lock(tx, incident_id)
            alerts = [alert_from_row(row) for row in tx.fetch("alerts_of_incident", (incident_id, _MOST_ALERTS))]
            leave = [alert for alert in alerts if chosen(alert)]
            stay = [alert for alert in alerts if not chosen(alert)]
            if not leave or not stay:
                what = "None" if not leave else "Every one"
                raise QuestionError(f"{what} of the {len(alerts)} alerts of {incident_id} is chosen: nothing to split.")
            for alert in leave:
                tx.execute("move_one_alert", (new_id, now_us, incident_id, alert.id))
            new = _part(replace(incident, id=new_id, title=_title(leave), created_us=now_us), leave, now_us)
            tx.execute_many("put_live_incident", [incident_row(_part(incident, stay, now_us)), incident_row(new)])
            write_decisions(tx, [Decision(new_id, "split", alert.id, 1.0, why, now_us, actor) for alert in leave])
            told = (
                (incident_id, f"{len(leave)} alert(s) became {new_id}", new_id),
                (new_id, f"split from {incident_id}", incident_id),
            )
            write_events(
                tx,
                [
                    TimelineEvent(at, now_us, "split", text, actor, {"incident": other, "why": why})
                    for at, text, other in told
                ],
            )
            if new.status == "open":
                tx.execute("want_investigation", (new_id,))
            return new

        return await self._database.transaction(work)

    # -- settling ------------------------------------------------------------------------------------------------------

    async def settle(self, now_us: int, quiet_us: int, flapping_us: int, forget_us: int) -> Sequence[str]:
        """Resolve what has been quiet for long enough, and close what has been resolved for long; return what was resolved.

        What flaps has to be quiet for `flapping_us`.
        """

        def work(tx: Transaction) -> list[str]:
            resolved = []
            for row in tx.fetch("settled_incidents", (now_us - quiet_us,)):
                incident = incident_from_row(row)
                if _resolve(tx, incident, now_us, flapping_us):
                    resolved.append(incident.id)
            for row in tx.fetch("forgotten_incidents", (now_us - forget_us,)):
                incident = incident_from_row(row)
                _set(tx, incident, "closed", TimelineEvent(incident.id, now_us, "closed", "quiet for long enough"))
            return resolved

        return await self._database.transaction(work)

    # -- investigations ------------------------------------------------------------------------------------------------

    async def wanted(self) -> Sequence[tuple[LiveIncident, int]]:
        """Return the incidents that are to be investigated, and for which time each."""
        return [
            (incident_from_row(row[:14]), int(row[14])) for row in await self._database.fetch("wanted_investigations")
        ]

    async def settle_wish(self, incident_id: str, rounds: int) -> None:
        """Note that an investigation was ordered."""
        await self._database.execute("settle_wish", (incident_id, rounds))

    async def investigations_since(self, moment_us: int) -> int:
        """Return how many investigations of incidents began since a moment."""
        return int((await self._database.fetch("count_incident_investigations", (moment_us,)))[0][0])

    async def live_of(self, environment: str) -> Sequence[LiveIncident]:
        """Return the live incidents of an environment, oldest first."""
        rows = await self._database.fetch("live_of_environment", (environment,))
        return [incident_from_row(row) for row in rows]

    # -- signatures ----------------------------------------------------------------------------------------------------

    async def error_templates(self, environment: str, services: Iterable[str], from_us: int, to_us: int) -> list[int]:
        """Return the templates of the most frequent error lines of some services."""
        names = json.dumps(sorted(services), ensure_ascii=False)
        rows = await self._database.fetch("signature_templates", (environment, from_us, to_us, names))
        return [int(row[0]) for row in rows]

    async def save_signature(self, incident_id: str, signature: Collection[str]) -> None:
        """Keep the signature of an incident."""
        await self._database.execute("put_signature", (json.dumps(sorted(signature), ensure_ascii=False), incident_id))

    async def earlier(self, incident: LiveIncident) -> list[tuple[str, frozenset[str]]]:
        """Return the signatures of earlier incidents whose cause was named and not said to be wrong, newest first."""
        rows = await self._database.fetch(
            "earlier_signatures", (incident.environment, incident.id, incident.created_us)
        )
        return [(str(row[0]), frozenset(json.loads(row[1]))) for row in rows]


def _rule_from_row(row: Row) -> Rule:
    source, name, service, alerts, things, firing, first_us, last_us, ended_us = row
    counts = (int(alerts), int(things), int(firing), int(first_us), int(last_us))
    return Rule(str(source), str(name), str(service), *counts, None if ended_us is None else int(ended_us))


def _missing(incident_id: str) -> NotFound:
    return NotFound(f"There is no incident {incident_id[:40]!r}: see `causegraph incidents list`.")


def _lock(tx: Transaction, incident_id: str) -> LiveIncident:
    rows = tx.fetch("live_incident_locked", (incident_id,)) if incident_id.isascii() else []
    if not rows:
        raise _missing(incident_id)
    return incident_from_row(rows[0])


def _set(tx: Transaction, incident: LiveIncident, status: IncidentStatus, event: TimelineEvent) -> LiveIncident:
    ended = incident.ended_us if status in ("resolved", "closed") else None
    tx.execute("set_incident_status", (status, event.time_us, ended, incident.id))
    write_events(tx, [event])
    if event.kind == "reopened":
        tx.execute("want_investigation", (incident.id,))
    return replace(incident, status=status, updated_us=event.time_us, ended_us=ended)


def _check_merge(kept: LiveIncident, gone: LiveIncident) -> None:
    if kept.id == gone.id:
        raise QuestionError("An incident cannot be merged with itself.")
    if kept.environment != gone.environment:
        raise QuestionError(f"{kept.id} and {gone.id} are of different environments.")
    for incident in (kept, gone):
        if incident.merged_into:
            raise QuestionError(f"{incident.id} is part of {incident.merged_into} already.")
        if incident.origin == "question":
            raise QuestionError(f"{incident.id} is a question that was asked: it has no alerts to merge.")


def _part(incident: LiveIncident, alerts: Sequence[AlertSeen], now_us: int) -> LiveIncident:
    firing = sum(alert.firing for alert in alerts)
    status: IncidentStatus = "open" if firing else "resolved" if incident.status in LIVE else incident.status
    if firing and incident.status in LIVE and incident.status != "pending" and incident.created_us != now_us:
        status = incident.status
    return replace(
        incident,
        status=status,
        profile=profile_of(alerts),
        firing=firing,
        held=True,
        started_us=min(alert.time_us for alert in alerts),
        ended_us=None if firing else max((alert.ended_us or alert.time_us) for alert in alerts),
        updated_us=now_us,
    )


def _title(alerts: Sequence[AlertSeen]) -> str:
    first = alerts[0]
    return f"{first.name} ({first.service})"[:255] if first.service else first.name


def _resolve(tx: Transaction, incident: LiveIncident, now_us: int, flapping_us: int) -> bool:
    ended, alerts, things = tx.fetch("incident_end", (incident.id,))[0]
    if int(alerts) >= 3 * max(1, int(things)) and incident.updated_us > now_us - flapping_us:
        return False
    over = incident.ended_us if ended is None else int(ended)
    kind: EventKind = "closed" if incident.status == "pending" else "resolved"
    text = (
        "too few alerts came"
        if kind == "closed"
        else "all of its alerts are over"
        if int(alerts)
        else "its symptoms are over"
    )
    event = TimelineEvent(incident.id, now_us, kind, text)
    _set(tx, replace(incident, ended_us=over), "closed" if kind == "closed" else "resolved", event)
    return kind == "resolved"

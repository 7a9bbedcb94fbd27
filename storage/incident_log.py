"""The life of incidents as it is stored: states, events, decisions, and what people do to them.

Every change of state is one transaction that also writes its event, so that the timeline never says less than the state.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from domain.errors import NotFound, QuestionError
from domain.incident import (
    AlertSeen,
    Decision,
    EventKind,
    IncidentStatus,
    LiveIncident,
    TimelineEvent,
    may_become,
)
from storage.database import Database, Row, Transaction
from storage.grouping import alert_from_row, incident_from_row, incident_row, write_events

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


@dataclass(frozen=True, slots=True)
class Helped:
    """That an answer was right (its workflow was verified, or somebody said so) or `wrong`, and what it had named."""

    event_id: int
    incident_id: str
    environment: str
    time_us: int
    wrong: bool
    service: str
    fault_class: str
    runbook: str

    @classmethod
    def from_row(cls, row: Row) -> Helped:
        answer = json.loads(row[5]) if row[5] else {}
        cause: dict[str, Any] = next(iter(answer.get("verdict", {}).get("causes", [])), {})
        runbook = str((answer.get("runbook") or {}).get("id", ""))
        where = (str(cause.get("service", "")), str(cause.get("fault_class", "")))
        return cls(int(row[0]), str(row[1]), str(row[2]), int(row[3]), bool(row[4]), *where, runbook)


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

    async def said_to_help(self, after: int, limit: int) -> list[Helped]:
        """Return what was said of answers after an event, in order."""
        return [Helped.from_row(row) for row in await self._database.fetch("said_to_help", (after, limit))]

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
            incident = lock_incident(tx, incident_id)
            if not may_become(incident.status, wanted):
                raise QuestionError(f"{incident_id} is {incident.status}: it cannot become {wanted}.")
            return _set(tx, incident, wanted, event)

        return await self._database.transaction(work)

    async def conclude(self, incident_id: str, wanted: IncidentStatus, event: TimelineEvent) -> None:
        """Note an event; the state changes only if the incident is still being investigated."""

        def work(tx: Transaction) -> None:
            incident = lock_incident(tx, incident_id)
            if incident.status == "investigating":
                _set(tx, incident, wanted, event)
            else:
                write_events(tx, [event])

        await self._database.transaction(work)

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


def lock_incident(tx: Transaction, incident_id: str) -> LiveIncident:
    """Return an incident that nobody else changes until the transaction ends; raises NotFound."""
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

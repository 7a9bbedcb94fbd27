"""The follower that puts stored alerts into incidents: each alert once, whatever is killed, and by one process at a time.

What is decided is decided by `diagnosis/grouping.py`; this writes it, with the follower's place, in one transaction.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

import msgspec

from domain.incident import AlertSeen, Decision, LiveIncident, Profile, TimelineEvent
from domain.times import HOUR_US
from storage.database import Database, Row, Transaction

# How long after its last change a resolved incident may still take in an alert.
_REMEMBERED_US = 24 * HOUR_US


class Placed(Protocol):
    """What grouping gives back: see diagnosis/grouping.py."""

    held: dict[str, LiveIncident]
    changed: dict[str, None]
    placed: dict[str, str]
    decisions: list[Decision]
    opened: list[str]
    reopened: list[str]
    merged: dict[str, str]


# environment, new alerts, incidents they may belong to, incident by (source, fingerprint)
type Place = Callable[[str, Sequence[AlertSeen], Sequence[LiveIncident], Mapping[tuple[str, str], str]], Placed]


@dataclass(frozen=True, slots=True)
class Waiting:
    """The stretch of deliveries that is to be grouped next, and whose alerts are in it: (environment, service, last start)."""

    after: int
    upto: int
    services: tuple[tuple[str, str, int], ...]


class GroupingStore:
    """The alerts of one database on their way into incidents. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def waiting(self, batches: int) -> Waiting:
        """Return what is to be grouped next; nothing where `after` equals `upto`."""
        rows = await self._database.fetch("follower_position", ("alerts",))
        after, head = int(rows[0][0]), int(rows[0][1])
        upto = min(head, after + batches)
        found = await self._database.fetch("grouping_waiting", (after, upto)) if upto > after else []
        return Waiting(after, upto, tuple((str(row[0]), str(row[1]), int(row[2])) for row in found))

    async def follow(self, waiting: Waiting, place: Place, now_us: int) -> int | None:
        """Group what waits; return how many alerts were new. None if another process is at it, or was."""
        return await self._database.transaction(lambda tx: _follow(tx, waiting, place, now_us))


def _follow(tx: Transaction, waiting: Waiting, place: Place, now_us: int) -> int | None:
    held = tx.fetch("topology_hold", ("alerts",))
    if not held or int(held[0][0]) != waiting.after:
        return None
    fresh: defaultdict[str, list[AlertSeen]] = defaultdict(list)
    touched: set[str] = set()
    for *row, incident_id in tx.fetch("grouping_alerts", (waiting.after, waiting.upto)):
        alert = alert_from_row(row)
        if incident_id:
            touched.add(str(incident_id))
        else:
            fresh[alert.environment].append(alert)
    for environment, alerts in sorted(fresh.items()):
        _group(tx, environment, alerts, place, now_us)
    for incident_id in sorted(touched):
        tx.execute("recount_firing", (now_us, incident_id))
    tx.execute("topology_advance", (waiting.upto, "alerts"))
    return sum(map(len, fresh.values()))


def _group(tx: Transaction, environment: str, alerts: Sequence[AlertSeen], place: Place, now_us: int) -> None:
    candidates = [
        incident_from_row(row) for row in tx.fetch("grouping_candidates", (environment, now_us - _REMEMBERED_US))
    ]
    keys = json.dumps(sorted({(alert.source, alert.fingerprint) for alert in alerts}), ensure_ascii=False)
    known = {(str(row[0]), str(row[1])): str(row[2]) for row in tx.fetch("grouping_known", (keys, environment))}
    found = place(environment, alerts, candidates, known)
    before = {incident.id: incident for incident in candidates}
    for gone, kept in found.merged.items():
        tx.execute("move_incident_alerts", (kept, gone))
        tx.execute("move_incident_symptoms", (kept, gone))
    tx.execute_many("put_live_incident", [incident_row(found.held[incident_id]) for incident_id in found.changed])
    tx.execute_many(
        "put_incident_alert",
        sorted((environment, a.id, found.placed[a.id], a.source, a.fingerprint, now_us) for a in alerts),
    )
    write_decisions(tx, found.decisions)
    write_events(tx, list(_events(found, before, now_us)))
    for incident_id in found.changed:
        incident = found.held[incident_id]
        was = before[incident_id].status if incident_id in before else "pending"
        if incident.status == "open" and (was == "pending" or incident_id in found.reopened):
            tx.execute("want_investigation", (incident_id,))


def _events(found: Placed, before: Mapping[str, LiveIncident], now_us: int) -> Iterable[TimelineEvent]:
    for incident_id in found.changed:
        incident = found.held[incident_id]
        was = before[incident_id].status if incident_id in before else "pending"
        if was == "pending" and incident.status == "open":
            yield TimelineEvent(incident_id, now_us, "opened", f"opened by {incident.profile.alerts} alert(s)")
    for incident_id in dict.fromkeys(found.reopened):
        yield TimelineEvent(incident_id, now_us, "reopened", "an alert of it fires again")
    for gone, kept in found.merged.items():
        why = next((d.why for d in found.decisions if d.kind == "merge" and d.subject == gone), "")
        yield TimelineEvent(kept, now_us, "merged", f"{gone} is part of it", details={"incident": gone, "why": why})
        yield TimelineEvent(gone, now_us, "merged", f"merged into {kept}", details={"incident": kept, "why": why})


# -- rows --------------------------------------------------------------------------------------------------------------


def write_decisions(tx: Transaction, decisions: Iterable[Decision]) -> None:
    """Add decisions."""
    rows = [(d.incident_id, d.kind, d.subject, d.score, d.why, d.actor, d.time_us) for d in decisions]
    tx.execute_many("put_grouping_decision", rows)


def write_events(tx: Transaction, events: Sequence[TimelineEvent]) -> None:
    """Add events."""
    rows = [
        (e.incident_id, e.time_us, e.kind, e.actor, e.text[:16_000], msgspec.json.encode(e.details).decode())
        for e in events
    ]
    tx.execute_many("put_incident_event", rows)


def alert_from_row(row: Sequence[object]) -> AlertSeen:
    """Return the alert of a row of `grouping_alerts` or `alerts_of_incident`."""
    seq, alert_id, environment, time_us, ended_us, source, name, status, fingerprint, service, severity, labels = row[
        :12
    ]
    return AlertSeen(
        seq=int(str(seq)),
        id=str(alert_id),
        environment=str(environment),
        time_us=int(str(time_us)),
        ended_us=None if ended_us is None else int(str(ended_us)),
        source=str(source),
        name=str(name),
        firing=status == "firing",
        fingerprint=str(fingerprint),
        service=str(service),
        severity=str(severity),
        labels=json.loads(str(labels)),
    )


def incident_row(incident: LiveIncident) -> Row:
    """Return the values of `put_live_incident`."""
    services = sorted(incident.profile.services, key=lambda name: -incident.profile.services[name])
    return (
        incident.id,
        incident.environment,
        f"thr-{incident.id.removeprefix('inc-')}",
        incident.created_us,
        incident.started_us,
        incident.ended_us,
        services[0] if services else "",
        incident.title,
        incident.status,
        incident.origin,
        incident.title,
        incident.severity,
        incident.updated_us,
        incident.firing,
        int(incident.held),
        incident.merged_into,
        msgspec.json.encode(asdict(incident.profile)).decode(),
    )


def incident_from_row(row: Row) -> LiveIncident:
    """Return the live incident of a row."""
    return LiveIncident(
        id=str(row[0]),
        environment=str(row[1]),
        status=row[2],
        origin=row[3],
        title=str(row[4]),
        severity=str(row[5]),
        created_us=int(row[6]),
        updated_us=int(row[7]),
        profile=msgspec.json.decode(row[8], type=Profile),
        firing=int(row[9]),
        held=bool(row[10]),
        started_us=None if row[11] is None else int(row[11]),
        ended_us=None if row[12] is None else int(row[12]),
        merged_into=str(row[13]),
    )

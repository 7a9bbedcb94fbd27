"""What people change in the grouping: incidents that they merge, and those that they split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from domain.errors import QuestionError
from domain.incident import LIVE, AlertSeen, Decision, IncidentStatus, LiveIncident, TimelineEvent
from domain.incident_profile import join_incidents, profile_of
from storage.database import Database, Transaction
from storage.grouping import alert_from_row, incident_row, write_decisions, write_events
from storage.incident_log import lock_incident

_MOST_ALERTS = 50_000


class Regrouping:
    """The incidents of one database. Every method raises StorageError or a child of it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def merge(self, kept_id: str, gone_id: str, actor: str, why: str, now_us: int) -> LiveIncident:
        """Put everything of one incident into another one of the same environment, and return that.

        Raises NotFound and QuestionError.
        """

        def work(tx: Transaction) -> LiveIncident:
            first, second = sorted(
                (kept_id, gone_id)
            )  # always in one order, so that two merges cannot wait for each other
            held = {incident_id: lock_incident(tx, incident_id) for incident_id in (first, second)}
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
            incident = lock_incident(tx, incident_id)
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

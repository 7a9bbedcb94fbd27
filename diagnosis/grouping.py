"""Which alerts are one incident: by fingerprint, by distance in the topology, by time and by likeness. No I/O.

Each alert is compared with the incidents that are open, or were resolved a little while ago. What comes of it is a list of
decisions, each with its score and its reasons, so that a person can follow and undo it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from domain.incident import LIVE, AlertSeen, Decision, LiveIncident, Profile
from domain.incident_profile import join_incidents, label_pairs, take_in
from domain.times import HOUR_US, MINUTE_US

NEAR_US = 15 * MINUTE_US
REOPEN_US = HOUR_US
_JOIN = 0.55
# What still fires is not over: for the same service that is enough, however long ago it began.
_STILL = 0.3
_MERGE = 0.6
_HOPS = {0: 1.0, 1: 0.8, 2: 0.5, 3: 0.2}
FAR = max(_HOPS)
# Weights where the distance is known, and where it is not.
_TOPOLOGY, _TIME, _LIKENESS = 0.5, 0.3, 0.2
_TIME_ALONE, _LIKENESS_ALONE = 0.35, 0.65


class Nearness:
    """How many calls apart services are, as far as the edges reach. Services that no edge names are at no known distance."""

    def __init__(self, calls: Iterable[tuple[str, str]] = ()) -> None:
        self._beside: dict[str, set[str]] = {}
        for caller, callee in calls:
            self._beside.setdefault(caller, set()).add(callee)
            self._beside.setdefault(callee, set()).add(caller)
        self._spread: dict[str, dict[str, int]] = {}

    def hops(self, service: str, others: Collection[str]) -> int | None:
        """Return the distance of the nearest of some services; None if it is not known, FAR + 1 for everything farther."""
        if service in others:
            return 0
        if service not in self._beside or not any(other in self._beside for other in others):
            return None
        reached = self._reach(service)
        return min((reached[other] for other in others if other in reached), default=FAR + 1)

    def beside(self, services: Iterable[str]) -> set[str]:
        """Return the services that call one of these or are called by it."""
        return {other for service in services for other in self._beside.get(service, ())}

    def _reach(self, service: str) -> dict[str, int]:
        if service not in self._spread:
            reached, frontier = {service: 0}, [service]
            for hops in range(1, FAR + 1):
                frontier = [n for name in frontier for n in self._beside.get(name, ()) if n not in reached]
                reached |= dict.fromkeys(frontier, hops)
            self._spread[service] = reached
        return self._spread[service]


@dataclass(frozen=True, slots=True)
class Likeness:
    """How well an alert fits an incident: a score from 0 to 1, and why."""

    score: float
    why: str


@dataclass(slots=True)
class Grouping:
    """What became of some alerts: incidents that are new or changed, where each alert went, and why.

    `held` are all incidents as they stand now, `known` gives for a (source, fingerprint) the incident that had it last.
    """

    held: dict[str, LiveIncident] = field(default_factory=dict)
    known: dict[tuple[str, str], str] = field(default_factory=dict)
    changed: dict[str, None] = field(default_factory=dict)
    placed: dict[str, str] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)
    reopened: list[str] = field(default_factory=list)
    merged: dict[str, str] = field(default_factory=dict)

    def keep(self, incident: LiveIncident) -> LiveIncident:
        """Note that an incident has changed."""
        self.held[incident.id] = incident
        self.changed[incident.id] = None
        return incident


def compare(alert: AlertSeen, incident: LiveIncident, nearness: Nearness) -> Likeness:
    """Return how well an alert fits an incident."""
    profile = incident.profile
    gap = max(0, alert.time_us - profile.last_us, profile.first_us - alert.time_us)
    soon = max(_STILL if incident.firing else 0.0, 1 - gap / NEAR_US)
    hops = nearness.hops(alert.service, profile.services) if alert.service else None
    same_rule = alert.rule in profile.rules
    alike = (same_rule + _overlap(label_pairs(alert), profile.labels)) / 2
    words = [f"{gap / MINUTE_US:.0f} min apart", f"likeness {alike:.2f}"] + ["the same rule"] * same_rule
    if hops is None:
        score = _TIME_ALONE * soon + _LIKENESS_ALONE * alike
        words.insert(0, "distance in the topology not known")
    else:
        score = _TOPOLOGY * _HOPS.get(hops, 0.0) + _TIME * soon + _LIKENESS * alike
        words.insert(0, _hops_words(alert.service, hops))
    return Likeness(round(score, 3), "; ".join(words))


def group(
    alerts: Sequence[AlertSeen],
    incidents: Sequence[LiveIncident],
    known: Mapping[tuple[str, str], str],
    nearness: Nearness,
    make_id: Iterable[str],
    now_us: int,
    min_alerts: int = 1,
) -> Grouping:
    """Place new alerts of one environment, oldest first.

    `known` gives the newest incident that had an alert of a (source, fingerprint). An incident of fewer than `min_alerts`
    alerts stays pending. `make_id` gives ids of new incidents.
    """
    ids = iter(make_id)
    found = Grouping({incident.id: incident for incident in incidents}, dict(known))
    for alert in sorted(alerts, key=lambda alert: (alert.time_us, alert.id)):
        fits = _fits(alert, found, nearness)
        best = _choose(alert, fits, found, ids, now_us)
        best = found.keep(take_in(best, alert, now_us, min_alerts))
        found.placed[alert.id] = found.known[alert.source, alert.fingerprint] = best.id
        for other, likeness in fits[1:]:
            if _may_merge(best, found.held[other.id], fits[0][1], likeness):
                best = _merge(best, found.held[other.id], alert, likeness, now_us, found)
    return found


def _choose(
    alert: AlertSeen,
    fits: Sequence[tuple[LiveIncident, Likeness]],
    found: Grouping,
    ids: Iterator[str],
    now_us: int,
) -> LiveIncident:
    """Return the incident that an alert goes to: the one that fits best, again open if it was resolved, or a new one."""
    if not fits:
        opened = _open(next(ids), alert, now_us)
        found.opened.append(opened.id)
        found.decisions.append(Decision(opened.id, "open", alert.id, 1.0, "it fits no incident of its time", now_us))
        return opened
    best, likeness = fits[0]
    found.decisions.append(Decision(best.id, "join", alert.id, likeness.score, likeness.why, now_us))
    if best.status in LIVE or not alert.firing:
        return best
    found.reopened.append(best.id)
    found.decisions.append(Decision(best.id, "reopen", alert.id, 1.0, "it fires again", now_us))
    return replace(best, status="open", ended_us=None)


def _fits(alert: AlertSeen, found: Grouping, nearness: Nearness) -> list[tuple[LiveIncident, Likeness]]:
    """Return the incidents that an alert may belong to, the best first."""
    own = found.known.get((alert.source, alert.fingerprint), "")
    fits = []
    for incident in found.held.values():
        if incident.merged_into or not _of_its_time(alert, incident):
            continue
        if incident.held and incident.id != own:
            continue  # what a person has set apart takes in its own alerts alone
        likeness = compare(alert, incident, nearness)
        if incident.id == own:
            likeness = Likeness(1.0, "the same alert fired in it before")
        if likeness.score >= _JOIN:
            fits.append((incident, likeness))
    return sorted(fits, key=lambda fit: (-fit[1].score, fit[0].status not in LIVE, fit[0].created_us, fit[0].id))


def _of_its_time(alert: AlertSeen, incident: LiveIncident) -> bool:
    if incident.status in LIVE:
        return alert.time_us >= incident.profile.first_us - NEAR_US
    ended = incident.profile.last_us if incident.ended_us is None else incident.ended_us
    return incident.status == "resolved" and incident.profile.first_us - NEAR_US <= alert.time_us <= ended + REOPEN_US


def _may_merge(one: LiveIncident, other: LiveIncident, first: Likeness, second: Likeness) -> bool:
    apart = abs(one.profile.first_us - other.profile.first_us)
    live = one.status in LIVE and other.status in LIVE
    return (
        live
        and not (one.held or other.held or other.merged_into)
        and min(first.score, second.score) >= _MERGE
        and apart <= NEAR_US
    )


def _merge(
    one: LiveIncident, other: LiveIncident, alert: AlertSeen, likeness: Likeness, now_us: int, found: Grouping
) -> LiveIncident:
    """Merge the younger of two incidents, which an alert belongs to both, into the older one, and return that."""
    age = {incident.id: (incident.created_us, incident.profile.first_us, incident.id) for incident in (one, other)}
    kept, gone = sorted((one, other), key=lambda incident: age[incident.id])
    found.keep(replace(gone, merged_into=kept.id, status="closed", firing=0, updated_us=now_us))
    found.merged[gone.id] = kept.id
    why = f"alert {alert.id} belongs to both: {likeness.why}"
    found.decisions.append(Decision(kept.id, "merge", gone.id, likeness.score, why, now_us))
    found.placed |= {alert_id: kept.id for alert_id, place in found.placed.items() if place == gone.id}
    found.known |= {key: kept.id for key, place in found.known.items() if place == gone.id}
    return found.keep(join_incidents(kept, gone, now_us))


def _open(incident_id: str, alert: AlertSeen, now_us: int) -> LiveIncident:
    about = f" ({alert.service})" if alert.service else ""
    return LiveIncident(
        id=incident_id,
        environment=alert.environment,
        status="pending",
        origin="alert",
        title=f"{alert.name}{about}"[:255],
        severity=alert.severity,
        created_us=now_us,
        updated_us=now_us,
        profile=Profile(),
        started_us=alert.time_us,
    )


def _overlap(pairs: Collection[str], counts: Mapping[str, int]) -> float:
    """Return which share of an alert's labels most alerts of an incident have too."""
    if not pairs or not counts:
        return 0.0
    most = max(counts.values())
    return sum(counts.get(pair, 0) / most for pair in pairs) / len(pairs)


def _hops_words(service: str, hops: int) -> str:
    match hops:
        case 0:
            return f"also about {service}"
        case 1:
            return f"{service} is one call away"
        case _ if hops <= FAR:
            return f"{service} is {hops} calls away"
    return f"{service} is more than {FAR} calls away"

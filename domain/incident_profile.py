"""What the alerts of an incident have in common, kept small while alerts are added and incidents are joined. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

from domain.incident import AlertSeen, LiveIncident, Profile

_KEPT = 60
# Labels that name the one thing that an alert is about, or the rule, say nothing of what alerts have in common.
_OWN_LABELS = frozenset(("alertname", "instance", "pod", "host", "hostname", "url", "fingerprint", "id"))
# The gravest first, in the words of several senders.
_GRAVE = ("emergency", "p1", "critical", "crit", "fatal", "high", "p2", "error", "page", "major", "p3", "warning", "warn", "medium")  # fmt: skip


def take_in(incident: LiveIncident, alert: AlertSeen, now_us: int, min_alerts: int = 1) -> LiveIncident:
    """Return an incident with one more alert."""
    profile = _widen(incident.profile, alert)
    enough = profile.alerts >= min_alerts
    started = alert.time_us if incident.started_us is None else min(incident.started_us, alert.time_us)
    return replace(
        incident,
        status="open" if incident.status == "pending" and enough else incident.status,
        severity=graver(incident.severity, alert.severity),
        profile=profile,
        started_us=started,
        firing=incident.firing + alert.firing,
        updated_us=now_us,
    )


def graver(one: str, other: str) -> str:
    """Return the graver of two severities, in whichever words they come."""
    return min(
        (one, other),
        key=lambda word: _GRAVE.index(word.lower()) if word.lower() in _GRAVE else len(_GRAVE) + (not word),
    )


def join_incidents(kept: LiveIncident, gone: LiveIncident, now_us: int) -> LiveIncident:
    """Return an incident that has taken in another one."""
    starts = [start for start in (kept.started_us, gone.started_us) if start is not None]
    return replace(
        kept,
        status="open" if kept.status == "pending" and gone.status != "pending" else kept.status,
        severity=graver(kept.severity, gone.severity),
        profile=combine(kept.profile, gone.profile),
        firing=kept.firing + gone.firing,
        started_us=min(starts, default=None),
        updated_us=now_us,
    )


def combine(one: Profile, other: Profile) -> Profile:
    """Return the profile of the alerts of both."""
    firsts = [profile.first_us for profile in (one, other) if profile.alerts]
    return Profile(
        services=_sum(one.services, other.services),
        rules=_sum(one.rules, other.rules),
        labels=_sum(one.labels, other.labels),
        first_us=min(firsts, default=0),
        last_us=max(one.last_us, other.last_us),
        alerts=one.alerts + other.alerts,
    )


def profile_of(alerts: Iterable[AlertSeen]) -> Profile:
    """Return the profile of some alerts."""
    found = Profile()
    for alert in alerts:
        found = _widen(found, alert)
    return found


def _widen(profile: Profile, alert: AlertSeen) -> Profile:
    return Profile(
        services=_add(profile.services, [alert.service] if alert.service else []),
        rules=_add(profile.rules, [alert.rule]),
        labels=_add(profile.labels, label_pairs(alert)),
        first_us=min(profile.first_us, alert.time_us) if profile.alerts else alert.time_us,
        last_us=max(profile.last_us, alert.time_us),
        alerts=profile.alerts + 1,
    )


def _add(counts: Mapping[str, int], words: Iterable[str]) -> Mapping[str, int]:
    found = dict(counts)
    for word in words:
        if word in found or len(found) < _KEPT:
            found[word] = found.get(word, 0) + 1
    return found


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> Mapping[str, int]:
    return dict((Counter(one) + Counter(other)).most_common(_KEPT))


def label_pairs(alert: AlertSeen) -> set[str]:
    """Return the labels of an alert that others may share, as `key=value`."""
    return {f"{key}={str(value)[:80]}"[:120] for key, value in alert.labels.items() if key not in _OWN_LABELS}

"""Which alerts are one incident: fingerprint, topology, time, likeness; pure."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from diagnosis.grouping import Grouping, Nearness, compare, group
from diagnosis.recurrence import find_recurrence, make_signature
from domain.incident import STATUSES, AlertSeen, LiveIncident, Profile, may_become
from domain.incident_profile import graver, join_incidents, profile_of
from domain.times import MINUTE_US

NOW = 1_800_000_000_000_000
CHAIN = Nearness(
    [("web", "checkout"), ("checkout", "payment"), ("payment", "bank"), ("bank", "vault"), ("mail", "smtp")]
)


def alert(name: str, service: str = "", minutes: float = 0.0, firing: bool = True, **labels: Any) -> AlertSeen:
    at = NOW + round(minutes * MINUTE_US)
    mark = f"{name}/{service}/{sorted(labels.items())}"
    return AlertSeen(
        1,
        f"{mark}@{at}",
        "e",
        at,
        None if firing else at,
        "alertmanager",
        name,
        firing,
        mark,
        service,
        "warning",
        labels,
    )


def ids() -> Iterator[str]:
    return (f"inc-{number}" for number in itertools.count(1))


def place(
    alerts: list[AlertSeen],
    incidents: tuple[LiveIncident, ...] = (),
    known: Mapping[tuple[str, str], str] | None = None,
    nearness: Nearness = CHAIN,
    min_alerts: int = 1,
) -> Grouping:
    return group(alerts, incidents, known or {}, nearness, ids(), NOW, min_alerts)


def places(found: Grouping) -> list[int]:
    """How many alerts are in each incident, the largest first."""
    counts = [
        sum(place == incident_id for place in found.placed.values()) for incident_id in set(found.placed.values())
    ]
    return sorted(counts, reverse=True)


def test_one_storm_along_the_calls_is_one_incident() -> None:
    storm = [
        alert("Slow", "web"),
        alert("Errors", "checkout", 1),
        alert("Errors", "payment", 2),
        alert("Down", "bank", 3),
    ]
    found = place(storm)
    assert places(found) == [4]
    (incident,) = (found.held[name] for name in set(found.placed.values()))
    assert (incident.status, incident.firing, incident.profile.alerts) == ("open", 4, 4)
    why = [decision.why for decision in found.decisions if decision.kind == "join"]
    assert len(why) == 3
    assert "checkout is one call away" in why[0]
    assert all(0.55 <= decision.score <= 1 for decision in found.decisions)


def test_what_is_far_or_long_ago_or_nothing_alike_is_another_incident() -> None:
    assert places(place([alert("Slow", "web"), alert("Full", "smtp")])) == [1, 1]
    assert places(place([alert("Slow", "web"), alert("Errors", "checkout", 40)])) == [1, 1]
    assert places(place([alert("Slow", "web", team="a"), alert("Full", "", team="b")])) == [1, 1]
    # The same service, though the first alert was long ago: it still fires.
    assert places(place([alert("Slow", "web"), alert("Errors", "web", 40)])) == [2]


def test_without_a_topology_the_same_rule_at_the_same_time_is_one_incident() -> None:
    hosts = [alert("NodeDown", "", 0.1 * n, instance=f"node-{n}", cluster="c1") for n in range(50)]
    assert places(place(hosts, nearness=Nearness())) == [50]


def test_an_alert_that_belongs_to_two_incidents_makes_them_one() -> None:
    apart = place([alert("Slow", "web"), alert("Down", "vault", 0.5)])
    assert places(apart) == [1, 1]
    incidents = tuple(apart.held.values())
    bridge = place(
        [alert("Errors", "checkout", 1), alert("Errors", "payment", 1), alert("Errors", "bank", 1)], incidents
    )
    assert set(bridge.placed.values()) == {"inc-1"}
    assert bridge.merged == {"inc-2": "inc-1"}
    assert bridge.held["inc-2"].merged_into == "inc-1"
    assert bridge.held["inc-1"].profile.alerts == 5
    assert [d.subject for d in bridge.decisions if d.kind == "merge"] == ["inc-2"]


def test_what_a_person_has_set_apart_is_left_alone() -> None:
    apart = place([alert("Slow", "web"), alert("Errors", "checkout")])
    (one,) = (apart.held[name] for name in set(apart.placed.values()))
    held = replace(one, id="apart", held=True)
    own = alert("Slow", "web", 2)
    found = place([own, alert("Other", "web", 2)], (held,), {(own.source, own.fingerprint): held.id})
    assert found.placed[own.id] == held.id
    assert len(set(found.placed.values())) == 2


def test_a_resolved_incident_opens_again_within_an_hour_and_not_later() -> None:
    over = replace(
        next(iter(place([alert("Slow", "web")]).held.values())),
        id="old",
        status="resolved",
        ended_us=NOW + MINUTE_US,
        firing=0,
    )
    again = alert("Slow", "web", 20)
    known = {(again.source, again.fingerprint): "old"}
    found = place([again], (over,), known)
    assert found.reopened == ["old"]
    assert (found.held["old"].status, found.held["old"].ended_us) == ("open", None)
    ended = place([alert("Slow", "web", 20, firing=False)], (over,), known)
    assert (ended.reopened, ended.placed) == ([], {alert("Slow", "web", 20).id: "old"})
    assert place([alert("Slow", "web", 90)], (over,), known).reopened == []


def test_it_takes_as_many_alerts_as_are_configured() -> None:
    first = place([alert("Slow", "web")], min_alerts=3)
    assert [incident.status for incident in first.held.values()] == ["pending"]
    more = place([alert("Slow", "web", 1, n=1), alert("Slow", "web", 1, n=2)], tuple(first.held.values()), min_alerts=3)
    assert [incident.status for incident in more.held.values()] == ["open"]


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.sampled_from(["web", "payment", "smtp", "x", ""]), st.floats(0, 90))
    )
)
def test_every_alert_has_one_place_and_its_reasons(drawn: list[tuple[str, str, float]]) -> None:
    alerts = list({a.id: a for a in (alert(*one) for one in drawn)}.values())
    found = place(alerts)
    assert set(found.placed) == {a.id for a in alerts}
    for place_of in found.placed.values():
        assert not found.held[place_of].merged_into
    whole = [incident for incident in found.held.values() if not incident.merged_into]
    assert sum(incident.profile.alerts for incident in whole) == len(alerts)
    assert sum(incident.firing for incident in whole) == len(alerts)
    reasons = [d for d in found.decisions if d.kind in ("open", "join")]
    assert sorted(d.subject for d in reasons) == sorted(found.placed)
    assert all(d.why for d in found.decisions)


def test_likeness_says_why() -> None:
    (incident,) = place([alert("Slow", "web", team="a")]).held.values()
    near = compare(alert("Slow", "checkout", 1, team="a"), incident, CHAIN)
    far = compare(alert("Slow", "smtp", 1, team="a"), incident, CHAIN)
    assert near.score > 0.8 > far.score
    assert "more than 3 calls away" in far.why


def test_severities_of_several_senders_compare() -> None:
    assert graver("warning", "P1") == "P1"
    assert graver("", "info") == "info"
    assert graver("critical", "warning") == "critical"


def test_profiles_stay_small_and_add_up() -> None:
    many = [alert("Down", f"s{n}", instance=str(n), shard=str(n)) for n in range(500)]
    profile = profile_of(many)
    assert profile.alerts == 500
    assert max(len(profile.services), len(profile.labels)) <= 60
    (incident,) = place([alert("Slow", "web")]).held.values()
    joined = join_incidents(incident, replace(incident, profile=profile), NOW)
    assert joined.profile.alerts == 501
    assert len(joined.profile.services) <= 60


def test_states_follow_one_another() -> None:
    assert may_become("open", "investigating") and may_become("resolved", "open") and may_become("closed", "open")
    assert not may_become("closed", "resolved")
    assert not may_become("pending", "identified")
    assert not any(may_become(status, "pending") for status in STATUSES)


# -- recurrence --------------------------------------------------------------------------------------------------------


def test_the_same_trouble_is_known_again() -> None:
    before = make_signature(profile_of([alert("Slow", "web"), alert("Errors", "payment")]), {"bank", "web"}, [1, 2, 3])
    again = make_signature(profile_of([alert("Slow", "web"), alert("Errors", "payment")]), {"bank"}, [1, 2, 9])
    other = make_signature(profile_of([alert("Full", "web")]), {"checkout"}, [7, 8])
    found = find_recurrence(again, [("other", other), ("before", before)])
    assert found is not None
    assert (found.incident_id, found.likeness > 0.7) == ("before", True)
    assert "rule:alertmanager/Slow" in found.shared
    assert find_recurrence(other, [("before", before), ("again", again)]) is None


def test_a_service_alone_is_no_recurrence() -> None:
    one = make_signature(Profile(services={"web": 1}, rules={"a/Slow": 1}), set(), [])
    other = make_signature(Profile(services={"web": 1}, rules={"a/Full": 1}), set(), [])
    assert find_recurrence(one, [("other", other)]) is None
    quiet = make_signature(Profile(services={"web": 1}), set(), [5])
    assert find_recurrence(quiet, [("x", make_signature(Profile(services={"web": 2}), set(), [5]))]) is not None


@pytest.mark.parametrize("earlier", [[], [("a", frozenset[str]())]])
def test_nothing_is_like_nothing(earlier: list[tuple[str, frozenset[str]]]) -> None:
    assert find_recurrence(make_signature(Profile(), set(), []), earlier) is None

"""Which version of a service went bad while another served well."""

from __future__ import annotations

import json
from collections.abc import Sequence

from diagnosis.meter_shifts import find_version_loads
from diagnosis.meters import Meter, read_meters
from diagnosis.signals import Ref
from diagnosis.versions import VersionGap, compare_versions, explain_callers, version_signals
from domain.observed import ChangeRow, MeterPoint, VersionLoad
from domain.times import MINUTE_US, SECOND_US, Window

WINDOW = Window(1_790_000_000 * SECOND_US, 1_790_000_000 * SECOND_US + 5 * MINUTE_US)
T0 = WINDOW.start_us


def load(
    version: str, bucket: int, requests: float, errors: float = 0, ms: float = 20, service: str = "cart"
) -> VersionLoad:
    return VersionLoad(service, version, bucket, requests, errors, requests * ms * 1000, T0 + bucket)


def side_by_side(stable: tuple[float, float, float], canary: tuple[float, float, float]) -> list[VersionLoad]:
    return [load(version, at, *held) for at in range(5) for version, held in (("1", stable), ("2", canary))]


def test_a_canary_that_fails_beside_a_stable_version_is_named() -> None:
    (gap,) = compare_versions(side_by_side((90, 1, 20), (10, 6, 20)))
    assert (gap.service, gap.version, gap.kind) == ("cart", "2", "errors")
    assert gap.strength > 0.9
    (slow,) = compare_versions(side_by_side((90, 0, 20), (10, 0, 400)))
    assert (slow.version, slow.kind) == ("2", "latency")


def test_trouble_of_all_versions_is_no_versions_fault() -> None:
    assert not compare_versions(side_by_side((90, 45, 400), (10, 5, 400)))
    assert not compare_versions(side_by_side((90, 0, 20), (1, 1, 20))[:4])
    assert not compare_versions([load("2", at, 50, 40) for at in range(5)])


def test_a_roll_out_in_the_middle_of_other_trouble_says_nothing() -> None:
    well = [load("1", at, 100, 0) for at in range(3)]
    bad = [load("2", at, 100, 60) for at in range(3, 6)]
    assert not compare_versions([*well, *bad])


def test_of_several_deploys_the_one_that_brought_the_version_is_blamed() -> None:
    gaps = compare_versions(side_by_side((90, 1, 20), (10, 6, 20)))
    changes = [
        ChangeRow(key, T0 - MINUTE_US, service, "deploy", version, "", "")
        for key, service, version in (("c1", "cart", "1"), ("c2", "cart", "2"), ("c3", "web", "2"))
    ]
    ref = Ref.to("span", trace_id="t", span_id="s")
    (signal,) = version_signals(gaps, changes, {("cart", "2"): [ref]}, WINDOW)
    assert (signal.service, signal.change_id, signal.fault_class) == ("cart", "c2", "code")
    assert signal.refs == (ref, Ref.to("change", id="c2"))
    (unknown,) = version_signals(gaps, changes[:1], {}, WINDOW)
    assert unknown.change_id == ""


def points(name: str, version: str, values: Sequence[float]) -> list[MeterPoint]:
    said = json.dumps({"destination_version": version})
    return [
        MeterPoint("mesh", name, f"{name}{version}", "cart", "web", said, T0 + at * MINUTE_US, value)
        for at, value in enumerate(values)
    ]


def worse(sent: Sequence[MeterPoint]) -> tuple[VersionGap, list[Meter]]:
    meters = read_meters(sent)
    (gap,) = compare_versions(find_version_loads(meters, Window(T0, T0 + 10 * MINUTE_US), MINUTE_US))
    return gap, meters


def test_edge_metrics_tell_the_versions_apart_as_gauges_as_counters_and_by_status() -> None:
    gauges = [
        *points("request_count", "1", [90, 95, 88, 91, 90, 92]),
        *points("request_count", "2", [10, 9, 11, 10, 10, 9]),
        *points("request_errors", "1", [1, 0, 1, 0, 0, 0]),
        *points("request_errors", "2", [6, 5, 7, 6, 6, 5]),
    ]
    gap, _ = worse(gauges)
    assert (gap.version, gap.kind) == ("2", "errors")
    totals: dict[str, float] = {}
    counters = []
    for point in gauges:
        totals[point.series] = totals.get(point.series, 5000.0) + point.value
        counters.append(point._replace(name=f"{point.name}_total", value=totals[point.series]))
    assert worse(counters)[0].version == "2"
    by_status = []
    for point in counters:
        status = "503" if "errors" in point.name else "200"
        said = json.dumps(json.loads(point.attributes) | {"response_code": status})
        by_status.append(point._replace(name="requests_total", attributes=said))
    assert worse(by_status)[0].version == "2"


def test_a_bad_version_explains_the_trouble_of_those_that_call_it() -> None:
    signals = version_signals(compare_versions(side_by_side((90, 1, 20), (10, 6, 20))), [], {}, WINDOW)
    shares = explain_callers(
        {"web": 1.0, "cart": 1.0, "mail": 1.0}, signals, [("web", "shop"), ("shop", "cart"), ("cart", "mail")]
    )
    assert shares["web"] < 0.3
    assert (shares["cart"], shares["mail"]) == (1.0, 1.0)

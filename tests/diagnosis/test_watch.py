"""What opens, what ends and what stays quiet as requests go by."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from diagnosis.watch import LATENESS_US, MAX_OPERATIONS, EnvironmentWatch, Reached, tell
from domain.noticed import LINES, METERED, NoticedSymptom, RequestSlot
from domain.sketch import LatencySketch
from domain.times import HOUR_US, MINUTE_US, SECOND_US, SLOT_US

T0 = 1_790_000_000 * SECOND_US
NOW = T0 + 1000 * HOUR_US

# (seconds since the start, chance) -> (requests per slot, share that fails, typical duration in us)
type Shape = Callable[[float], tuple[float, float, float]]


def healthy(at: float) -> tuple[float, float, float]:
    return 30.0, 0.002, 40_000.0


def traffic(
    shape: Shape, seconds: int, *, service: str = "checkout", operation: str = "POST /checkout", seed: int = 1
) -> list[RequestSlot]:
    """Return slots as a service of that shape would make them, with noise."""
    choose = random.Random(f"{seed}{service}{operation}")
    slots = []
    for at in range(0, seconds, 10):
        rate, failing, typical = shape(at)
        count = max(0, round(choose.gauss(rate, math.sqrt(rate)))) if rate else 0
        if count:
            durations = LatencySketch.of(int(typical * math.exp(choose.gauss(0, 0.35))) for _ in range(count))
            errors = sum(choose.random() < failing for _ in range(count))
            slots.append(RequestSlot("", service, operation, T0 + at * SECOND_US, count, errors, count, durations))
    return slots


def run(
    slots: Iterable[RequestSlot], *, per_turn: int = 1, watch: EnvironmentWatch | None = None
) -> list[NoticedSymptom]:
    """Return what was noticed, a line for each opening and each end."""
    watch = watch or EnvironmentWatch("test")
    ordered = sorted(slots, key=lambda slot: slot.slot_us)
    told: list[NoticedSymptom] = []
    for at in range(0, len(ordered), per_turn):
        part = [watch.place(slot) for slot in ordered[at : at + per_turn]]
        watch.take(part, max(slot.slot_us + SLOT_US for slot in part))
        told += watch.advance(NOW)[0]
    return told


def broken(start: int, end: int, *, rate: float = 30.0, failing: float = 0.002, typical: float = 40_000.0) -> Shape:
    return lambda at: (rate, failing, typical) if start <= at < end else healthy(at)


def seconds(symptom: NoticedSymptom) -> tuple[float, float, float | None]:
    """Return start, moment of notice and end in seconds since T0."""
    ended = symptom.ended_us
    return (
        (symptom.started_us - T0) / SECOND_US,
        (symptom.noticed_us - T0) / SECOND_US,
        None if ended is None else (ended - T0) / SECOND_US,
    )


def test_failing_requests_are_noticed_within_a_minute_and_seen_to_recover() -> None:
    opened, ended = run(traffic(broken(1800, 2400, failing=0.5), 3600))
    started_s, noticed_s, _ = seconds(opened)
    assert (opened.kind, opened.status, opened.operation) == ("errors", "open", "POST /checkout")
    assert started_s == 1800
    assert noticed_s <= 1860
    assert ended.status == "recovered"
    assert ended.id == opened.id
    assert seconds(ended)[2] == pytest.approx(2400, abs=20)
    assert "recovered after" in tell(ended)


def test_slow_requests_are_noticed() -> None:
    opened, ended = run(traffic(broken(1800, 2400, typical=900_000), 3600))
    assert (opened.kind, ended.status) == ("latency", "recovered")
    assert seconds(opened)[0] == 1800
    assert seconds(opened)[1] <= 1860
    assert 120_000 <= opened.slow_us <= 200_000


def test_traffic_that_stops_is_noticed_by_the_time_of_others() -> None:
    shop = traffic(lambda at: healthy(at), 3600, service="storefront", operation="GET /")
    gone = traffic(lambda at: healthy(at) if not 1800 <= at < 2400 else (0, 0, 0), 3600)
    opened, ended = run([*shop, *gone])
    assert (opened.kind, opened.service, opened.operation) == ("traffic", "checkout", "")
    assert 1800 <= seconds(opened)[0] <= 1810
    assert seconds(opened)[1] <= 1950
    assert ended.status == "recovered"
    assert seconds(ended)[2] == pytest.approx(2400, abs=10)


def test_an_environment_that_says_nothing_at_all_is_no_symptom() -> None:
    assert run(traffic(lambda at: healthy(at) if at < 1800 else (0, 0, 0), 3600)) == []


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(lambda at: (30 + 20 * math.sin(at / 3600), 0.01, 40_000 + 15_000 * math.sin(at / 3600)), id="waves"),
        pytest.param(lambda at: (3.0, 0.01, 40_000), id="quiet"),
        pytest.param(lambda at: (0.5, 0.02, 900_000), id="nearly idle"),
        pytest.param(lambda at: (30.0 if at % 600 < 60 else 0.0, 0.0, 40_000), id="a batch each ten minutes"),
        pytest.param(lambda at: (30.0, 0.08, 40_000) if at >= 600 else (30.0, 0.06, 40_000), id="always fails a little"),
        pytest.param(lambda at: (30.0, 0.4, 40_000) if at % 1800 < 10 and at else healthy(at), id="hiccups of ten seconds"),
        pytest.param(lambda at: (0.0, 0, 0) if at % 1800 < 10 else healthy(at), id="restarts"),
        pytest.param(lambda at: (30 * 0.9 ** (at / 600), 0.002, 40_000), id="the night comes"),
    ],
)  # fmt: skip
def test_what_is_healthy_stays_quiet(shape: Shape) -> None:
    assert [tell(found) for found in run(traffic(shape, 3 * 3600)) if not _long_failing(shape, found)] == []


def _long_failing(shape: Shape, found: NoticedSymptom) -> bool:
    """A service that fails over five in a hundred from its first minute on may be called failing at once, once."""
    return found.kind == "errors" and shape(700)[1] > 0.05 and seconds(found)[0] < 1800


@given(st.integers(1, 10**6), st.sampled_from([3.0, 30.0]))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_healthy_traffic_of_any_seed_is_quiet(seed: int, rate: float) -> None:
    assert run(traffic(lambda at: (rate, 0.005, 40_000), 2 * 3600, seed=seed), per_turn=7) == []


@given(st.integers(0, 10**5), st.integers(1, 200))
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_how_the_records_come_in_portions_changes_nothing(shift_s: int, per_turn: int) -> None:
    """Also: a clock that is wrong by whole slots shifts the times and nothing else."""
    slots = traffic(broken(1800, 2100, failing=0.6), 3000)
    by = shift_s * SLOT_US
    moved = [_moved(slot, by) for slot in slots]
    expected = [seconds(symptom) for symptom in run(slots)]
    assert len(expected) == 2
    assert run(moved, per_turn=len(moved)) == run(moved, per_turn=per_turn)
    # Minutes begin elsewhere unless it was moved by whole ones.
    if by % MINUTE_US == 0:
        assert [_back(seconds(symptom), by) for symptom in run(moved, per_turn=per_turn)] == expected


def _moved(slot: RequestSlot, by_us: int) -> RequestSlot:
    return RequestSlot(
        "", slot.service, slot.operation, slot.slot_us + by_us, slot.requests, slot.errors, slot.roots, slot.durations
    )


def _back(times: Sequence[float | None], by_us: int) -> tuple[float | None, ...]:
    return tuple(None if at is None else at - by_us / SECOND_US for at in times)


@pytest.mark.parametrize("cut", [100, 181, 185, 200, 239, 250])
def test_a_watch_built_again_goes_on_where_the_last_one_was(cut: int) -> None:
    slots = traffic(broken(1800, 2400, failing=0.5), 3600)
    whole = run(slots)
    first = EnvironmentWatch("test")
    before: list[NoticedSymptom] = []
    reached: dict[str, Reached] = {}
    for slot in slots[:cut]:
        first.take([first.place(slot)], slot.slot_us + SLOT_US)
        changed, places = first.advance(NOW)
        before += changed
        reached |= {place.service: place for place in places}
    newest = {symptom.id: symptom for symptom in before}
    again = EnvironmentWatch("test", slots[:cut], reached.values(), newest.values())
    assert [*before, *run(slots[cut:], watch=again)] == whole


def test_a_service_whose_clock_is_behind_is_not_taken_for_silent() -> None:
    right = traffic(healthy, 3600, service="storefront", operation="GET /")
    behind = [_moved(slot, -300 * SECOND_US) for slot in traffic(healthy, 3600)]
    watch = EnvironmentWatch("test")
    for one, other in zip(right, behind, strict=True):
        watch.take([watch.place(one), watch.place(other)], one.slot_us + SLOT_US)
        assert watch.advance(NOW)[0] == []


def test_a_record_from_the_future_does_not_hurry_the_watch() -> None:
    watch = EnvironmentWatch("test")
    for slot in traffic(healthy, 1800):
        now = slot.slot_us + SLOT_US
        watch.take([watch.place(slot), watch.place(_moved(slot, HOUR_US))], now + HOUR_US)
        _, reached = watch.advance(now)
        assert all(place.evaluated_us <= now - LATENESS_US for place in reached)


def test_a_dependency_that_fails_and_is_asked_less_is_one_symptom() -> None:
    shop = traffic(healthy, 3600, service="storefront", operation="GET /")
    opened = run([*shop, *traffic(broken(1800, 3600, rate=1.0, failing=1.0), 3600)])
    assert [symptom.kind for symptom in opened] == ["errors"]


def test_an_operation_that_nobody_asks_any_more_ends_silent() -> None:
    other = traffic(healthy, 7200, operation="GET /cart")
    failing = traffic(lambda at: (0, 0, 0) if at >= 2100 else broken(1800, 2100, failing=1.0)(at), 7200)
    opened, ended = run([*failing, *other])
    assert (opened.operation, ended.status) == ("POST /checkout", "silent")


def test_names_beyond_the_bound_are_counted_together() -> None:
    watch = EnvironmentWatch("test")
    slot = traffic(healthy, 10)[0]
    names = set()
    for number in range(MAX_OPERATIONS + 50):
        one = RequestSlot("", "a", f"GET /{number}", slot.slot_us, 1, 0, 1, LatencySketch({1: 1}))
        placed = watch.place(one)
        watch.take([placed], slot.slot_us)
        names.add(placed.operation)
    assert len(names) <= MAX_OPERATIONS + 1


def test_years_between_two_records_cost_nothing() -> None:
    watch = EnvironmentWatch("test")
    slots = traffic(healthy, 600)
    run(slots, watch=watch)
    later = [_moved(slot, 20 * 365 * 24 * HOUR_US) for slot in slots]
    watch.take([watch.place(slot) for slot in later], later[-1].slot_us)
    changed, reached = watch.advance(NOW + 30 * 365 * 24 * HOUR_US)
    assert changed == []
    assert reached[0].evaluated_us >= later[-3].slot_us


def lines(
    service: str, failing: Callable[[float], float], seconds: int = 3600, rate: float = 10.0
) -> list[RequestSlot]:
    return traffic(lambda at: (rate, failing(at), 1.0), seconds, service=service, operation=LINES)


def test_a_burst_of_error_lines_is_noticed_where_nothing_else_tells_of_a_service() -> None:
    told = run(lines("worker", lambda at: 0.5 if 1800 <= at < 2100 else 0.01))
    assert [(s.service, s.kind, s.status) for s in told] == [
        ("worker", "errors", "open"),
        ("worker", "errors", "recovered"),
    ]
    assert 1800 <= (told[0].noticed_us - T0) / SECOND_US <= 1900
    assert "lines of worker were errors" in tell(told[0])
    # Where requests are seen, they tell of it, and lines do not.
    seen = traffic(healthy, 3600, service="worker", operation="GET /")
    assert run([*lines("worker", lambda at: 0.5 if 1800 <= at < 2100 else 0.01), *seen]) == []


@pytest.mark.parametrize("seed", range(3))
def test_a_service_that_always_complains_is_no_symptom(seed: int) -> None:
    choose = random.Random(seed)
    often, everlasting = choose.uniform(0.3, 0.9), choose.uniform(2.0, 20.0)
    assert run(lines("mailer", lambda at: often, rate=everlasting)) == []
    # Nor is a job that does so every now and then, or a single event that writes many lines.
    assert run(lines("job", lambda at: 0.9 if at % 900 < 40 else 0.0)) == []
    assert run(lines("once", lambda at: 1.0 if 1800 <= at < 1820 else 0.0)) == []
    # Of one that was never heard before nobody knows how it usually is.
    assert run(lines("young", lambda at: 0.8, 240)) == []


def test_requests_that_metrics_alone_tell_of_are_judged_like_any_other() -> None:
    def sampled(shape: Shape) -> list[RequestSlot]:
        held = traffic(shape, 3600, service="cart", operation=METERED)
        return [slot for slot in held if (slot.slot_us - T0) % (30 * SECOND_US) == 0]

    assert run(sampled(healthy)) == []
    (failing, ended) = run(sampled(broken(1800, 2100, failing=0.5)))
    assert (failing.kind, failing.operation, ended.status) == ("errors", METERED, "recovered")
    assert "(metrics)" not in tell(failing)
    (slow, _) = run(sampled(broken(1800, 2100, typical=900_000.0)))
    assert slow.kind == "latency"
    (gone, back) = run(sampled(broken(1800, 2100, rate=0.0)) + traffic(healthy, 3600, service="other"))
    assert (gone.kind, gone.service) == ("traffic", "cart")
    assert back.ended_us is not None
    assert (back.ended_us - back.started_us) / SECOND_US == pytest.approx(300, abs=40)

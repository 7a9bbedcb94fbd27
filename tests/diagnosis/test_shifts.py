"""Time lost on links and within services."""

from __future__ import annotations

from diagnosis.shifts import shift_signals, slowed_alike
from diagnosis.walks import TraceForest
from domain.telemetry import SpanKind
from tests.diagnosis.builders import TraceBuilder, flatten


def traces(start_us: int, *, link_us: int = 2_000, self_us: int = 5_000, count: int = 10) -> TraceForest:
    built = []
    for at in range(count):
        trace = TraceBuilder(start_us + at * 1_000_000)
        entry = trace.span("web", "GET /", SpanKind.SERVER, 20_000 + link_us + self_us)
        client = trace.span("web", "GET cart", SpanKind.CLIENT, 8_000 + link_us + self_us, entry)
        trace.span("cart", "GET /cart", SpanKind.SERVER, 8_000 + self_us, client)
        built.append(trace)
    return TraceForest(flatten(built))


def test_network_delay_is_seen_on_the_link_and_blamed_on_the_callee() -> None:
    found = shift_signals(traces(0), traces(60_000_000, link_us=900_000), 60_000_000)
    assert (found[0].name, found[0].service, found[0].target) == ("slow_link", "cart", "web")
    assert found[0].strength > 0.8
    assert not any(s.name == "slow_here" and s.service == "cart" for s in found)


def test_a_slow_service_is_seen_in_itself_and_not_in_its_caller() -> None:
    found = shift_signals(traces(0), traces(60_000_000, self_us=900_000), 60_000_000)
    assert (found[0].name, found[0].service) == ("slow_here", "cart")
    assert {s.service for s in found} == {"cart"}


def test_nothing_is_said_where_nothing_changed_or_little_is_known() -> None:
    assert shift_signals(traces(0), traces(60_000_000), 60_000_000) == []
    assert shift_signals(traces(0, count=2), traces(60_000_000, link_us=900_000), 60_000_000) == []


CHAIN = ("web", "cart", "stock", "prices", "bank")


def chain(start_us: int, *, link_us: dict[str, int], self_us: int = 5_000) -> TraceForest:
    """Requests down a chain; `link_us` is what is lost on the way to a service, 2 ms where nothing is said."""
    built = []
    for at in range(10):
        trace, parent = TraceBuilder(start_us + at * 1_000_000), ""
        took = [0]
        for service in reversed(CHAIN):
            took.append(took[-1] + self_us)
            took.append(took[-1] + link_us.get(service, 2_000))
        durations = took[::-1]
        for depth, service in enumerate(CHAIN):
            if depth:
                parent = trace.span(CHAIN[depth - 1], f"GET {service}", SpanKind.CLIENT, durations[2 * depth], parent)
            parent = trace.span(service, f"GET /{service}", SpanKind.SERVER, durations[2 * depth + 1], parent)
        built.append(trace)
    return TraceForest(flatten(built))


def test_a_starved_machine_is_told_from_a_slow_link() -> None:
    usual = chain(0, link_us={})
    starved = chain(60_000_000, link_us=dict.fromkeys(CHAIN, 90_000), self_us=200_000)
    assert "became slow alike" in slowed_alike(usual, starved)
    assert slowed_alike(usual, chain(60_000_000, link_us={"stock": 900_000})) == ""
    # All links to and from one service: that one explains them.
    assert slowed_alike(usual, chain(60_000_000, link_us={"stock": 900_000, "prices": 900_000})) == ""
    assert slowed_alike(usual, chain(60_000_000, link_us={})) == ""
    assert slowed_alike(TraceForest([]), starved) == ""

"""Time lost on links and within services."""

from __future__ import annotations

from diagnosis.shifts import shift_signals
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

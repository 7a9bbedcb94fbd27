"""Following a bad request down to where it went wrong."""

from __future__ import annotations

from diagnosis.walks import TraceForest, Walk, collect_blames, find_undelivered, learn_usual, walk_down
from domain.telemetry import SpanKind
from tests.diagnosis.builders import TraceBuilder, flatten

SERVICES = ("shop", "checkout", "payment", "bank", "stock", "worker")


def healthy(count: int = 20) -> list[TraceBuilder]:
    traces = []
    for at in range(count):
        trace = TraceBuilder(at * 100_000)
        entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000)
        checkout = trace.call("shop", "checkout", 30_000, entry)
        trace.call("checkout", "stock", 5_000, checkout)
        payment = trace.call("checkout", "payment", 15_000, checkout)
        trace.call("payment", "bank", 10_000, payment)
        sent = trace.span("checkout", "publish orders", SpanKind.PRODUCER, 500, checkout)
        trace.span("worker", "process orders", SpanKind.CONSUMER, 2_000, sent, offset_us=50_000)
        traces.append(trace)
    return traces


def walk(trace: TraceBuilder) -> Walk:
    good, bad = TraceForest(flatten(healthy())), TraceForest(trace.spans)
    usual = learn_usual(good, TraceForest([*good.spans.values(), *bad.spans.values()]))
    return walk_down(trace.spans[0], bad, usual, SERVICES)


def test_an_exception_below_is_blamed_on_the_service_that_raised_it() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000, error="502")
    checkout = trace.call("shop", "checkout", 30_000, entry, error="500", server_error="payment failed")
    trace.call("checkout", "payment", 15_000, checkout, error="500", server_error="KeyError: 'currency'")
    found = walk(trace)
    assert (found.service, found.kind, found.text) == ("payment", "failing_here", "KeyError: 'currency'")
    assert found.services == ("payment", "checkout", "shop")


def test_a_refused_call_is_blamed_on_who_used_to_answer_there() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000, error="502")
    checkout = trace.call("shop", "checkout", 30_000, entry, error="500", server_error="bank is down")
    payment = trace.call("checkout", "payment", 15_000, checkout, error="500", server_error="cannot charge")
    trace.span("payment", "POST bank", SpanKind.CLIENT, 900, payment, error="Connection refused", peer="bank:80")
    found = walk(trace)
    assert (found.service, found.kind, found.caller) == ("bank", "unreachable", "payment")
    assert found.services == ("bank", "payment", "checkout", "shop")


def test_a_client_that_gave_up_leads_to_the_slow_server() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 1_100_000, error="504")
    client = trace.span(
        "shop", "POST checkout", SpanKind.CLIENT, 1_090_000, entry, error="timed out", peer="checkout:80"
    )
    checkout = trace.span("checkout", "POST /checkout", SpanKind.SERVER, 1_080_000, client, error="timed out")
    call = trace.span(
        "checkout", "POST stock", SpanKind.CLIENT, 1_000_000, checkout, error="timed out", peer="stock:80"
    )
    trace.span("stock", "POST /stock", SpanKind.SERVER, 2_500_000, call)
    found = walk(trace)
    assert (found.service, found.kind) == ("stock", "slow_here")


def test_time_lost_between_client_and_server_is_the_links() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 2_040_000)
    client = trace.span("shop", "POST checkout", SpanKind.CLIENT, 2_031_000, entry, peer="checkout:80")
    trace.span("checkout", "POST /checkout", SpanKind.SERVER, 30_000, client)
    found = walk(trace)
    assert (found.service, found.kind, found.caller) == ("checkout", "slow_link", "shop")


def test_messages_that_nobody_consumes_are_found() -> None:
    good = TraceForest(flatten(healthy()))
    bad = []
    for at in range(5):
        trace = TraceBuilder(10_000_000 + at)
        entry = trace.span("checkout", "POST /checkout", SpanKind.SERVER, 2_000_000, error="not accepted")
        trace.span("checkout", "publish orders", SpanKind.PRODUCER, 500, entry)
        bad.append(trace)
    (lost,) = find_undelivered(TraceForest(flatten(bad)), learn_usual(good, good), 10_000_000)
    assert (lost.producer, lost.consumer, lost.share) == ("checkout", "worker", 0.0)


def test_blames_are_counted_and_the_order_of_spans_does_not_matter() -> None:
    traces = []
    for at in range(6):
        trace = TraceBuilder(10_000_000 + at)
        entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000, error="502")
        trace.call("shop", "checkout", 30_000, entry, error="500", server_error="boom")
        traces.append(trace)
    spans = flatten(traces)
    usual = learn_usual(TraceForest(flatten(healthy())), TraceForest([]))
    results = []
    for ordered in (spans, spans[::-1]):
        forest = TraceForest(ordered)
        entries = sorted((s for s in spans if not s.parent_id), key=lambda s: s.trace_id)
        results.append(
            [
                (b.service, b.kind, len(b.walks))
                for b in collect_blames(walk_down(e, forest, usual, SERVICES) for e in entries)
            ]
        )
    assert results[0] == results[1] == [("checkout", "failing_here", 6)]


def test_without_good_requests_to_compare_with_a_failure_is_not_laid_on_a_call_that_went_well() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000, error="KeyError: 'currency'")
    trace.call("shop", "checkout", 30_000, entry)
    forest = TraceForest(trace.spans)
    found = walk_down(trace.spans[0], forest, learn_usual(TraceForest([]), forest), SERVICES)
    assert (found.service, found.kind) == ("shop", "failing_here")


def test_a_request_that_waits_for_several_slow_calls_is_not_slow_by_itself() -> None:
    trace = TraceBuilder(10_000_000)
    entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 2_040_000)
    checkout = trace.call("shop", "checkout", 2_030_000, entry)
    trace.call("checkout", "stock", 805_000, checkout)
    payment = trace.call("checkout", "payment", 1_215_000, checkout)
    trace.call("payment", "bank", 1_210_000, payment)
    assert walk(trace).service == "bank"
    # Where most of it was spent in between, the calls do not explain it.
    other = TraceBuilder(20_000_000)
    entry = other.span("shop", "POST /checkout", SpanKind.SERVER, 2_040_000)
    checkout = other.call("shop", "checkout", 2_030_000, entry)
    other.call("checkout", "stock", 405_000, checkout)
    assert walk(other).service == "checkout"

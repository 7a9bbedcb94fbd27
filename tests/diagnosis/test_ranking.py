"""Cause, victim and bystander; and what the verdict rule lets be said."""

from __future__ import annotations

from dataclasses import replace

import pytest

from diagnosis.ranking import Candidate, Case, rank_causes
from diagnosis.signals import Ref, Signal, SignalName
from diagnosis.symptom import Symptom
from diagnosis.verdict import Proof, hops_of, settle_healthy, settle_verdict
from diagnosis.walks import Blame, TraceForest, collect_blames, learn_usual, walk_down
from diagnosis.wording import classify
from domain.observed import SpanRow
from domain.telemetry import SpanKind
from domain.verdict import FaultClass
from tests.diagnosis.builders import TraceBuilder, flatten

START = 10_000_000
SERVICES = ("ads", "bank", "checkout", "orders", "payment", "shop", "worker")
CALLS = (
    ("shop", "checkout"),
    ("shop", "ads"),
    ("checkout", "payment"),
    ("checkout", "orders"),
    ("payment", "bank"),
    ("orders", "worker"),
)
SYMPTOM = Symptom(
    "shop", "POST /checkout", "errors", START, START + 20_000_000, 40, 80, 0.5, 0.0, 90.0, False, 400_000, 80
)


def signal(
    service: str, name: SignalName, strength: float = 0.9, fault_class: FaultClass = "unknown", at: int = START
) -> Signal:
    refs = (Ref.to("log", id=hash((service, name)) % 1000),)
    return Signal(service, name, strength, at, f"{service} {name}", refs, fault_class=fault_class)


def failing(error: str, *, at: str = "payment", count: int = 10) -> list[TraceBuilder]:
    traces = []
    for number in range(count):
        trace = TraceBuilder(START + number * 1000)
        entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 40_000, error="502")
        checkout = trace.call(
            "shop", "checkout", 30_000, entry, error="500", server_error=error if at == "checkout" else "500"
        )
        if at != "checkout":
            trace.call("checkout", at, 15_000, checkout, error="500", server_error=error)
        traces.append(trace)
    return traces


def blames(traces: list[TraceBuilder]) -> list[Blame]:
    forest = TraceForest(flatten(traces))
    usual = learn_usual(TraceForest([]), forest)
    entries: list[SpanRow] = [trace.spans[0] for trace in traces]
    return collect_blames(walk_down(entry, forest, usual, SERVICES) for entry in entries)


def proof_of(ranking: list[Candidate]) -> Proof:
    cited = {ref: f"log-{at}" for at, ref in enumerate(r for c in ranking for s in c.signals for r in s.refs)}
    hops = hops_of(ranking[0].path)
    return Proof(cited, dict.fromkeys(hops, "edge-1"), {hop: ["span-1"] for hop in hops}, 20)


def test_the_thrower_is_the_cause_and_the_loudest_is_a_bystander() -> None:
    case = Case(
        SYMPTOM,
        SERVICES,
        CALLS,
        blames=blames(failing("KeyError: 'currency'")),
        signals=(
            signal("payment", "new_error_log", 0.9, "code"),
            *(signal("ads", "error_burst", 1.0) for _ in range(5)),
            signal("ads", "new_error_log", 0.9, "code"),
            signal("checkout", "new_error_log", 0.45, "dependency"),
        ),
    )
    ranking = rank_causes(case)
    assert ranking[0].service == "payment"
    assert ranking[0].path == ("payment", "checkout", "shop")
    assert ranking[0].fault_class == "code"
    verdict = settle_verdict(SYMPTOM, ranking, proof_of(ranking))
    assert verdict.outcome == "CONFIRMED"
    assert [c.service for c in verdict.causes] == ["payment"]
    assert "ads" in {r.service for r in verdict.ruled_out}


def test_one_who_waits_is_explained_by_a_failing_worker_below() -> None:
    case = Case(
        SYMPTOM,
        SERVICES,
        CALLS,
        blames=blames(failing("order 7 is still placed after 2.0 s, giving up: timed out", at="checkout")),
        signals=(
            signal("worker", "new_error_log", 0.9, "data", START - 500_000),
            signal("worker", "failing_here", 0.8, "data", START - 500_000),
            signal("checkout", "new_error_log", 0.45, "dependency"),
        ),
    )
    ranking = rank_causes(case)
    assert ranking[0].service == "worker"
    assert ranking[0].path == ("worker", "orders", "checkout", "shop")
    verdict = settle_verdict(SYMPTOM, ranking, replace(proof_of(ranking), hops={}))
    assert "worker->orders" not in verdict.causes[0].hop_evidence
    assert set(verdict.causes[0].inferred_hops) == {"orders->worker", "checkout->orders", "shop->checkout"}


def test_an_effect_that_comes_after_the_symptom_is_no_cause() -> None:
    late = signal("bank", "failing_here", 0.9, at=START + 15_000_000)
    case = Case(SYMPTOM, SERVICES, CALLS, blames=blames(failing("KeyError: 'x'")), signals=(late,))
    bank = next(c for c in rank_causes(case) if c.service == "bank")
    assert "later_than_symptom" in bank.contributions


def test_a_call_that_hangs_until_it_times_out_is_in_order() -> None:
    traces = []
    for number in range(10):
        trace = TraceBuilder(START + number * 1000)
        entry = trace.span("shop", "POST /checkout", SpanKind.SERVER, 9_000_000, error="504")
        trace.call("shop", "bank", 8_000_000, entry, error="deadline exceeded", server_error="lock wait timeout")
        traces.append(trace)
    ranking = rank_causes(Case(SYMPTOM, SERVICES, (*CALLS, ("shop", "bank")), blames=blames(traces)))
    assert ranking[0].service == "bank"
    assert ranking[0].onset_us > START + 5_000_000
    assert settle_verdict(SYMPTOM, ranking, proof_of(ranking)).outcome == "CONFIRMED"


LOGS = replace(SYMPTOM, kind="logs")


def accusation(accused: str, accuser: str) -> Signal:
    return replace(signal(accused, "named_by_others", 1.0, "dependency"), target=accuser)


def test_without_request_traces_the_last_of_those_who_accuse_one_another_is_the_cause() -> None:
    signals = (
        signal("checkout", "new_error_log", 0.45, "dependency"),
        accusation("payment", "checkout"),
        signal("payment", "new_error_log", 0.45, "dependency"),
        accusation("bank", "payment"),
        signal("bank", "restarted", 0.75),
        signal("payment", "not_ready", 0.8, "dependency"),
    )
    ranking = rank_causes(Case(LOGS, SERVICES, CALLS, signals=signals))
    assert ranking[0].service == "bank"
    assert ranking[0].score > 2 * ranking[1].score


def test_a_lone_accuser_with_new_settings_is_not_believed() -> None:
    signals = (
        signal("checkout", "new_error_log", 0.45, "dependency"),
        accusation("payment", "checkout"),
        signal("checkout", "changed", 1.0, "config"),
    )
    ranking = rank_causes(Case(LOGS, SERVICES, CALLS, signals=signals))
    assert ranking[0].service == "checkout"
    others = (*signals, accusation("payment", "orders"))
    assert rank_causes(Case(LOGS, SERVICES, CALLS, signals=others))[0].service == "payment"


def test_where_traces_show_who_failed_whom_names_are_hints_only() -> None:
    case = Case(SYMPTOM, SERVICES, CALLS, blames=blames(failing("KeyError")), entries={"shop": 10})
    loud = tuple(accusation("ads", name) for name in ("shop", "orders", "worker"))
    assert rank_causes(replace(case, signals=loud))[0].service == "payment"


STATED = replace(SYMPTOM, kind="stated", bad=0, share=0.0, evidence=0.0)


def test_stated_trouble_names_a_cause_with_a_plain_sign_and_never_confirms_it() -> None:
    ranking = rank_causes(Case(STATED, SERVICES, CALLS, signals=(signal("bank", "slow_link"),)))
    verdict = settle_verdict(STATED, ranking, proof_of(ranking))
    assert (verdict.outcome, verdict.causes[0].service) == ("LIKELY", "bank")
    assert any("not measured" in reason for reason in verdict.reasons)


@pytest.mark.parametrize(
    "names", [("changed", "error_burst"), ("saturated",), ("metric_shift", "saturated", "changed")]
)
def test_stated_trouble_and_circumstances_name_nobody(names: tuple[SignalName, ...]) -> None:
    ranking = rank_causes(Case(STATED, SERVICES, CALLS, signals=tuple(signal("bank", n, 1.0) for n in names)))
    assert settle_verdict(STATED, ranking, proof_of(ranking)).outcome == "INCONCLUSIVE"


def test_what_is_usual_is_not_said_without_a_baseline() -> None:
    ranking = rank_causes(Case(SYMPTOM, SERVICES, CALLS, blames=blames(failing("KeyError"))))
    verdict = settle_verdict(SYMPTOM, ranking, replace(proof_of(ranking), baseline=0))
    assert "% is usual" not in verdict.reasons[0]
    assert "what is usual is not known" in verdict.reasons[0]


def test_a_change_alone_convicts_nobody() -> None:
    case = Case(SYMPTOM, SERVICES, CALLS, signals=(signal("bank", "changed", 1.0, "code"),))
    verdict = settle_verdict(SYMPTOM, rank_causes(case), Proof({}, {}, {}, 20))
    assert verdict.outcome == "INCONCLUSIVE"
    assert verdict.causes == ()


def test_healthy_needs_sources_that_speak() -> None:
    assert settle_healthy(True, "checkout").outcome == "HEALTHY"
    assert settle_healthy(False, "checkout").outcome == "INCONCLUSIVE"


def test_the_order_of_the_input_does_not_matter() -> None:
    signals = [signal("payment", "new_error_log"), signal("ads", "error_burst"), signal("bank", "changed")]
    found = [
        [
            (c.service, round(c.score, 9))
            for c in rank_causes(Case(SYMPTOM, services, calls, blames=blames(failing("KeyError")), signals=tuple(s)))
        ]
        for services, calls, s in (
            (SERVICES, CALLS, signals),
            (SERVICES[::-1], CALLS[::-1], signals[::-1]),
        )
    ]
    assert found[0] == found[1]


def two_troubles(second_error: str, second: int = 8) -> list[Candidate]:
    traces = failing("KeyError: 'currency'", count=10) + failing(second_error, at="orders", count=second)
    classes: dict[str, FaultClass] = {"payment": "code", "orders": classify(second_error)}
    new = [signal(service, "new_error_log", 0.9, of) for service, of in classes.items()]
    return rank_causes(Case(SYMPTOM, SERVICES, CALLS, blames=blames(traces), signals=new))


def proven(ranking: list[Candidate]) -> Proof:
    cited = {ref: f"log-{at}" for c in ranking for s in c.signals for at, ref in enumerate(s.refs)}
    hops = [hop for c in ranking for hop in hops_of(c.path)]
    return Proof(cited, dict.fromkeys(hops, "edge-1"), {hop: ["span-1"] for hop in hops}, 20)


def test_two_services_that_fail_by_themselves_at_once_are_two_causes() -> None:
    ranking = two_troubles("IndexError: list index out of range")
    verdict = settle_verdict(SYMPTOM, ranking, proven(ranking))
    assert {cause.service for cause in verdict.causes} == {"payment", "orders"}
    assert all(cause.path[-1] == "shop" for cause in verdict.causes)
    assert not {ruled.service for ruled in verdict.ruled_out} & {"payment", "orders"}


@pytest.mark.parametrize(("error", "count"), [("connection to payment timed out", 8), ("IndexError: x", 2)])
def test_who_blames_another_or_fails_a_little_is_no_second_cause(error: str, count: int) -> None:
    ranking = two_troubles(error, count)
    verdict = settle_verdict(SYMPTOM, ranking, proven(ranking))
    assert [cause.service for cause in verdict.causes] == ["payment"]


def test_of_lines_alone_one_on_the_way_of_the_other_is_no_second_cause() -> None:
    symptom = replace(SYMPTOM, kind="logs")
    both = [signal(service, "new_error_log", 0.9, "code") for service in ("ads", "orders")]
    ranking = rank_causes(Case(symptom, SERVICES, CALLS, signals=both))
    first, second = (replace(c, score=0.4) for c in ranking)
    verdict = settle_verdict(symptom, [first, second], proven([first, second]))
    assert {cause.service for cause in verdict.causes} == {"ads", "orders"}
    way = replace(second, path=(second.service, first.service, "shop"))
    verdict = settle_verdict(symptom, [first, way], proven([first, way]))
    assert (verdict.outcome, verdict.causes) == ("INCONCLUSIVE", ())


def test_what_was_as_bad_when_the_records_begin_is_not_confirmed() -> None:
    ranking = two_troubles("IndexError: x", 0)
    assert settle_verdict(SYMPTOM, ranking, proven(ranking)).outcome == "CONFIRMED"
    verdict = settle_verdict(replace(SYMPTOM, begun=False), ranking, proven(ranking))
    assert verdict.outcome == "LIKELY"
    assert any("records begin" in reason for reason in verdict.reasons)

"""Made-up incidents of every shape: the generator, and a few of them asked about through the API."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import pytest

from bench.reports import coarse, report_events
from bench.scenarios import SCENARIOS, Outcome, Scenario, make, play, table
from bench.scores import reliability
from bench.server import Server, start_server
from bench.worlds import Fault, Simulation, draw_system


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with start_server() as running:
        yield running


def find(shape: str, name: str) -> Scenario:
    return next(s for s in SCENARIOS if (s.shape, s.name) == (shape, name))


@pytest.mark.parametrize(
    ("shape", "name", "seed"),
    [
        pytest.param("a", "cascading time-outs", 1, marks=pytest.mark.long),
        ("b", "quota exceeded", 0),
        pytest.param("b", "code fault", 1, marks=pytest.mark.long),
        ("c", "one bad deploy of six", 1),
        pytest.param("d", "slow code", 1, marks=pytest.mark.long),
    ],
)
def test_the_cause_is_named_alone(server: Server, shape: str, name: str, seed: int) -> None:
    outcome = play(server, make(find(shape, name), seed), f"{shape}-{seed}-{abs(hash(name))}", seed)
    assert outcome.right, outcome
    assert shape == "a" or outcome.outcome == "LIKELY", outcome


def test_neither_the_clock_nor_a_loud_stranger_changes_the_answer(server: Server) -> None:
    scenario, long_ago = find("b", "image cannot be pulled"), time.time() - 400 * 86_400
    noise = [
        {"timestamp": long_ago - 200 + n, "service": "stranger", "level": "FATAL", "message": f"kaput {n}: fatal error"}
        for n in range(180)
    ]
    with server.client() as client:
        client.post("/ingest/logs", params={"environment": "noisy"}, json=noise).raise_for_status()
    answers = [
        play(server, make(scenario, 2), "now", 2),
        play(server, make(scenario, 2), "past", 2, long_ago),
        play(server, make(scenario, 2), "noisy", 2, long_ago),
    ]
    assert {(o.outcome, o.named, o.fault_class) for o in answers} == {("LIKELY", answers[0].truth, "config")}


@pytest.mark.parametrize("seed", [0, 1])
def test_a_healthy_system_has_no_cause(server: Server, seed: int) -> None:
    outcome = play(server, make(find("e", "quiet edge metrics"), seed), f"e-{seed}", seed)
    assert outcome.named == (), outcome
    assert outcome.outcome in ("HEALTHY", "INCONCLUSIVE")


@pytest.mark.long
@pytest.mark.parametrize("name", [s.name for s in SCENARIOS if s.shape == "e"])
def test_every_healthy_system_has_no_cause(server: Server, name: str) -> None:
    for seed in range(2, 5):
        outcome = play(server, make(find("e", name), seed), f"el-{seed}-{abs(hash(name))}", seed)
        assert outcome.named == (), outcome


def test_a_seed_draws_the_same_system_and_no_two_services_share_a_name() -> None:
    one, other = (draw_system(random.Random(3), 10, "mesh") for _ in range(2))
    assert one == other
    assert len(set(one.services) | set(one.stores.values())) == len(one.services) + len(set(one.stores.values()))
    assert {caller for caller, _ in one.edges()} <= set(one.services)


def test_a_fault_shows_in_what_is_told_and_only_since_it_began() -> None:
    system = draw_system(random.Random(3), 8, "chain")
    fault = Fault("error", system.services[2], said="KeyError: 'x'")
    told = Simulation(system, fault, random.Random(1), 1_000.0, 1_060.0, 1_120.0).run()
    failed = [span for span in told.spans if span["error"]]
    assert failed
    assert min(span["at"] for span in failed) >= 1_060
    assert {row["service"] for row in coarse(told)} <= {name for edge in system.edges() for name in edge} | {
        system.entry
    }


def test_victims_are_reported_beside_the_cause() -> None:
    system = draw_system(random.Random(3), 8, "chain")
    fault = Fault("down", system.services[3])
    objects = {row["object"].split("-")[0] for row in report_events("quota", system, fault, random.Random(1), 1e6)}
    assert {f"pod/{system.services[3]}", f"pod/{system.services[2]}"} <= objects


def test_reliability_says_how_often_confidence_was_right() -> None:
    assert "0.8-1.0: 1 of 2" in reliability([(0.9, True), (0.9, False)])
    assert "0.410" in reliability([(0.9, True), (0.9, False)])
    assert "no cause" in reliability([])


def test_a_wrong_name_and_one_too_many_are_wrong() -> None:
    def outcome(truth: tuple[str, ...], named: tuple[str, ...]) -> Outcome:
        return Outcome("a", "x", 0, truth, "LIKELY" if named else "HEALTHY", named, named, 0.5, "code", 0.1, "")

    assert outcome(("a",), ("a",)).right
    assert not outcome(("a",), ("a", "b")).right
    assert not outcome(("a",), ("b",)).right
    assert not outcome((), ("b",)).right
    assert outcome((), ()).right
    assert "a        2    0.50" in table([outcome(("a",), ("a",)), outcome(("a",), ("b",))])

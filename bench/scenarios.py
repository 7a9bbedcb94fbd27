"""Made-up incidents of five shapes, with systems and names drawn by chance: is the right service named, and when nobody?

    python -m bench.scenarios [--seeds N] [--shape a|b|c|d|e] [--only WORDS] [--json FILE]

a: logs, spans and metrics. b: logs, orchestrator events and a list of dependencies, no spans. c: metrics per edge and
version beside up to six deploys at once. d: coarse metrics per service and a list of dependencies. e: nothing is wrong:
waves of traffic, rolling deploys, a blip that is over, restarts, loud logs. Each goes in through the ingest API of one
cold server; half of the questions say since when there is trouble, the others only when they are asked.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.replay import ask
from bench.reports import report_changes, report_events, send_told
from bench.scores import reliability
from bench.server import Server, start_server
from bench.worlds import Fault, FaultKind, Simulation, System, draw_system

_QUIET_S, _BROKEN_S = 600, 180


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of incident. `twist` is what makes it harder; an empty `kind` of fault means that nothing is wrong."""

    shape: str
    name: str
    kind: FaultKind = "none"
    topology: str = "mesh"
    twist: str = ""
    said: str = ""
    share: float = 0.7


SCENARIOS = (
    Scenario("a", "slow code", "slow"),
    Scenario("a", "code fault", "error", said="KeyError: 'currency'"),
    Scenario("a", "fan-out", "error", "fan", said="NullPointerException at line 7"),
    Scenario("a", "slow link", "link"),
    Scenario("a", "down", "down", "chain"),
    Scenario("a", "cascading time-outs", "hang", "chain", share=0.5),
    Scenario("a", "clock skew", "error", twist="skew", said="TypeError: unsupported operand"),
    Scenario("a", "no spans of the cause", "slow", twist="silent"),
    Scenario("a", "slow store", "store"),
    Scenario("a", "full pool", "pool", said="connection pool exhausted: no free connections"),
    Scenario("a", "retry storm", "retries", said="ValueError: bad state"),
    Scenario("a", "wrong address", "address"),
    Scenario("a", "noisy neighbour on a node", "node"),
    Scenario("b", "image cannot be pulled", "down", twist="image"),
    Scenario("b", "cannot be scheduled", "down", twist="schedule"),
    Scenario("b", "quota exceeded", "down", twist="quota"),
    Scenario("b", "admission denied", "down", twist="admission"),
    Scenario("b", "crash after config", "down", twist="crash"),
    Scenario("b", "out of memory", "error", twist="oom", said="java.lang.OutOfMemoryError: Java heap space"),
    Scenario("b", "code fault", "error", said="panic: runtime error: index out of range"),
    Scenario("b", "wrong address", "address", twist="address"),
    Scenario("c", "one bad deploy of six", "error", twist="deploys"),
    Scenario("c", "slow deploy of six", "slow", twist="deploys"),
    Scenario("c", "bad canary", "canary", twist="deploys", share=1.0),
    Scenario("c", "no deploy to blame", "link"),
    Scenario("d", "slow code", "slow"),
    Scenario("d", "code fault", "error"),
    Scenario("d", "slow in a chain", "slow", "chain"),
    Scenario("e", "loud logs"),
    Scenario("e", "blip that is over", "error", twist="recovers", said="upstream reset"),
    Scenario("e", "rolling deploy", twist="rolling"),
    Scenario("e", "traffic wave", twist="wave"),
    Scenario("e", "restarts and cron", twist="restarts"),
    Scenario("e", "quiet edge metrics", twist="edges"),
)


@dataclass(frozen=True, slots=True)
class Made:
    """A scenario with everything drawn. `truth` are the names that are right; none where nothing is wrong."""

    scenario: Scenario
    system: System
    fault: Fault
    truth: tuple[str, ...]
    rng: random.Random
    stated: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one incident was answered."""

    shape: str
    name: str
    seed: int
    truth: tuple[str, ...]
    outcome: str
    named: tuple[str, ...]
    ranking: tuple[str, ...]
    confidence: float
    fault_class: str
    seconds: float
    why: str

    @property
    def right(self) -> bool:
        """The right service named alone; for a healthy system: no service named."""
        if not self.truth:
            return not self.named
        return len(self.named) == 1 and self.named[0] in self.truth

    @property
    def first(self) -> bool:
        return bool(self.ranking) and self.ranking[0] in self.truth


def make(scenario: Scenario, seed: int) -> Made:
    """Draw the system and where it breaks."""
    rng = random.Random(f"{scenario.shape} {scenario.name} {seed}")
    system = draw_system(rng, rng.randrange(8, 13), scenario.topology)  # type: ignore[arg-type]
    inner = list(system.services[1:-1])
    victims = [name for name in inner if system.calls.get(name)] if scenario.kind == "address" else inner
    service = rng.choice(victims or [system.entry])
    if scenario.kind == "store":
        service = rng.choice(sorted(set(system.stores.values())))
    fault = Fault(scenario.kind, service, scenario.share, scenario.said)
    truth: tuple[str, ...] = (service,)
    if scenario.kind == "node":
        truth = tuple(name for name in system.services if system.nodes[name] == system.nodes[service])
    if scenario.kind == "none" or scenario.shape == "e":
        truth = ()
    return Made(scenario, system, fault, truth, rng, stated=seed % 2 == 0)


def play(server: Server, made: Made, environment: str, seed: int, now: float | None = None) -> Outcome:
    """Simulate, send in the scenario's shape, ask; `now` (seconds since 1970) may be long ago."""
    broken = (time.time() if now is None else now) - _BROKEN_S - 30
    start, end = broken - _QUIET_S, broken + _BROKEN_S
    simulation = Simulation(made.system, made.fault, made.rng, start, broken, end)
    match made.scenario.twist:
        case "skew":
            simulation.skew_s = {node: made.rng.uniform(-1.5, 1.5) for node in set(made.system.nodes.values())}
        case "silent":
            simulation.silent = frozenset((made.fault.service,))
        case "recovers":
            simulation.recovers = True
        case "wave":
            simulation.wave = 3.0
    told = simulation.run()
    send_told(server, environment, made.scenario.shape, made.scenario.twist, made.system, told)
    with server.client() as client:
        for path, rows in (
            ("/ingest/changes", report_changes(made.scenario.twist, made.system, made.fault, made.rng, broken)),
            ("/ingest/events", report_events(made.scenario.twist, made.system, made.fault, made.rng, broken)),
        ):
            if rows:
                client.post(path, params={"environment": environment}, json=rows).raise_for_status()
    question: dict[str, Any] = {"question": "Requests are slow or failing. What is the root cause?", "at": end}
    if made.stated:
        question |= {"from": broken, "to": end}
    began = time.perf_counter()
    answer = ask(server, question | {"environment": environment})
    return _outcome(made, seed, answer, time.perf_counter() - began)


def _outcome(made: Made, seed: int, answer: dict[str, Any], seconds: float) -> Outcome:
    verdict = answer["verdict"]
    causes = verdict["causes"]
    return Outcome(
        shape=made.scenario.shape,
        name=made.scenario.name,
        seed=seed,
        truth=made.truth,
        outcome=verdict["outcome"],
        named=tuple(cause["service"] for cause in causes),
        ranking=tuple(ranked["service"] for ranked in verdict["ranking"]),
        confidence=causes[0]["confidence"] if causes else 0.0,
        fault_class=causes[0]["fault_class"] if causes else "",
        seconds=seconds,
        why=verdict["reasons"][-1] if verdict["reasons"] else "",
    )


def play_all(scenarios: Sequence[Scenario], seeds: int) -> Iterator[Outcome]:
    """Play every scenario with every seed on one cold server."""
    with start_server() as server:
        for number, scenario in enumerate(scenarios):
            for seed in range(seeds):
                yield play(server, make(scenario, seed), f"env-{number:03d}-{seed}", seed)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the figures per shape as text."""
    lines = [
        f"{'shape':<6}{'n':>4}{'first':>8}{'named right':>13}{'confirmed (wrong)':>19}{'likely (wrong)':>16}{'s':>7}"
    ]
    for shape in sorted({o.shape for o in outcomes}):
        held = [o for o in outcomes if o.shape == shape]
        taken = {kind: [o for o in held if o.outcome == kind] for kind in ("CONFIRMED", "LIKELY")}
        wrong = {kind: sum(not o.right for o in found) for kind, found in taken.items()}
        first = f"{sum(o.first for o in held) / len(held):.2f}" if shape != "e" else "-"
        lines.append(
            f"{shape:<6}{len(held):>4}{first:>8}{sum(o.right for o in held) / len(held):>13.2f}"
            f"{len(taken['CONFIRMED']):>13} ({wrong['CONFIRMED']}){len(taken['LIKELY']):>12} ({wrong['LIKELY']})"
            f"{statistics.median(o.seconds for o in held):>7.2f}"
        )
    lines.append(reliability([(o.confidence, o.right) for o in outcomes if o.named]))
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how often each scenario is drawn")
    parser.add_argument("--shape", choices=tuple("abcde"), help="one shape only")
    parser.add_argument("--only", default="", help="scenarios whose name holds these words")
    parser.add_argument("--json", type=Path, help="write all outcomes here")
    arguments = parser.parse_args()
    chosen = [s for s in SCENARIOS if arguments.shape in (None, s.shape) and arguments.only in s.name]
    outcomes = []
    for outcome in play_all(chosen, arguments.seeds):
        outcomes.append(outcome)
        said = f"{outcome.outcome} {list(outcome.named)} {outcome.fault_class}"
        print(
            f"... {outcome.shape} {outcome.name} #{outcome.seed}: {'ok' if outcome.right else 'NO'} {said} "
            f"truth {list(outcome.truth[:3])} ranking {list(outcome.ranking[:3])} | {outcome.why[:130]}",
            flush=True,
        )
    print(f"\n{table(outcomes)}")
    if arguments.json:
        rows = [asdict(outcome) | {"right": outcome.right} for outcome in outcomes]
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""A made-up system that takes requests for a while, with at most one fault: what each part of it would have reported.

Services, who calls whom, on which node each runs and all names are drawn by chance from a seed, so that nothing can be
fitted to them. The same simulated requests are written down as spans, logs, metrics per service and metrics per edge.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

type FaultKind = Literal[
    "none", "slow", "error", "link", "down", "hang", "node", "pool", "address", "canary", "store", "retries"
]

STEP_S = 30
_TIMEOUT_S = 6.0
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True, slots=True)
class System:
    """Services with what they call, where they run, and the stores behind them; the first one is what users call."""

    services: tuple[str, ...]
    calls: Mapping[str, tuple[str, ...]]
    nodes: Mapping[str, str]
    stores: Mapping[str, str]
    loud: str

    @property
    def entry(self) -> str:
        return self.services[0]

    def edges(self) -> list[tuple[str, str]]:
        """Return who calls whom, stores included."""
        found = [(caller, callee) for caller, callees in self.calls.items() for callee in callees]
        return found + sorted(self.stores.items())


@dataclass(frozen=True, slots=True)
class Fault:
    """What breaks, where, and in which share of requests. `said` is the text of its errors."""

    kind: FaultKind = "none"
    service: str = ""
    share: float = 0.7
    said: str = ""


@dataclass(slots=True)
class Told:
    """Everything that was reported. Times are seconds since 1970."""

    spans: list[dict[str, Any]] = field(default_factory=list)
    logs: list[dict[str, Any]] = field(default_factory=list)
    called: dict[tuple[str, str, str, int], list[float]] = field(default_factory=lambda: defaultdict(lambda: [0, 0, 0]))
    metrics: list[dict[str, Any]] = field(default_factory=list)


def draw_system(rng: random.Random, size: int, shape: Literal["fan", "chain", "mesh"]) -> System:
    """Draw a system: a fan-out, a long chain, or something between with shared services."""
    words: set[str] = set()
    while len(words) < 2 * size + 4:
        words.add("".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(3)))
    names = sorted(words)
    rng.shuffle(names)
    services = tuple(names[:size])
    calls: dict[str, list[str]] = defaultdict(list)
    for at, name in enumerate(services[1:-1], 1):
        match shape:
            case "fan":
                caller = services[0] if at <= size // 2 else services[at - size // 2]
            case "chain":
                caller = services[at - 1]
            case "mesh":
                caller = services[rng.randrange(max(0, at - 3), at)]
        calls[caller].append(name)
        if shape == "mesh" and at > 3 and rng.random() < 0.4:
            extra = services[rng.randrange(1, at - 1)]
            if name not in calls[extra]:
                calls[extra].append(name)
    leaves = [name for name in services[1:-1] if not calls[name]]
    stores = {name: names[size] if at < 2 else names[size + 1] for at, name in enumerate(leaves[:3])}
    nodes = {name: f"{names[-1 - at % 3]}-node" for at, name in enumerate(services)}
    return System(services, {name: tuple(found) for name, found in calls.items()}, nodes, stores, services[-1])


class Simulation:
    """Requests that run through a system from `start` to `end`; the fault holds from `broken` on."""

    def __init__(self, system: System, fault: Fault, rng: random.Random, start: float, broken: float, end: float):
        self.system, self.fault, self.told = system, fault, Told()
        self._rng, self._start, self._broken, self._end = rng, start, broken, end
        self.skew_s: Mapping[str, float] = {}
        self.silent: frozenset[str] = frozenset()
        self.recovers = False
        self.wave = 1.0

    def run(self, rate: float = 1.5) -> Told:
        """Simulate and return what was told."""
        at = self._start
        while at < self._end:
            at += self._rng.expovariate(rate * (self.wave if at >= self._broken else 1.0))
            operation = self._rng.choice(("list", "order"))
            self._serve(self.system.entry, operation, at, f"{self._rng.getrandbits(128):032x}", "", "")
        self._background()
        return self.told

    def _is_broken(self, at: float) -> bool:
        if self.recovers:
            return self._broken - 300 <= at < self._broken - 270
        return self._broken <= at < self._end

    def _hit(self, kind: FaultKind, service: str, at: float) -> bool:
        fault = self.fault
        return (
            fault.kind == kind and fault.service == service and self._is_broken(at) and self._rng.random() < fault.share
        )

    def _serve(self, name: str, op: str, at: float, trace: str, parent: str, source: str) -> tuple[float, bool, str]:
        """Let a service take one request in; return seconds, whether it failed, and the version that served it."""
        span, took, failed, text = f"{self._rng.getrandbits(64):016x}", self._work(name, at), False, ""
        version = "2" if self._rng.random() < 0.3 and at >= self._broken - 60 else "1"
        for callee in self.system.calls.get(name, ()):
            if op == "list" and self.system.calls[name].index(callee) % 3 == 2:
                continue
            spent, bad = self._call(name, callee, op, at + took, trace, span)
            took += spent
            if bad:
                failed, text = True, f"502 from {callee}"
        if store := self.system.stores.get(name):
            took += self._query(name, store, at + took, trace, span)
        failed, text = self._own_fault(name, version, at, took) or (failed, text)
        self._log(name, at + took, op, took, failed, text)
        self._span(name, f"{op} {name}", 2, at, took, trace, span, parent, text if failed else "")
        return took, failed, version

    def _work(self, name: str, at: float) -> float:
        took = self._rng.lognormvariate(-4.6, 0.35)
        if self._hit("slow", name, at):
            took += self._rng.uniform(0.8, 1.6)
        if self._hit("hang", name, at):
            took += 30
        node = self.system.nodes.get(self.fault.service)
        if self.fault.kind == "node" and self.system.nodes[name] == node and self._is_broken(at):
            took = took * 12 + self._rng.uniform(0.1, 0.4)
        return took

    def _own_fault(self, name: str, version: str, at: float, took: float) -> tuple[bool, str] | None:
        said = self.fault.said or "unexpected value in row"
        if self._hit("error", name, at) or self._hit("pool", name, at) or self._hit("retries", name, at):
            self._write(name, at + took, "ERROR", f"{said} (request {self._rng.randrange(10**6)})")
            return True, said
        if version == "2" and self._hit("canary", name, at):
            self._write(name, at + took, "ERROR", f"{said} (request {self._rng.randrange(10**6)})")
            return True, said
        return None

    def _call(self, caller: str, callee: str, op: str, at: float, trace: str, parent: str) -> tuple[float, bool]:
        tries = 3 if self.fault.kind == "retries" else 1
        spent, bad = 0.0, False
        for _ in range(tries):
            took, bad = self._try(caller, callee, op, at + spent, trace, parent)
            spent += took
            if not bad:
                break
        return spent, bad

    def _try(self, caller: str, callee: str, op: str, at: float, trace: str, parent: str) -> tuple[float, bool]:
        span = f"{self._rng.getrandbits(64):016x}"
        port = "8080"
        refused = self._hit("down", callee, at)
        if self.fault.kind == "address" and self.system.calls[self.fault.service][0] == callee:
            refused = self._hit("address", caller, at)
            port = "8081" if refused else port
        if refused:
            text = f"connect to {callee}:{port}: connection refused"
            self._write(caller, at, "ERROR", text)
            self._span(caller, f"{op} {callee}", 3, at, 0.004, trace, span, parent, text, f"{callee}:{port}")
            self._count(caller, callee, "1", at, 0.004, True)
            return 0.004, True
        delay = 0.9 if self._hit("link", callee, at) else 0.001
        took, failed, version = self._serve(callee, op, at + delay / 2, trace, span, caller)
        text = f"{callee} answered 500" if failed else ""
        took += delay
        if took > _TIMEOUT_S:
            took, failed, text = _TIMEOUT_S, True, f"call to {callee}:{port} timed out after {_TIMEOUT_S:.0f} s"
            self._write(caller, at + took, "ERROR", text)
        self._span(caller, f"{op} {callee}", 3, at, took, trace, span, parent, text, f"{callee}:{port}")
        self._count(caller, callee, version, at, took, failed)
        return took, failed

    def _query(self, name: str, store: str, at: float, trace: str, parent: str) -> float:
        took = self._rng.lognormvariate(-5.5, 0.3)
        broken = self.fault.kind == "store" and self.fault.service == store and self._is_broken(at)
        took += self._rng.uniform(0.8, 1.2) if broken else 0.0
        span = f"{self._rng.getrandbits(64):016x}"
        self._span(name, "select", 3, at, took, trace, span, parent, "", f"{store}:5432")
        self._count(name, store, "1", at, took, False)
        return took

    def _count(self, source: str, target: str, version: str, at: float, took: float, failed: bool) -> None:
        sums = self.told.called[source, target, version, int(at) // STEP_S * STEP_S]
        sums[0] += 1
        sums[1] += failed
        sums[2] += took

    def _log(self, name: str, at: float, op: str, took: float, failed: bool, text: str) -> None:
        if failed and "502" in text:
            self._write(name, at, "WARN", f"request {self._rng.randrange(10**6)} could not be served: {text}")
        elif not failed:
            self._write(name, at, "INFO", f"{op} {self._rng.randrange(10**6)} served in {took * 1000:.0f} ms")

    def _write(self, name: str, at: float, level: str, message: str) -> None:
        if name not in self.silent:
            at += self.skew_s.get(self.system.nodes[name], 0.0)
            self.told.logs.append({"timestamp": at, "service": name, "level": level, "message": message})

    def _span(
        self, service: str, name: str, kind: int, at: float, took: float, trace: str, span: str, parent: str,
        error: str, peer: str = "",
    ) -> None:  # fmt: skip
        if service in self.silent:
            return
        at += self.skew_s.get(self.system.nodes[service], 0.0)
        self.told.spans.append(
            {"service": service, "name": name, "kind": kind, "at": at, "took": took, "trace": trace, "span": span,
             "parent": parent, "error": error, "peer": peer}
        )  # fmt: skip

    def _background(self) -> None:
        """A service beside all requests that always complains, and the usual resource metrics of every service."""
        at = self._start
        while at < self._end:
            at += self._rng.expovariate(0.5)
            level = "ERROR" if self._rng.random() < 0.5 else "INFO"
            self._write(self.system.loud, at, level, f"mail to box {self._rng.randrange(10**5)} bounced")
        for step in range(int(self._start), int(self._end), STEP_S):
            for name in self.system.services:
                busy = self.fault.kind in ("node", "slow") and self.fault.service == name and self._is_broken(step)
                self._sample(name, step, "cpu_usage", (0.9 if busy else 0.3) + self._rng.uniform(-0.05, 0.05))
                self._sample(name, step, "memory_mb", 200 + self._rng.uniform(-9, 9))
                full = self.fault.kind == "pool" and self.fault.service == name and self._is_broken(step)
                self._sample(name, step, "connections_in_use", 20 if full else self._rng.randrange(3, 9))

    def _sample(self, service: str, at: float, name: str, value: float) -> None:
        self.told.metrics.append({"service": service, "at": float(at), "name": name, "value": value})

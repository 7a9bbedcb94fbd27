"""How long a search takes over many log templates and lines; called by `python -m bench.retrieval --scale SHARE`.

At 1.0 there are 100,000 log templates, each with a vector, 1,000,000 lines and 200 services that call each other. The texts
are sentences of made-up words; the vectors are those of 500 of them, moved at random, as near-equal templates lie. On two
free cores the whole size takes about 15 minutes, nearly all of it for writing.
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Iterable, Iterator, Sequence
from itertools import batched

import numpy as np

from agents.services import Services
from bench.retrieval import open_stack
from domain.times import HOUR_US, SECOND_US, SLOT_US, Window
from graph.ontology import Edge, ServiceNode
from ingest.template import template_id
from retrieval.items import ItemKind, Wanted
from storage.database import QUERIES, Transaction
from storage.vectors import Space

_TEMPLATES, _LINES, _SERVICES, _QUERIES = 100_000, 1_000_000, 200, 100
_PLACE = "scale"
_SEEDS = 500
_BATCH = 1_000

QUERIES["bench_put_line"] = (
    "INSERT INTO log_event (seq, environment, time_us, service, level, template_id, node, trace_id, span_id, message, attributes) "
    "VALUES (0, ?, ?, ?, ?, ?, '', ?, '', ?, '{}')"
)
QUERIES["bench_put_count"] = (
    "INSERT INTO log_count (environment, slot_us, service, template_id, level, count, first_us, last_us) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
)
QUERIES["bench_put_edge"] = (
    "INSERT INTO observed_edge (environment, kind, source, target, observed_by, first_us, last_us, count, errors, level, seq) "
    "VALUES (?, 'EMITTED', ?, ?, 'logs', ?, ?, ?, ?, ?, 0)"
)


async def measure_latency(share: float, seed: int) -> None:
    """Fill a stack and print how long searches take."""
    dice = random.Random(seed)
    made = _Made(dice, max(100, round(_TEMPLATES * share)), max(1000, round(_LINES * share)))
    async with open_stack() as services:
        began = time.perf_counter()
        await _write(services, made)
        print(
            f"{len(made.texts):,} log templates, {made.lines:,} lines, {_SERVICES} services written in "
            f"{time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        await _ask(services, made, "warm up", 20, dice)
        print(f"\n| {'searches':34} | n | p50 | p95 |\n|---|---|---|---|")
        await _ask(services, made, "everything", _QUERIES, dice)
        await _ask(services, made, "log templates alone", _QUERIES, dice, frozenset(("template",)))
        await _ask(services, made, "everything, naming a service", _QUERIES, dice, named=True)
        await _ask(services, made, "everything, about a time", _QUERIES, dice, named=True, timed=True)
        await _ask(services, made, "a request trace by its id", _QUERIES, dice, exact=True)
        print(f"\nload {os.getloadavg()[0]:.1f}")


class _Made:
    """Made-up templates and the lines of them, all of the last six hours."""

    def __init__(self, dice: random.Random, templates: int, lines: int) -> None:
        parts = ("ba", "ce", "di", "fo", "gu", "la", "me", "ni", "po", "ru", "sa", "te", "vi", "zo")
        self.words = ["".join(dice.choice(parts) for _ in range(dice.randint(2, 4))) for _ in range(3_000)]
        self.services = [f"svc-{number:03d}" for number in range(_SERVICES)]
        self.end_us = time.time_ns() // 1000
        # Words are as unequal as those of a language.
        self._weights = [1.0 / (rank + 3) for rank in range(len(self.words))]
        texts: dict[int, str] = {}
        while len(texts) < templates:
            text = " ".join(dice.choices(self.words, self._weights, k=dice.randint(5, 12))) + " <*>"
            texts[template_id(text)] = text
        self.texts = list(texts.items())
        self.lines = lines
        self._dice = dice
        self.traces: list[str] = []

    def rows(self) -> Iterator[tuple[str, int, str, int, int, str, str]]:
        """Yield the lines."""
        for number in range(self.lines):
            at = number if number < len(self.texts) else min(len(self.texts) - 1, int(self._dice.paretovariate(0.5)))
            key, text = self.texts[at]
            moment = self.end_us - self._dice.randrange(6 * HOUR_US)
            trace = f"{self._dice.getrandbits(128):032x}"
            if number % 1000 == 0:
                self.traces.append(trace)
            yield _PLACE, moment, self.service_of(at), self.level_of(at), key, trace, text.replace("<*>", str(number))

    def service_of(self, at: int) -> str:
        return self.services[at % len(self.services)]

    def level_of(self, at: int) -> int:
        return 17 if at % 10 == 0 else 9

    def question(self, dice: random.Random) -> str:
        """Return a few words as they are used."""
        return " ".join(dice.choices(self.words, self._weights, k=dice.randint(3, 6)))


async def _write(services: Services, made: _Made) -> None:
    await _put(services, "ingest_add_templates", ((key, 1, text) for key, text in made.texts))
    await _write_vectors(services, made)
    await _put(services, "bench_put_line", made.rows())
    first = made.end_us - 6 * HOUR_US
    edges: list[tuple[object, ...]] = []
    counts: list[tuple[object, ...]] = []
    drawn: list[Edge] = []
    for at, (key, _) in enumerate(made.texts):
        service, level = made.service_of(at), made.level_of(at)
        errors = 10 * (level >= 17)
        edges.append((_PLACE, service, str(key), first, made.end_us, 10, errors, level))
        slot = (made.end_us - HOUR_US * (at % 6)) // SLOT_US * SLOT_US
        counts.append((_PLACE, slot, service, key, level, 10, slot, slot))
        drawn.append(Edge(service, str(key), "EMITTED", "logs", first, None, made.end_us, 10, errors, level=level))
    await _put(services, "bench_put_edge", edges)
    await _put(services, "bench_put_count", counts)
    await services.graph.ensure_indexes(_PLACE)
    await services.graph.write_nodes(_PLACE, [ServiceNode(name) for name in made.services])
    calls = [
        Edge(
            made.services[at],
            made.services[(at * 7 + step) % _SERVICES],
            "CALLS",
            "spans",
            first,
            None,
            made.end_us,
            10,
        )
        for at in range(_SERVICES)
        for step in (1, 2, 3)
    ]
    await services.graph.write_edges(_PLACE, [*calls, *drawn])


async def _put(services: Services, query: str, rows: Iterable[tuple[object, ...]]) -> None:
    for part in batched(rows, 5 * _BATCH):

        def write(tx: Transaction, held: tuple[tuple[object, ...], ...] = part) -> None:
            tx.execute_many(query, held)

        await services.database.transaction(write)


async def _write_vectors(services: Services, made: _Made) -> None:
    if services.vectors is None or services.embedder is None:
        raise SystemExit("CAUSEGRAPH_EMBEDDER is `none`: there would be nothing to measure.")
    known = await services.embedder.embed([text for _, text in made.texts[:_SEEDS]])
    space, noise = Space(services.embedder.name, services.embedder.dimension), np.random.default_rng(1)
    for number, part in enumerate(batched(made.texts, _BATCH)):
        chosen = known[noise.integers(0, len(known), len(part))]
        moved = chosen + noise.normal(0.0, 0.02, chosen.shape).astype(np.float32)
        vectors = (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32)
        await services.vectors.store("template", space, [str(key) for key, _ in part], vectors)
        if number % 20 == 19:
            print(f"{(number + 1) * _BATCH:,} vectors", flush=True)


async def _ask(
    services: Services,
    made: _Made,
    name: str,
    count: int,
    dice: random.Random,
    kinds: frozenset[ItemKind] = frozenset(),
    *,
    named: bool = False,
    timed: bool = False,
    exact: bool = False,
) -> None:
    """Search again and again, one after the other, and print the median and the 95th percentile."""
    spent: list[float] = []
    for _ in range(count):
        text = made.question(dice)
        text = f"{dice.choice(made.services)} {text}" if named else dice.choice(made.traces) if exact else text
        end_us = made.end_us + SECOND_US
        wanted = Wanted(text, _PLACE, Window(0, end_us), end_us - 1, kinds)
        began = time.perf_counter()
        pack = await services.finder.find(wanted, timed=timed)
        spent.append(1000 * (time.perf_counter() - began))
        if not pack.hits:
            raise SystemExit(f"nothing was found for {text!r}: {pack.notes}")
    if name != "warm up":
        print(f"| {name:34} | {count} | {statistics.median(spent):.0f} ms | {_p95(spent):.0f} ms |", flush=True)


def _p95(values: Sequence[float]) -> float:
    return sorted(values)[min(len(values) - 1, round(0.95 * len(values)))]

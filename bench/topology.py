"""A topology of 100,000 services and 1,000,000 calls with time: writing it, and asking it, beside plain alternatives.

    python -m bench.topology [--services 100000] [--calls 1000000] [--seed N]

The same questions go to FalkorDB through `graph/`, to MariaDB (the same rows in an indexed table, one query per hop), and
to a networkx graph of what held at that moment, which is read out of the database first. A private stack is started for
it and removed. What is measured is one caller at a time, on whatever else the machine is doing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from cli.stack import ensure_stack, stop_stack
from domain.times import HOUR_US
from graph.ontology import Edge
from graph.topology import TopologyGraph
from graph.view import as_networkx, find_paths
from storage.database import QUERIES, Database
from storage.migrate import migrate

_ENVIRONMENT = "bench"
_DAY_US = 24 * HOUR_US
_ASKED = 20
_WRITTEN_AT_A_TIME = 20_000

QUERIES["bench_put"] = (
    "INSERT INTO observed_edge (environment, kind, source, target, observed_by, first_us, last_us, count, errors, level, "
    "seq) VALUES ('bench', 'CALLS', ?, ?, 'traces', ?, ?, 1, 0, 0, 1)"
)
QUERIES["bench_index"] = "CREATE INDEX bench_by_target ON observed_edge (environment, kind, target)"
_AT = "e.environment = 'bench' AND e.kind = 'CALLS' AND e.first_us <= ? AND e.last_us > ?"
_NAMES = "JSON_TABLE(?, '$[*]' COLUMNS (name VARCHAR(128) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin PATH '$')) AS j"
QUERIES["bench_from"] = (
    f"SELECT e.source, e.target FROM {_NAMES} STRAIGHT_JOIN observed_edge AS e ON e.source = j.name AND {_AT} LIMIT 50000"  # noqa: S608
)
QUERIES["bench_to"] = (
    f"SELECT e.source, e.target FROM {_NAMES} STRAIGHT_JOIN observed_edge AS e FORCE INDEX (bench_by_target) "  # noqa: S608
    f"ON e.target = j.name AND {_AT} LIMIT 50000"
)
QUERIES["bench_all"] = f"SELECT e.source, e.target, e.first_us, e.last_us FROM observed_edge AS e WHERE {_AT}"  # noqa: S608


def make_edges(services: int, calls: int, seed: int) -> list[Edge]:
    """Return calls that held for some hours of a week each, by pair; a few services are called by very many."""
    choose = random.Random(seed)
    edges: dict[tuple[int, int, int], Edge] = {}
    while len(edges) < calls:
        source = choose.randrange(services)
        # Mostly anybody, sometimes one of the hubs that everybody knows.
        target = choose.randrange(services) if choose.random() < 0.98 else choose.randrange(max(1, services // 1000))
        since = choose.randrange(7 * 24) * HOUR_US
        until = since + choose.randrange(1, 4 * 24) * HOUR_US
        if source != target:
            edge = Edge(f"s{source}", f"s{target}", "CALLS", "traces", since, until, until, 1)
            edges[source, target, since] = edge
    return [edges[key] for key in sorted(edges)]


async def write_graph(graph: TopologyGraph, edges: Sequence[Edge]) -> float:
    """Write everything as the projection does; return the seconds."""
    began = time.perf_counter()
    await graph.ensure_indexes(_ENVIRONMENT)
    at = 0
    while at < len(edges):
        # All intervals of a pair are written together: see `write_edges`.
        end = at + _WRITTEN_AT_A_TIME
        while 0 < end < len(edges) and edges[end].family == edges[end - 1].family:
            end += 1
        await graph.write_edges(_ENVIRONMENT, edges[at:end])
        at = end
        print(f"\r  {min(at, len(edges)):,} of {len(edges):,} calls", end="", flush=True)
    print()
    return time.perf_counter() - began


async def write_table(database: Database, edges: Sequence[Edge]) -> float:
    """Write the same into MariaDB; return the seconds."""
    began = time.perf_counter()
    for at in range(0, len(edges), _WRITTEN_AT_A_TIME):
        rows = sorted((e.source, e.target, e.valid_from_us, e.valid_to_us) for e in edges[at : at + _WRITTEN_AT_A_TIME])
        await database.transaction(lambda tx, rows=rows: tx.execute_many("bench_put", rows))  # type: ignore[misc]
    await database.execute("bench_index")
    return time.perf_counter() - began


class Table:
    """The same questions in SQL, one query per hop."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def spread(self, query: str, service: str, hops: int, moment_us: int) -> set[tuple[str, str]]:
        found: set[tuple[str, str]] = set()
        reached, frontier = {service}, [service]
        for _ in range(hops):
            rows = await self._database.fetch(query, (json.dumps(frontier), moment_us, moment_us))
            found |= {(str(source), str(target)) for source, target in rows}
            frontier = sorted({end for pair in rows for end in map(str, pair)} - reached)
            reached.update(frontier)
        return found

    async def neighbourhood(self, service: str, moment_us: int) -> None:
        await self.spread("bench_from", service, 1, moment_us)
        await self.spread("bench_to", service, 1, moment_us)

    async def path(self, cause: str, symptom: str, moment_us: int) -> list[list[str]]:
        pairs = await self.spread("bench_from", symptom, 3, moment_us)
        pairs |= await self.spread("bench_to", cause, 3, moment_us)
        edges = [Edge(source, target, "CALLS", "traces", 0, None, 0) for source, target in pairs]
        return find_paths(as_networkx(edges), cause, symptom, 6, 5)

    async def diff(self, earlier_us: int, later_us: int) -> int:
        before, after = [
            {(row[0], row[1]) for row in await self._database.fetch("bench_all", (at, at))}
            for at in (earlier_us, later_us)
        ]
        return len(before ^ after)


async def measure(ask: Callable[[int], Awaitable[object]], times: int = _ASKED) -> str:
    """Return the median and the longest of some askings."""
    took = []
    for number in range(times):
        began = time.perf_counter()
        await ask(number)
        took.append((time.perf_counter() - began) * 1000)
    return f"{statistics.median(took):,.1f} ms (longest {max(took):,.1f})"


def resident_mb(marker: str) -> float:
    """Return the resident memory of the redis-server whose command line holds a text (Linux)."""
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            command = (status.parent / "cmdline").read_bytes().decode(errors="replace")
            if marker in command and command.startswith("/") and "redis-server" in command.split("\0")[0]:
                line = next(row for row in status.read_text().splitlines() if row.startswith("VmRSS:"))
                return int(line.split()[1]) / 1024
        except OSError:
            continue
    return 0.0


async def run(data_dir: Path, services: int, calls: int, seed: int) -> None:
    stack = ensure_stack(data_dir, print)
    database, graph = Database(stack.database_url), TopologyGraph(stack.graph_url)
    try:
        await migrate(database)
        empty = resident_mb(str(data_dir))
        edges = make_edges(services, calls, seed)
        wrote = await write_graph(graph, edges)
        full = resident_mb(str(data_dir))
        stored = await write_table(database, edges)
        print(f"write        FalkorDB {len(edges) / wrote:,.0f} calls/s; MariaDB {len(edges) / stored:,.0f} rows/s")
        print(f"memory       FalkorDB {full:,.0f} MB resident ({empty:,.0f} MB empty)")
        await compare(graph, database, edges, random.Random(seed + 1), services)
    finally:
        await graph.close()
        await database.close()


async def compare(
    graph: TopologyGraph, database: Database, edges: Sequence[Edge], choose: random.Random, services: int
) -> None:
    """Ask all three the same and print how long it took."""
    table, moments = Table(database), [choose.randrange(1, 8) * _DAY_US for _ in range(_ASKED)]
    names = [f"s{choose.randrange(services)}" for _ in range(2 * _ASKED)]
    began = time.perf_counter()
    view = as_networkx(edge for edge in edges if edge.holds(moments[0]))
    built = time.perf_counter() - began
    print(
        f"networkx     {built:.1f} s to build the graph of one moment ({view.number_of_edges():,} calls) from rows in memory"
    )
    near = await measure(lambda n: graph.neighbourhood(_ENVIRONMENT, names[n], moments[n], hops=1))
    sql_near = await measure(lambda n: table.neighbourhood(names[n], moments[n]))
    print(f"1 hop        FalkorDB {near}; MariaDB {sql_near}")
    two = await measure(lambda n: graph.neighbourhood(_ENVIRONMENT, names[n], moments[n], hops=2))
    print(f"2 hops       FalkorDB {two}, at most 200 calls")
    path = await measure(lambda n: graph.paths(_ENVIRONMENT, names[n], names[n + _ASKED], moments[n]))
    sql_path = await measure(lambda n: table.path(names[n], names[n + _ASKED], moments[n]), 5)
    print(f"path         FalkorDB {path}; MariaDB {sql_path}")
    day = 3 * _DAY_US
    diff = await measure(lambda n: graph.diff(_ENVIRONMENT, day, day + HOUR_US), 3)
    sql_diff = await measure(lambda n: table.diff(day, day + HOUR_US), 3)
    added, removed = await graph.diff(_ENVIRONMENT, day, day + HOUR_US)
    same = await table.diff(day, day + HOUR_US) == len({(e.source, e.target) for e in (*added, *removed)})
    print(f"diff of 1 h  FalkorDB {diff}; MariaDB {sql_diff}; the same answer: {same}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--services", type=int, default=100_000)
    parser.add_argument("--calls", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    data_dir = Path(tempfile.mkdtemp(prefix="causegraph-bench-"))
    try:
        asyncio.run(run(data_dir, given.services, given.calls, given.seed))
    finally:
        stop_stack(data_dir)
        shutil.rmtree(data_dir, ignore_errors=True)


if __name__ == "__main__":
    main()

"""How well the right records are found: by words, meaning and graph alone, fused, with PageRank, and ranked again.

    python -m bench.retrieval [--data FOLDER] [--code-folders retrieval,graph] [--cases 60] [--seed 1] [--json FILE]
    python -m bench.retrieval --scale 1.0      # latency alone, over 100,000 log templates and 1,000,000 lines

Everything goes through the product: records are ingested, the topology is projected, texts are embedded, `Finder` searches.
The right records come from elsewhere than the search:

- shop: recorded runs of the example shop (bench/shop_evidence.jsonl.gz), an environment for each fault. Right is what the
  truth about the fault (examples/shop/faults.py) says: the change of the broken service, and what that service wrote at
  WARN or above and does not write in a healthy run. Asked as whoever is on call would ("why did checkout fail?", where only
  the graph leads to the cause), in the words of the fault's author, and for the runbook.
- logs: loghub's labelled systems, in FOLDER (default CAUSEGRAPH_LOG_DATA); left out where it is not there. Questions and
  their groups: bench/retrieval_questions.yaml.
- code: this repository; the first sentence of a docstring has to find its function, with all docstrings taken out.
"""

from __future__ import annotations

import argparse
import ast
import asyncio
import csv
import json
import math
import os
import random
import re
import shutil
import statistics
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # as the command sets it: more threads only wait for each other

from agents.finding import newest_us
from agents.services import Services
from bench.server import ROOT
from bench.shop_evidence import OUT as RECORDED
from bench.shop_evidence import read
from cli.services import build_services
from cli.stack import ensure_stack, stop_stack
from domain.settings import Settings
from domain.telemetry import Level
from domain.times import HOUR_US, SECOND_US, Window, format_us
from examples.shop.faults import FAULTS
from graph.topology import TopologyGraph
from indexer.roots import make_root
from indexer.sync import Syncer
from ingest.service import Delivery, Receipt
from ingest.template import template_of
from retrieval.chunk_embedding import ChunkEmbedding
from retrieval.embedding import TemplateEmbedding
from retrieval.fusion import Fused, fuse
from retrieval.items import Candidates, ItemKind, Wanted, item_key
from retrieval.ranking import (
    choose_seeds,
    fuse_all,
    fuse_texts,
    look_again,
    rank_graph,
    rank_meaning,
    rank_names,
    rank_words,
)
from storage.code import CodeStore
from storage.database import Database
from storage.migrate import migrate
from storage.search import SearchStore

QUESTIONS = Path(__file__).with_name("retrieval_questions.yaml")
STAGES = ("words", "meaning", "graph", "fused", "+ PageRank", "+ second look")
ASKED = "why did checkout fail?"
_SENTENCE = re.compile(r"(.{25,300}?[.])(?:\s|$)", re.DOTALL)
_NO_CODE = frozenset[ItemKind](("template", "change", "event", "runbook", "incident"))


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and the keys of the records that are right."""

    group: str
    text: str
    environment: str
    right: frozenset[str]
    kinds: frozenset[ItemKind]
    at_us: int | None = None


@dataclass(frozen=True, slots=True)
class Score:
    """How well one order of records answers one question."""

    recall5: float
    recall10: float
    ndcg10: float


@asynccontextmanager
async def open_stack() -> AsyncIterator[Services]:
    """Provide every service on a cold stack that is removed afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="causegraph-bench-"))
    handle = ensure_stack(folder, progress=lambda line: None)
    database, graph = Database(handle.database_url), TopologyGraph(handle.graph_url)
    try:
        await migrate(database)
        services = build_services(Settings(data_dir=folder), database, graph)
        async with services.spool.running():
            yield services
    finally:
        await graph.close()
        await database.close()
        stop_stack(folder)
        shutil.rmtree(folder, ignore_errors=True)


# -- what is asked about ------------------------------------------------------------------------------------------------


async def take_in(services: Services, accept: Callable[[Delivery], Awaitable[Receipt]], body: Any, place: str) -> None:
    """Ingest a body of JSON."""
    receipt = await accept(Delivery(body=json.dumps(body).encode(), environment=place))
    if receipt.rejected:
        raise SystemExit(f"{receipt.rejected} records of {place} were rejected")


async def fill_shop(services: Services, cases: Iterable[Mapping[str, Any]]) -> None:
    """Ingest the recorded lines, changes, events and calls of each fault into an environment of its own."""
    ingest = services.ingest
    for case in cases:
        place, kept = case["case"], defaultdict(list)
        for evidence in case["evidence"]:
            kept[evidence["kind"]].append(evidence["record"])
        lines = [
            {
                "timestamp": format_us(r["time_us"]),
                "service": r["service"],
                "level": Level(r["level"]).name,
                "message": r["message"],
                "trace_id": r["trace_id"],
            }
            for r in kept["log"]
        ]
        await take_in(services, ingest.accept_logs, lines, place)
        for kind, accept, names in (
            ("change", ingest.accept_changes, ("service", "kind", "version", "summary", "actor")),
            ("event", ingest.accept_events, ("service", "kind", "object", "reason", "text")),
        ):
            rows = [{"timestamp": format_us(r["time_us"]), **{n: r[n] for n in names}} for r in kept[kind]]
            await take_in(services, accept, rows, place)
        since = format_us(min(r["time_us"] for r in kept["log"]) - HOUR_US)
        edges = [{"source": one, "target": two, "valid_from": since} for one, two in case["calls"]]
        await take_in(services, ingest.accept_topology, {"edges": edges, "observed_by": "bench"}, place)


async def shop_cases(services: Services, recorded: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Return the questions about the shop."""
    healthy = {number for case in recorded if case["case"] == "shop-none" for number, _, _ in _lines(case)}
    runbooks = yaml.safe_load(QUESTIONS.read_text())["runbooks"]
    found = []
    for case in recorded:
        place = case["case"]
        fault = FAULTS[place.removeprefix("shop-")]
        at_us = max(e["time_us"] for e in case["evidence"] if e["kind"] == "log") + SECOND_US
        right = {
            item_key("template", str(number))
            for number, service, level in _lines(case)
            if service == fault.root_cause and level >= Level.WARN and number not in healthy
        }
        changes = await SearchStore(services.database).changes(place, Window(0, at_us))
        right |= {item_key("change", row.id) for row in changes if row.service == fault.root_cause}
        if right:
            found.append(Case("shop: why did it fail?", ASKED, place, frozenset(right), _NO_CODE, at_us))
            found.append(
                Case("shop: in its author's words", fault.description, place, frozenset(right), _NO_CODE, at_us)
            )
        if fault.name in runbooks:
            keys = frozenset(item_key("runbook", name) for name in runbooks[fault.name])
            ask = f"{fault.description} What is to be done?"
            found.append(Case("shop: which runbook?", ask, place, keys, _NO_CODE, at_us))
    return found


def _lines(case: Mapping[str, Any]) -> list[tuple[int, str, int]]:
    records = (evidence["record"] for evidence in case["evidence"] if evidence["kind"] == "log")
    return [(template_of(r["message"])[0], r["service"], r["level"]) for r in records]


async def fill_logs(services: Services, folder: Path) -> list[Case]:
    """Ingest the labelled systems, a service for each, and return the questions about them."""
    asked = yaml.safe_load(QUESTIONS.read_text())["logs"]
    groups: dict[str, dict[int, Counter[str]]] = {}
    now_us = time.time_ns() // 1000
    for system in sorted({one["system"] for one in asked}):
        with (folder / system / "labels.csv").open(encoding="utf-8", errors="replace", newline="") as file:
            rows = list(csv.DictReader(file))
        body = [{"timestamp": format_us(now_us), "service": system.lower(), "message": r["Content"]} for r in rows]
        await take_in(services, services.ingest.accept_logs, body, "logs")
        groups[system] = defaultdict(Counter)
        for row in rows:
            groups[system][template_of(row["Content"])[0]][row["EventId"]] += 1
    cases = []
    for one in asked:
        held = groups[one["system"]]
        right = [number for number, counts in held.items() if counts.most_common(1)[0][0] in one["right"]]
        keys = frozenset(item_key("template", str(number)) for number in right)
        cases.append(Case("logs of ten systems", one["ask"], "logs", keys, frozenset(("template",))))
    return cases


async def fill_code(services: Services, folders: Sequence[str], count: int, seed: int) -> list[Case]:
    """Index folders of this repository without their docstrings, and return sentences that have to find their function."""
    wanted: dict[str, list[tuple[str, str]]] = {}
    copied = services.settings.data_dir / "code-to-index"
    for path in sorted(path for name in folders for path in (ROOT / name).rglob("*.py")):
        source, place = path.read_text(encoding="utf-8"), copied / path.relative_to(ROOT)
        place.parent.mkdir(parents=True, exist_ok=True)
        stripped, sentences = strip_docs(source)
        place.write_text(stripped, encoding="utf-8")
        for sentence, name in sentences:
            wanted.setdefault(sentence, []).append((path.relative_to(ROOT).as_posix(), name))
    store = CodeStore(services.database)
    root = await store.add_root(make_root(str(copied)))
    await Syncer(store, services.settings).sync(root.id)
    index = (await services.code.load()).index
    cases = []
    for sentence, places in wanted.items():
        file = index.file(places[0][0]) if len(places) == 1 else None
        symbol = next((s for s in file.facts.symbols if s.qualified == places[0][1]), None) if file else None
        chunk = file.chunk_at(symbol.start_line) if file and symbol else None
        if chunk is not None:
            keys = frozenset((item_key("code", chunk.id),))
            cases.append(Case("code of this repository", sentence, "default", keys, frozenset(("code",))))
    random.Random(seed).shuffle(cases)
    return cases[:count]


def strip_docs(source: str) -> tuple[str, list[tuple[str, str]]]:
    """Return Python without its docstrings, and (first sentence, qualified name) of those of its functions."""
    lines = source.split("\n")
    sentences: list[tuple[str, str]] = []

    def visit(node: ast.AST, scope: str) -> None:
        for child in ast.iter_child_nodes(node):
            named = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            name = f"{scope}.{child.name}".lstrip(".") if named else scope  # type: ignore[attr-defined]
            if named and not isinstance(child, ast.ClassDef):
                text = ast.get_docstring(child) or ""  # type: ignore[arg-type]
                if sentence := _SENTENCE.match(text):
                    sentences.append((" ".join(sentence[1].split()), name))
            if (
                isinstance(child, ast.Expr)
                and isinstance(child.value, ast.Constant)
                and isinstance(child.value.value, str)
            ):
                for number in range(child.lineno - 1, child.end_lineno or child.lineno):
                    lines[number] = ""
                lines[child.lineno - 1] = " " * child.col_offset + '""'
            visit(child, name)

    visit(ast.parse(source), "")
    return "\n".join(lines), sentences


async def settle(services: Services) -> None:
    """Let what came be stored, the graph follow, and everything get its vector."""
    if services.vectors is None or services.embedder is None:
        raise SystemExit("CAUSEGRAPH_EMBEDDER is `none`: there would be nothing to measure.")
    while services.spool.status().deliveries:  # noqa: ASYNC110 - there is nothing to wait for
        await asyncio.sleep(0.05)
    while await services.projection.advance() < await services.telemetry.head_seq():
        pass
    templates = TemplateEmbedding(services.vectors, services.embedder)
    chunks = ChunkEmbedding(CodeStore(services.database), services.vectors, services.embedder)
    while (await templates.advance())[1] or (await chunks.advance())[1] or await services.runbook_search.advance():
        pass


# -- how well it is found ------------------------------------------------------------------------------------------------


async def rank_stages(services: Services, case: Case) -> dict[str, list[str]]:
    """Return the keys of what each stage finds for a question, best first."""
    end_us = case.at_us or time.time_ns() // 1000 + SECOND_US
    wanted = Wanted(case.text, case.environment, Window(0, end_us), end_us - 1, case.kinds)
    wanted, candidates = await services.finder.gather(wanted, timed=case.at_us is not None)
    fused = fuse_texts(wanted, candidates)
    alone = await _graph_alone(services, wanted, candidates)
    if case.at_us is None:
        wanted = replace(wanted, moment_us=newest_us(wanted, candidates, fused))
    links = await services.finder.look_around(wanted, candidates, fused)
    joined = fuse_all(
        wanted, candidates, fused, rank_graph(wanted, candidates, links, choose_seeds(wanted, candidates, fused))
    )
    again = look_again(wanted, candidates, joined, timed=case.at_us is not None)
    return {
        "words": list(rank_words(wanted, candidates).keys),
        "meaning": list(rank_meaning(candidates).keys),
        "graph": alone,
        "fused": _keys(fused),
        "+ PageRank": _keys(joined),
        "+ second look": [hit.item.key for hit in again],
    }


async def _graph_alone(services: Services, wanted: Wanted, candidates: Candidates) -> list[str]:
    """Rank what is around the services and things that a question names, without a look at what anything says."""
    named = Candidates(items=dict(candidates.items), exact=dict(candidates.exact))
    fused = fuse([rank_names(named)])
    links = await services.finder.look_around(wanted, named, fused)
    seeds = choose_seeds(wanted, named, fused)
    return list(rank_graph(wanted, named, links, seeds).keys) if seeds else []


def _keys(fused: Iterable[Fused]) -> list[str]:
    return [one.key for one in fused]


def score(found: Sequence[str], right: frozenset[str]) -> Score:
    """Return recall among the first five and ten (of as many as can be there), and nDCG of the first ten."""
    gains = [1.0 / math.log2(rank + 2) for rank, key in enumerate(found[:10]) if key in right]
    best = sum(1.0 / math.log2(rank + 2) for rank in range(min(10, len(right))))
    return Score(_recall(found[:5], right, 5), _recall(found[:10], right, 10), sum(gains) / best)


def _recall(found: Sequence[str], right: frozenset[str], depth: int) -> float:
    return len(right.intersection(found)) / min(len(right), depth)


async def measure(services: Services, cases: Sequence[Case]) -> dict[str, dict[str, list[Score]]]:
    """Return the scores of every question by group and stage; each group `all` as well."""
    scores: dict[str, dict[str, list[Score]]] = defaultdict(lambda: defaultdict(list))
    for number, case in enumerate(cases, 1):
        for stage, found in (await rank_stages(services, case)).items():
            scores[case.group][stage].append(score(found, case.right))
            scores["all"][stage].append(score(found, case.right))
        if number % 25 == 0:
            print(f"{number} of {len(cases)} questions", flush=True)
    return scores


def show(scores: Mapping[str, Mapping[str, Sequence[Score]]]) -> str:
    """Return the table: for each group and stage recall@5, recall@10 and nDCG@10, means over its questions."""
    lines = [f"| questions | n | {' | '.join(STAGES)} |", f"|---|---|{'---|' * len(STAGES)}"]
    for group, by_stage in sorted(scores.items(), key=lambda one: (one[0] == "all", one[0])):
        cells = []
        for stage in STAGES:
            held = by_stage[stage]
            means = (statistics.mean(getattr(one, name) for one in held) for name in ("recall5", "recall10", "ndcg10"))
            cells.append(" / ".join(f"{mean:.2f}" for mean in means))
        lines.append(f"| {group} | {len(by_stage[STAGES[0]])} | {' | '.join(cells)} |")
    return "\n".join(lines)


async def run(arguments: argparse.Namespace) -> Mapping[str, Mapping[str, Sequence[Score]]]:
    """Fill a stack, ask, print the table; return every score."""
    began = time.perf_counter()
    async with open_stack() as services:
        recorded = read([RECORDED])
        await fill_shop(services, recorded)
        logs = Path(arguments.data) if arguments.data else None
        log_cases: list[Case] = []
        if logs is not None and logs.is_dir():
            log_cases = await fill_logs(services, logs)
        else:
            print("The logs are left out: name loghub's labelled systems with --data FOLDER or CAUSEGRAPH_LOG_DATA.")
        code_cases = await fill_code(services, arguments.code_folders.split(","), arguments.cases, arguments.seed)
        await settle(services)
        cases = [*await shop_cases(services, recorded), *log_cases, *code_cases]
        print(
            f"{len(cases)} questions, ready after {time.perf_counter() - began:.0f} s; load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
        scores = await measure(services, cases)
    print("Each cell: recall@5 / recall@10 / nDCG@10.\n")
    print(show(scores))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default=os.environ.get("CAUSEGRAPH_LOG_DATA", ""), help="folder of the labelled logs")
    parser.add_argument("--code-folders", default="retrieval,graph,inference,diagnosis", help="comma separated")
    parser.add_argument("--cases", type=int, default=60, help="questions about code")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", default="", help="write every score there as well")
    parser.add_argument(
        "--scale", type=float, default=0.0, help="measure latency instead, at this share of the full size"
    )
    arguments = parser.parse_args()
    if arguments.scale:
        from bench.retrieval_scale import measure_latency

        asyncio.run(measure_latency(arguments.scale, arguments.seed))
        return
    scores = asyncio.run(run(arguments))
    if arguments.json:
        held = {
            group: {stage: [asdict(one) for one in some] for stage, some in by.items()} for group, by in scores.items()
        }
        Path(arguments.json).write_text(json.dumps(held, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()

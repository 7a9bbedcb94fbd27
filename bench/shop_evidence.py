"""Record evidence of real runs of the example shop, for benches that need records and not a running system.

    python -m bench.shop_evidence [--fault NAME ...] [--warmup S] [--broken S] [--out FILE]

One line per fault: the services, the calls among them, the verdict that was given, and evidence of every kind with the
records behind it as they were read. The truth about the faults is not in it.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.replay import ask
from bench.server import Server, start_server
from cli.stack import ensure_stack
from domain.telemetry import Level
from domain.times import HOUR_US, SECOND_US, Window, floor_slot, to_us
from examples.shop.faults import FAULTS
from examples.shop.shop import Shop
from graph.topology import TopologyGraph
from retrieval.evidence import EvidenceDesk
from storage.database import Database
from storage.telemetry import Telemetry

OUT = Path(__file__).with_suffix(".jsonl.gz")
QUESTION = "why did checkout fail?"
_LINES = 14
_SPANS = 16
_SERIES = 10


def record_fault(server: Server, name: str, warmup: float, broken: float) -> dict[str, Any]:
    """Run the shop with one fault, ask, and return what was asked, answered and stored."""
    environment = f"shop-{name}"
    with tempfile.TemporaryDirectory(prefix="shop-") as state:
        shop = Shop.watched_by(server.url, Path(state), headers=server.headers, environment=environment, seed=7)
        with shop:
            shop.load(12)
            began = to_us(datetime.now(UTC))
            time.sleep(warmup)
            broken_at = to_us(datetime.now(UTC))
            shop.inject(name)
            time.sleep(broken)
            answer = ask(server, {"question": QUESTION, "environment": environment})
            window = Window(began - 10 * SECOND_US, to_us(datetime.now(UTC)))
    return asyncio.run(collect(server.data_dir, environment, window, broken_at, answer))


async def collect(
    data_dir: Path, environment: str, window: Window, split_us: int, answer: Mapping[str, Any]
) -> dict[str, Any]:
    """Read records of every kind from before and after a moment through the desk that investigations use."""
    handle = ensure_stack(data_dir, progress=lambda line: None)
    database, graph = Database(handle.database_url), TopologyGraph(handle.graph_url)
    try:
        telemetry = Telemetry(database)
        desk = EvidenceDesk(telemetry, graph, environment)
        halves = (Window(window.start_us, split_us), Window(split_us, window.end_us))
        edges = [e for e in await graph.edges_as_of(environment, window.end_us - SECOND_US) if e.kind == "CALLS"]
        for edge in edges:
            await desk.cite("edge", {"source": edge.source, "target": edge.target, "at_us": window.end_us}, "calls")
        for half in halves:
            await _cite_logs(desk, telemetry, environment, half)
            await _cite_spans(desk, telemetry, environment, half)
            await _cite_requests(desk, telemetry, environment, half)
        await _cite_metrics(desk, telemetry, environment, halves)
        await _cite_events(desk, telemetry, environment, window)
        services = await telemetry.services(environment, window)
    finally:
        await database.close()
        await graph.close()
    return {
        "case": environment,
        "services": services,
        "calls": sorted({(edge.source, edge.target) for edge in edges}),
        "verdict": answer["verdict"],
        "claims": answer["claims"],
        "evidence": [
            {**evidence.to_json(), "record": json.loads(desk.records[i])} for i, evidence in sorted(desk.found.items())
        ],
    }


async def _cite_logs(desk: EvidenceDesk, telemetry: Telemetry, environment: str, half: Window) -> None:
    head = await telemetry.head_seq()
    counts = await telemetry.template_counts(environment, half)
    by_service: defaultdict[str, int] = defaultdict(int)
    for count in sorted(counts, key=lambda c: (-c.level, -c.lines)):
        by_service[count.service] += 1
        if by_service[count.service] > _LINES // 4:
            continue
        start_us, end_us = floor_slot(half.start_us), floor_slot(half.end_us)
        key = {
            "template_id": count.template_id,
            "service": count.service,
            "start_us": start_us,
            "end_us": end_us,
            "seq": head,
        }
        await desk.cite("count", key, "log counts")
        for line in await telemetry.log_examples(environment, count.template_id, count.service, half, 1):
            await desk.cite("log", {"id": line.id}, f"{Level(count.level).name} lines")


async def _cite_spans(desk: EvidenceDesk, telemetry: Telemetry, environment: str, half: Window) -> None:
    chosen = [*await telemetry.error_traces(environment, half, 4), *await telemetry.sample_traces(environment, half, 2)]
    spans = await telemetry.spans_of_traces(environment, list(dict.fromkeys(chosen)), half.widened(0, HOUR_US))
    taken: set[tuple[str, str, bool]] = set()
    for span in sorted(spans, key=lambda s: (not s.error, s.start_us)):
        kind = (span.service, span.name, span.error)
        if kind not in taken and len(taken) < _SPANS:
            taken.add(kind)
            await desk.cite("span", {"trace_id": span.trace_id, "span_id": span.span_id}, "spans")


async def _cite_requests(desk: EvidenceDesk, telemetry: Telemetry, environment: str, half: Window) -> None:
    head = await telemetry.head_seq()
    for service, name in (await telemetry.entry_names(environment, half))[:_SERIES]:
        key = {
            "service": service,
            "name": name,
            "start_us": half.start_us,
            "end_us": half.end_us,
            "slow_us": 400_000,
            "seq": head,
        }
        await desk.cite("requests", key, "requests")


async def _cite_metrics(
    desk: EvidenceDesk, telemetry: Telemetry, environment: str, halves: tuple[Window, Window]
) -> None:
    whole = Window(halves[0].start_us, halves[1].end_us)
    shifts = await telemetry.metric_shifts(environment, whole, halves[1].start_us)
    moved = [s for s in shifts if s.before_mean is not None and s.after_mean is not None]
    for shift in sorted(moved, key=lambda s: -abs((s.after_mean or 0) - (s.before_mean or 0)))[:_SERIES]:
        for half, other in ((halves[0], shift.after_mean or 0.0), (halves[1], shift.before_mean or 0.0)):
            if sample := await telemetry.metric_extreme(environment, shift, half, other):
                key = {"service": shift.service, "name": shift.name, "series": shift.series, "time_us": sample[0]}
                await desk.cite("metric", key, "metrics")


async def _cite_events(desk: EvidenceDesk, telemetry: Telemetry, environment: str, window: Window) -> None:
    for change in await telemetry.changes(environment, window):
        await desk.cite("change", {"id": change.id}, "changes")
    for event in (await telemetry.orchestrator_events(environment, window))[:_SERIES]:
        await desk.cite("event", {"id": event.id}, "events")


def write(cases: Iterable[Mapping[str, Any]], out: Path) -> None:
    """Write one line per case."""
    text = "".join(json.dumps(case, ensure_ascii=False, sort_keys=True) + "\n" for case in cases)
    out.write_bytes(gzip.compress(text.encode(), 9, mtime=0))


def read(files: Iterable[Path]) -> list[dict[str, Any]]:
    """Return the cases of some recordings."""
    return [json.loads(line) for file in files for line in gzip.decompress(file.read_bytes()).decode().splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", nargs="*", choices=list(FAULTS), default=list(FAULTS), help="faults to run")
    parser.add_argument("--warmup", type=float, default=15.0, help="seconds of healthy work before the fault")
    parser.add_argument("--broken", type=float, default=15.0, help="seconds between the fault and the question")
    parser.add_argument("--out", type=Path, default=OUT)
    arguments = parser.parse_args()
    cases = []
    with start_server() as server:
        for name in arguments.fault:
            cases.append(record_fault(server, name, arguments.warmup, arguments.broken))
            verdict = cases[-1]["verdict"]
            print(f"{name}: {verdict['outcome']}, {len(cases[-1]['evidence'])} records", flush=True)
            write(cases, arguments.out)


if __name__ == "__main__":
    main()

"""Every fault of the example shop, each on a cold stack: is the named cause right, and does everything cited hold?

    python -m bench.shop [--fault NAME ...] [--seed N] [--warmup S] [--broken S] [--json]

Beside our answer stand two naive rules on the same telemetry: "the service with the most error lines" and "the service
whose requests take longest". The table of faults is read only here, to score; the server gets telemetry alone.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.replay import ask, reread
from bench.server import start_server
from cli.stack import ensure_stack
from domain.telemetry import Level
from domain.times import Window, to_us
from examples.shop.faults import FAULTS, Fault
from examples.shop.shop import Shop
from storage.database import Database
from storage.telemetry import Telemetry

QUESTION = "why did checkout fail?"


@dataclass(frozen=True, slots=True)
class Result:
    """How one fault went. `right` is about the cause, `path_right` about every hop of the path."""

    fault: str
    outcome: str
    named: str
    expected: str
    fault_class: str
    expected_class: str
    right: bool
    path_right: bool
    cited: int
    unchanged: int
    seconds: float
    most_errors: str
    slowest: str
    failed_checkouts: float
    runbook: str
    action: str


def run_fault(fault: Fault, seed: int, warmup: float, broken: float) -> Result:
    """Run the shop with one fault against a cold server and ask."""
    with start_server() as server, tempfile.TemporaryDirectory(prefix="shop-") as state:
        environment = "bench"
        shop = Shop.watched_by(server.url, Path(state), headers=server.headers, environment=environment, seed=seed)
        with shop:
            shop.load(20)
            time.sleep(warmup)
            before = shop.stats()["POST /checkout"]
            broken_at = datetime.now(UTC)
            shop.inject(fault.name)
            time.sleep(broken)
            after = shop.stats()["POST /checkout"]
            answer = ask(server, {"question": QUESTION, "environment": environment})
            window = Window(to_us(broken_at), to_us(datetime.now(UTC)))
            rules = asyncio.run(naive_rules(server.data_dir, environment, window))
        failed = (after.failed - before.failed) / max(1, after.requests - before.requests)
        return score(fault, answer, reread(server, answer), rules, failed)


async def naive_rules(data_dir: Path, environment: str, window: Window) -> tuple[str, str]:
    """Return (service with the most error lines, service with the longest requests) since the fault."""
    database = Database(ensure_stack(data_dir, progress=lambda line: None).database_url)
    try:
        telemetry = Telemetry(database)
        errors: Counter[str] = Counter()
        for count in await telemetry.template_counts(environment, window):
            if count.level >= Level.ERROR:
                errors[count.service] += count.lines
        activity = await telemetry.activity(environment, window)
    finally:
        await database.close()
    slowest = max(activity.values(), key=lambda a: (a.log_duration, a.service)).service if activity else ""
    return (min(errors, key=lambda s: (-errors[s], s)) if errors else ""), slowest


def score(
    fault: Fault, answer: dict[str, Any], states: dict[str, str], rules: tuple[str, str], failed: float
) -> Result:
    """Compare an answer with what is true of the fault."""
    verdict = answer["verdict"]
    causes = verdict["causes"]
    named = causes[0]["service"] if causes else ""
    if fault.root_cause:
        right = [c["service"] for c in causes] == [fault.root_cause] and verdict["outcome"] in ("CONFIRMED", "LIKELY")
        path_right = right and path_fits(causes[0]["path"], fault.path)
    else:
        allowed = ("HEALTHY", "INCONCLUSIVE") if fault.name != "none" else ("HEALTHY",)
        right = path_right = verdict["outcome"] in allowed and not causes
    return Result(
        fault=fault.name,
        outcome=verdict["outcome"],
        named=named,
        expected=fault.root_cause or "",
        fault_class=causes[0]["fault_class"] if causes else "",
        expected_class=fault.fault_class if fault.root_cause else "",
        right=right,
        path_right=path_right,
        cited=len(states),
        unchanged=sum(state == "unchanged" for state in states.values()),
        seconds=answer["budget"]["seconds"],
        most_errors=rules[0],
        slowest=rules[1],
        failed_checkouts=round(failed, 3),
        runbook=(answer.get("runbook") or {}).get("id", ""),
        action=answer["judge"]["action"],
    )


def path_fits(path: Sequence[str], truth: Sequence[str]) -> bool:
    """True where a path has the right ends and visits the true services in order; a broker between may be left out."""
    if not path or path[0] != truth[0] or path[-1] not in truth[1:]:
        return False
    rest = iter(truth)
    return all(service in rest for service in path)


def print_table(results: Sequence[Result]) -> None:
    """Print one line per fault and the totals."""
    print(
        f"{'fault':<16} {'outcome':<13} {'named (truth)':<24} {'class':<12} path cited   s     most errors      slowest"
    )
    for r in results:
        mark = "ok" if r.right else "WRONG"
        named = f"{r.named or '-'} ({r.expected or '-'}) {mark}"
        path = "ok" if r.path_right else "no"
        kind = f"{r.fault_class or '-'}{'' if r.fault_class == r.expected_class else '!'}"
        print(
            f"{r.fault:<16} {r.outcome:<13} {named:<24} {kind:<12} {path:<4} {r.unchanged}/{r.cited:<4} {r.seconds:<5.2f} "
            f"{r.most_errors or '-':<16} {r.slowest or '-'}"
        )
    true = [r for r in results if r.expected]
    print(
        f"right: ours {sum(r.right for r in results)}/{len(results)}; with a fault: ours {sum(r.right for r in true)}/{len(true)}, "
        f"most errors {sum(r.most_errors == r.expected for r in true)}/{len(true)}, "
        f"slowest {sum(r.slowest == r.expected for r in true)}/{len(true)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault", nargs="*", choices=list(FAULTS), default=list(FAULTS), help="faults to run")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--warmup", type=float, default=20.0, help="seconds of healthy work before the fault")
    parser.add_argument("--broken", type=float, default=20.0, help="seconds between the fault and the question")
    parser.add_argument("--json", action="store_true", help="print one JSON object per fault instead of the table")
    arguments = parser.parse_args()
    results = []
    for name in arguments.fault:
        results.append(run_fault(FAULTS[name], arguments.seed, arguments.warmup, arguments.broken))
        print(json.dumps(asdict(results[-1])) if arguments.json else f"... {name}: {results[-1].outcome}", flush=True)
    if not arguments.json:
        print_table(results)
    raise SystemExit(0 if all(r.right and r.unchanged == r.cited for r in results) else 1)


if __name__ == "__main__":
    main()

"""One run from start to stop: warm up, break something, let it be broken for a while, perhaps mend it."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from examples.shop.load import RouteStats, Visit
from examples.shop.shop import Shop

type Progress = Callable[[str], None]
type Stats = dict[str, RouteStats]

CHECKOUT = "POST /checkout"


@dataclass(frozen=True, slots=True)
class ScenarioReport:
    """What the customers saw. Each phase has its own counts, by route."""

    fault: str
    injected_at: datetime
    start_seconds: float
    seconds_until_visible: float | None
    warm: Stats
    broken: Stats
    mended: Stats = field(default_factory=dict)


def run_scenario(
    state_dir: Path | str,
    fault: str,
    *,
    otlp_endpoint: str | None = None,
    headers: Mapping[str, str] | None = None,
    changes_url: str | None = None,
    events_url: str | None = None,
    environment: str = "shop",
    seed: int = 1,
    rps: float = 16.0,
    warmup: float = 20.0,
    broken: float = 20.0,
    mended: float = 0.0,
    progress: Progress = print,
) -> ScenarioReport:
    """Start the shop, run the phases (in seconds; without `mended` the fault stays), stop the shop."""
    failures: list[float] = []

    def note_failure(visit: Visit) -> None:
        if visit.route == CHECKOUT:
            failures.append(time.monotonic())

    shop = Shop(
        state_dir,
        otlp_endpoint=otlp_endpoint,
        headers=headers,
        changes_url=changes_url,
        events_url=events_url,
        environment=environment,
        seed=seed,
        on_failure=note_failure,
    )
    started = time.monotonic()
    with shop:
        start_seconds = time.monotonic() - started
        progress(f"{len(shop.supervisor.services)} services started in {start_seconds:.1f} s")
        shop.load(rps)
        warm = _run_phase(shop, "warm", warmup, progress)
        before = time.monotonic()
        injected_at = shop.inject(fault)
        progress(f"{injected_at.isoformat()} injected {fault}")
        broken_stats = _run_phase(shop, "broken", broken, progress)
        seen = [at - before for at in failures if at >= before]
        mended_stats: Stats = {}
        if mended:
            shop.mend(fault)
            progress(f"mended {fault}")
            mended_stats = _run_phase(shop, "mended", mended, progress)
    visible = min(seen, default=None)
    return ScenarioReport(fault, injected_at, start_seconds, visible, warm, broken_stats, mended_stats)


def _run_phase(shop: Shop, phase: str, seconds: float, progress: Progress) -> Stats:
    """Let the time pass, with a line every five seconds, and return what was counted meanwhile."""
    before = shop.stats()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(5.0, left))
        progress(f"{phase}: {_describe(_difference(shop.stats(), before))}")
    return _difference(shop.stats(), before)


def _difference(after: Stats, before: Stats) -> Stats:
    return {route: entry.minus(before.get(route)) for route, entry in after.items()}


def _describe(stats: Stats) -> str:
    return ", ".join(
        f"{route} {entry.requests} ({entry.failed} failed, {1000 * entry.seconds / max(1, entry.requests):.0f} ms)"
        for route, entry in stats.items()
    )

"""`python -m bench.tracing`: what recording costs, per span, on one LangGraph run of 15 spans.

With `--others`, OpenInference, OpenLLMetry and Langfuse are installed into an environment of their own and measured on the
same run. The figures are CPU of the event loop's thread, medians; no network is involved.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from langchain_core.callbacks import BaseCallbackHandler

from agents.callbacks import TraceCallbacks
from bench.tracing_app import SPANS, measure
from storage.journals import Journals
from tracing import Event, current_trace, start_trace
from tracing.trace import NO_TRACE

ROOT = Path(__file__).resolve().parents[1]
_OTHERS = {
    "openinference": "openinference-instrumentation-langchain",
    "openllmetry": "opentelemetry-instrumentation-langchain",
    "langfuse": "langfuse",
}


class _Sink:
    """As the product's: every event into a journal at once, the batches aside."""

    def __init__(self, folder: Path) -> None:
        self.journals = Journals(folder)
        self.events = 0

    def note(self, event: Event) -> None:
        self.journals.note(event)

    async def write(self, events: Sequence[Event]) -> None:
        self.events += len(events)
        self.journals.drop(events[-1].trace_id)


def main() -> int:
    """Print the table; 1 if our own cost misses its targets (150 us a span, 1 us for a span that is not recorded)."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--others", action="store_true", help="install and measure other tracers too (downloads)")
    given = parser.parse_args()
    print(f"{'':32}{'version':>10}{'bare ms':>9}{'traced ms':>11}{'us/span':>9}")
    with tempfile.TemporaryDirectory() as folder:
        sink = _Sink(Path(folder))
        bare, traced = asyncio.run(measure(lambda: _ours(sink), given.runs))
    _print("a handler that does nothing", "", *asyncio.run(measure(_nothing, given.runs)))
    ours = _print("causegraph (hashes, journal, queue)", version("causegraph"), bare, traced)
    for name in _OTHERS if given.others else ():
        _measure_other(name, given.runs)
    idle = _measure_noop()
    print(f"\nA span with a decision where nothing is recorded: {idle:.2f} us.")
    return 0 if ours <= 150 and idle <= 1 else 1


class _Nothing(BaseCallbackHandler):
    """What LangChain spends on calling any handler, whatever that does."""

    run_inline = True


@asynccontextmanager
async def _nothing() -> AsyncIterator[list[Any]]:
    yield [_Nothing()]


@asynccontextmanager
async def _ours(sink: _Sink) -> AsyncIterator[list[Any]]:
    async with start_trace("why?", "bench", sink) as trace:
        yield [TraceCallbacks(trace)]


def _measure_noop(times: int = 100_000) -> float:
    assert current_trace() is NO_TRACE
    best = float("inf")
    for _ in range(5):
        began = time.thread_time_ns()
        for _ in range(times // 5):
            with current_trace().stage("x"):
                current_trace().decide("a", "b", 1.0)
        best = min(best, (time.thread_time_ns() - began) / (times // 5) / 1e3)
    return best


def _measure_other(name: str, runs: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        python = Path(folder) / "bin" / "python"
        uv = next((str(path) for path in (ROOT / ".tools" / "uv" / "bin" / "uv",) if path.exists()), "uv")
        needs = [
            _OTHERS[name],
            f"langgraph=={version('langgraph')}",
            f"langchain-core=={version('langchain-core')}",
            "opentelemetry-sdk",
        ]
        needs += ["langchain"] if name == "langfuse" else []
        try:
            subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True, timeout=120)
            subprocess.run([uv, "pip", "install", "-q", "--python", str(python), *needs], check=True, timeout=600)
            command = [str(python), "-W", "ignore", "-m", "bench.tracing_others", name, str(runs)]
            environ = {**os.environ, "PYTHONPATH": str(ROOT), "OTEL_SDK_DISABLED": "false"}
            done = subprocess.run(
                command, cwd=folder, env=environ, check=True, capture_output=True, text=True, timeout=300
            )
        except (subprocess.SubprocessError, OSError) as exc:
            said = getattr(exc, "stderr", "") or str(exc)
            print(f"{name:32} not measured: {said.strip().splitlines()[-1][:120] if said.strip() else exc}")
            return
    found = json.loads(done.stdout.splitlines()[-1])
    _print(name, found["version"], found["bare_ms"], found["traced_ms"])


def _print(name: str, said: str, bare: float, traced: float) -> float:
    cost = max(0.0, traced - bare) / SPANS * 1000
    print(f"{name:36}{said:>6}{bare:9.2f}{traced:11.2f}{cost:9.0f}")
    return cost


if __name__ == "__main__":
    sys.exit(main())

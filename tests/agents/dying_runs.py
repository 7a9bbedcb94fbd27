"""A script that kills a run of a workflow at every point at which something is stored or done, and takes it up again.

From before it is proposed until after it has ended: while it is tried dry, decided on, done step by step, and verified.

    python -m tests.agents.dying_runs FOLDER DATABASE_URL    # prints a line of JSON for each point

Everything is imported once, and each life of a run is a fork of this process: it has no threads of its own yet.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from domain.remedy import ENDED, Value
from domain.times import Window
from storage import checkpoints
from storage.database import Database
from tests.agents import remedying
from tests.agents.remedying import Bench, Scripted
from tests.agents.valve import Valve

_AT_ONCE = 10
_MOST_POINTS = 400

_left = -1
_phase = ""
_folder = Path()


def _point() -> None:
    """A place where the machine may fail; the one that was chosen is the last."""
    global _left
    if _left == 0:
        (_folder / "phase").write_text(_phase)
        os.kill(os.getpid(), signal.SIGKILL)
    _left -= 1


class DyingDatabase(Database):
    """A database whose process may die before and after each transaction."""

    def _transact(self, work: Any, name: str = "") -> Any:
        _point()
        result = super()._transact(work, name)
        _point()
        return result


class DyingSaver(checkpoints._Saver):
    """A checkpointer whose process may die before and after each exchange."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        _point()
        async with super()._cursor(pipeline=pipeline) as cursor:
            yield cursor
        _point()


class DyingValve(Valve):
    """A valve whose process may die before and after it is looked at or turned."""

    async def dry_run(self, values: Mapping[str, Value]) -> str:
        was = _enter("dry-running")
        _point()
        told = await super().dry_run(values)
        _point()
        _enter(was)
        return told

    async def run(self, values: Mapping[str, Value], key: str) -> str:
        _enter("in a step")
        _point()
        told = await super().run(values, key)
        _point()
        _enter("after a step")
        return told


class DyingScripted(Scripted):
    """Telemetry at which a process may die before and after it is looked at."""

    async def count_requests(self, environment: str, service: str, window: Window) -> tuple[int, int]:
        _enter("verifying")
        _point()
        counts = await super().count_requests(environment, service, window)
        _point()
        _enter("ending")
        return counts


def _enter(phase: str) -> str:
    """Go on to another part of the way, and return the one before."""
    global _phase
    was, _phase = _phase, phase
    return was


async def _first_life(folder: Path, url: str, environment: str, point: int) -> None:
    global _left, _folder
    database = DyingDatabase(url, 2)
    bench = Bench(database, folder, environment)
    _folder, _left = folder, point
    _enter("proposing")
    run = await bench.propose()
    _enter("deciding")
    await bench.approve(run)
    _enter("approved")
    await bench.see_through(run)
    _left = -1
    await database.close()


async def _second_life(folder: Path, url: str, environment: str) -> None:
    """What another process does: it takes up what is there, and whoever asked before asks again where nothing is."""
    database = Database(url, 2)
    bench = Bench(database, folder, environment)
    left = await bench.remedy.runs.list(environment)
    run = {"run_id": left[0].id} if left else await bench.propose()
    if left and left[0].status not in ENDED:
        run = await bench.see_through(run)
    run = await bench.remedy.read_run(run["run_id"])
    if run["approval_status"] == "pending":
        await bench.approve(run)
    run = await bench.see_through(run)
    again = await bench.see_through(run)
    result = {
        "status": run["status"],
        "again": again["status"],
        "reason": run["reason"],
        "runs": len(await bench.remedy.runs.list(environment)),
        "valve": (folder / "valve").read_text().splitlines(),
        "phase": (folder / "phase").read_text() if (folder / "phase").exists() else "",
    }
    (folder / "result").write_text(json.dumps(result))
    await database.close()


def _fork(work: Any) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        asyncio.run(work)
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    """Kill at every point until a run lives to its end."""
    root, url = Path(sys.argv[1]), sys.argv[2]
    checkpoints._Saver = DyingSaver  # type: ignore[misc]
    remedying.Scripted = DyingScripted  # type: ignore[misc]
    sys.modules["tests.agents.valve"].Valve = DyingValve  # type: ignore[attr-defined]
    point, lived = 0, False
    while not lived and point < _MOST_POINTS:
        points = list(range(point, point + _AT_ONCE))
        places = {n: root / f"point-{n}" for n in points}
        for place in places.values():
            place.mkdir(parents=True)
        first = {n: _fork(_first_life(places[n], url, f"dying-{os.getpid()}-{n}", n)) for n in points}
        died = {n: os.WIFSIGNALED(os.waitpid(child, 0)[1]) for n, child in first.items()}
        second = {n: _fork(_second_life(places[n], url, f"dying-{os.getpid()}-{n}")) for n in points}
        for n, child in second.items():
            os.waitpid(child, 0)
            result = json.loads((places[n] / "result").read_text())
            print(json.dumps({"point": n, "died": died[n], **result}), flush=True)
        lived = not any(died.values())
        point += _AT_ONCE


if __name__ == "__main__":
    main()

"""A script that kills an investigation where its state is kept, from the first step to the last, and lets another process
take it over.

    python -m tests.agents.dying_investigations FOLDER DATABASE_URL GRAPH_URL ENVIRONMENT AT_US

It prints a line of JSON for each point: what was told before and after, and the answer. Everything is imported once, and each
life of a run is a fork of this process: it has no threads of its own yet.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from agents.investigate import Answer, Progress
from agents.replies import make_question
from cli.services import build_services
from domain.settings import Settings
from graph.topology import TopologyGraph
from storage import checkpoints
from storage.database import Database

_AT_ONCE = 4
_STEP = 4  # of the points that there are: each takes two lives
_MOST_POINTS = 120

_left = -1


def _point() -> None:
    global _left
    if _left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    _left -= 1


class DyingSaver(checkpoints._PatientSaver):
    """A checkpointer whose process may die before and after each write."""

    @asynccontextmanager
    async def _cursor(self, *, pipeline: bool = False) -> AsyncIterator[Any]:
        if pipeline:
            _point()
        async with super()._cursor(pipeline=pipeline) as cursor:
            yield cursor
        if pipeline:
            _point()


async def _live(folder: Path, database_url: str, graph_url: str, asked: tuple[str, int, str], segment: int) -> None:
    """Work on a run; write down what is told as it is told."""
    environment, at_us, run_id = asked
    database, graph = Database(database_url, 2), TopologyGraph(graph_url)
    services = build_services(Settings(data_dir=folder / "data", embedder="none"), database, graph)
    question = replace(make_question("why does checkout fail?", environment, at_us=at_us), run_id=run_id)
    answer: dict[str, Any] = {}
    with (folder / f"told-{segment}").open("a") as told:
        async with services.projecting():
            async for part in services.investigator.stream(question, trace_id=run_id, segment=segment):
                match part:
                    case Progress():
                        print(part.agent, file=told, flush=True)
                    case Answer():
                        answer = part.body
    (folder / "answer").write_text(json.dumps(answer, default=str))
    await database.close()
    await graph.close()


def _fork(work: Any, point: int = -1) -> int:
    global _left
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        _left = point
        asyncio.run(work)
        code = 0
    except Exception:
        logging.exception("A life of a run ended in an error")
    finally:
        os._exit(code)


def _told(folder: Path, segment: int) -> list[str]:
    path = folder / f"told-{segment}"
    return path.read_text().split() if path.exists() else []


def main() -> None:
    """Kill at every point until a run lives to its end."""
    root, urls, environment, at_us = Path(sys.argv[1]), (sys.argv[2], sys.argv[3]), sys.argv[4], int(sys.argv[5])
    checkpoints._PatientSaver = DyingSaver  # type: ignore[misc]
    point, lived = 0, False
    while not lived and point < _MOST_POINTS:
        points = list(range(point, point + _AT_ONCE * _STEP, _STEP))
        places = {n: root / f"point-{n}" for n in points}
        died: dict[int, bool] = {}
        for place in places.values():
            place.mkdir(parents=True)
        asked = {n: (environment, at_us, f"trc_dying_{os.getpid()}_{n}") for n in points}
        for segment in (0, 1):
            lives = {n: _fork(_live(places[n], *urls, asked[n], segment), n if not segment else -1) for n in points}
            ended = {n: os.waitpid(child, 0)[1] for n, child in lives.items()}
            died = died or {n: os.WIFSIGNALED(status) for n, status in ended.items()}
        for n in points:
            answer = json.loads((places[n] / "answer").read_text())
            told = {"before": _told(places[n], 0), "after": _told(places[n], 1)}
            print(
                json.dumps({"point": n, "died": died[n], "run_id": asked[n][2], **told, "answer": answer}), flush=True
            )
        lived = not any(died.values())
        point += _AT_ONCE * _STEP


if __name__ == "__main__":
    main()

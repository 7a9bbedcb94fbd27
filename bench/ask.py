"""How long until something is told and until the verdict, and how often it is right: by rules alone, and with a model.

    python -m bench.ask [--cases 6] [--json FILE]

Made-up incidents (`bench.scenarios`, shape a) go into a cold server; each question is asked as a stream. With a model the same
questions are asked of a second server with the model that CAUSEGRAPH_CHAT_MODEL names; where none is set, or its server does not
answer, that line says "not measured". Scripted models prove robustness, never quality, and are not used here.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.scenarios import SCENARIOS, make, play
from bench.server import Server, start_server
from domain.errors import CausegraphError
from domain.settings import Settings, load_settings
from inference.build import ChatModels

_MODEL_SETTINGS = (
    "CAUSEGRAPH_CHAT_MODEL",
    "CAUSEGRAPH_PLAN_MODEL",
    "CAUSEGRAPH_EXPLAIN_MODEL",
    "CAUSEGRAPH_FALLBACK_MODEL",
)
_QUESTION = "Requests are slow or failing. What is the root cause?"


@dataclass(frozen=True, slots=True)
class Timed:
    """One streamed question: seconds to each first event, what it took, and whether the right service was named."""

    case: str
    first: float
    verdict: float
    token: float
    whole: float
    tokens: int
    cost: float
    right: bool
    worded: bool


def ask_streamed(server: Server, environment: str, at: float) -> tuple[dict[str, float], dict[str, Any]]:
    """Ask as a stream; return the seconds until each event came first, and the answer."""
    body = {"question": _QUESTION, "environment": environment, "at": at, "stream": True}
    began, first, answer, name = time.perf_counter(), dict[str, float](), dict[str, Any](), ""
    with server.client() as client, client.stream("POST", "/chat", json=body) as reply:
        reply.raise_for_status()
        for line in reply.iter_lines():
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
                first.setdefault(name, time.perf_counter() - began)
            elif line.startswith("data: ") and name == "answer":
                answer = json.loads(line.removeprefix("data: "))
    if not answer:
        raise SystemExit(f"the stream ended with {name!r} instead of an answer")
    return first, answer


def measure(server: Server, cases: int) -> Iterator[Timed]:
    """Play the first scenarios of shape a, and ask about each as a stream."""
    for number, scenario in enumerate([s for s in SCENARIOS if s.shape == "a"][:cases]):
        made, environment, now = make(scenario, number), f"ask-{number}", time.time()
        played = play(server, made, environment, number, now)
        first, answer = ask_streamed(server, environment, now - 30)
        yield Timed(
            case=scenario.name,
            first=first["progress"],
            verdict=first["verdict"],
            token=first["token"],
            whole=first["answer"],
            tokens=int(answer["budget"]["tokens"]),
            cost=float(answer["budget"]["cost"]),
            right=played.right,
            worded=answer["answer"].startswith(f"{answer['verdict']['outcome']}: "),
        )


def reachable_model(settings: Settings) -> str:
    """Return the name of the model that answers, "" where none is set or none answers."""

    async def load() -> str:
        models = ChatModels(settings)
        try:
            for model in models.for_role("explain"):
                await model.load()
                await model.ainvoke("Say ok.", max_tokens=64)
                return model.model_name
        except CausegraphError as exc:
            print(f"the model does not answer: {exc}")
        finally:
            await models.close()
        return ""

    return asyncio.run(load())


@contextmanager
def without_models() -> Iterator[None]:
    """Hide the models from the servers that are started within the block."""
    held = {name: os.environ.pop(name) for name in _MODEL_SETTINGS if name in os.environ}
    os.environ["CAUSEGRAPH_CHAT_MODEL"] = "none"
    try:
        yield
    finally:
        del os.environ["CAUSEGRAPH_CHAT_MODEL"]
        os.environ.update(held)


def table(name: str, timed: Sequence[Timed]) -> str:
    """Return one line of figures: medians, and the worst whole answer."""

    def middle(field: str) -> float:
        return float(statistics.median(getattr(one, field) for one in timed))

    right = sum(one.right for one in timed)
    return (
        f"{name:<28}{len(timed):>4}{right:>7}{middle('first'):>10.2f}{middle('verdict'):>10.2f}{middle('token'):>10.2f}"
        f"{middle('whole'):>10.2f}{max(one.whole for one in timed):>8.2f}{middle('tokens'):>8.0f}"
        f"{sum(one.worded for one in timed):>8}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=6, help="how many incidents are asked about")
    parser.add_argument("--json", type=Path, help="write every question's figures here")
    arguments = parser.parse_args()
    with without_models(), start_server() as server:
        rules = list(measure(server, arguments.cases))
    print(
        f"{'':<28}{'n':>4}{'right':>7}{'first s':>10}{'verdict':>10}{'word':>10}{'answer':>10}{'worst':>8}{'tokens':>8}{'worded':>8}"
    )
    print(table("rules alone", rules), flush=True)
    model = reachable_model(load_settings())
    assisted: list[Timed] = []
    if model:
        with start_server() as server:
            assisted = list(measure(server, arguments.cases))
        print(table(f"with {model}", assisted))
    else:
        print("with a model: not measured")
    if arguments.json:
        rows = {"rules": [asdict(one) for one in rules], "model": [asdict(one) for one in assisted]}
        arguments.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

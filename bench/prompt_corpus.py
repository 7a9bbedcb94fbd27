"""Prompts as investigations write them: growing histories, a clock in the system prompt, and not one log line twice.

Made by rule from a seed, so that anyone gets the same. The lines have the wording of the example shop's services, each
with a time, a request and numbers of its own; the texts of system prompts are those of this project's own documents.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

_DOCS = ("architecture.md", "indexing.md", "sources.md", "operations.md", "api.md", "code-search.md")
_LINES = (
    "{time} ERROR checkout request={request} POST /charges of payment answered 500 after {ms} ms",
    "{time} WARN payment request={request} pool exhausted, waited {ms} ms for a connection ({n} in use)",
    "{time} INFO storefront request={request} GET /products/{n} 200 in {ms} ms for session {session}",
    "{time} ERROR inventory request={request} could not reserve item {n}: lock wait timeout after {ms} ms",
    "{time} INFO recommendations request={request} ranked {n} products in {ms} ms, model version {session}",
    '{time} ERROR payment request={request} card declined for order {n}: KeyError: "currency" at charge.py:{ms}',
)
_TOOLS = ("search_logs", "read_spans", "list_changes", "read_topology", "compare_metrics", "read_code")


def make_runs(runs: int = 120, turns: int = 9, seed: int = 7) -> Iterator[list[str]]:
    """Yield for each run its prompts, one per model call, each a list of messages in compact JSON."""
    chance = random.Random(seed)
    clock = datetime(2026, 2, 7, 10, 0, tzinfo=UTC)
    systems = [_system_text(name) for name in _DOCS]
    for run in range(runs):
        clock += timedelta(minutes=chance.randrange(3, 90))
        agents = chance.sample(range(len(systems)), 2)
        prompts: list[str] = []
        for agent in agents:
            text = f"{systems[agent]}\nIt is {clock.isoformat()}. This is run {run:05d}.\n"
            messages: list[dict[str, Any]] = [
                {"role": "system", "content": text},
                {
                    "role": "user",
                    "content": f"Why did {chance.choice(_TOOLS)} report failures at {clock:%H:%M}? Run {run}.",
                },
            ]
            for turn in range(turns):
                prompts.append(json.dumps(messages, ensure_ascii=False, separators=(",", ":")))
                messages += _turn(chance, clock + timedelta(seconds=turn), turn)
        yield prompts


def _system_text(name: str) -> str:
    root = Path(__file__).resolve().parents[1] / "docs"
    schemas = [
        {
            "name": tool,
            "description": f"{tool} of the watched systems",
            "parameters": {"window": "string", "limit": "integer"},
        }
        for tool in _TOOLS
    ]
    return (root / name).read_text(encoding="utf-8")[:9_000] + json.dumps(schemas)


def _turn(chance: random.Random, at: datetime, turn: int) -> list[dict[str, Any]]:
    call = {
        "id": f"call_{chance.randrange(16**12):012x}",
        "name": chance.choice(_TOOLS),
        "arguments": {"limit": 40 + turn},
    }
    lines = "\n".join(_line(chance, at + timedelta(milliseconds=n * 37)) for n in range(chance.randrange(25, 60)))
    return [
        {"role": "assistant", "content": f"Step {turn}: look closer.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": call["id"], "content": lines},
    ]


def _line(chance: random.Random, at: datetime) -> str:
    return chance.choice(_LINES).format(
        time=at.isoformat(timespec="microseconds"),
        request=f"{chance.randrange(16**8):08x}",
        ms=chance.randrange(1, 30_000),
        n=chance.randrange(1, 5_000),
        session=f"{chance.randrange(16**6):06x}",
    )

"""kill -9 from the first step of an investigation to the last: another process goes on behind the last step, and the answer is the same."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from agents.graph import SPECIALISTS
from cli.stack import StackHandle
from storage.database import Database
from tests.serving import read_lives

TEAM = {"planner", *SPECIALISTS, "diagnosis", "lines", "runbook", "explainer", "judge"}


def settled(answer: dict[str, Any]) -> dict[str, Any]:
    """What does not depend on when and how often it was asked."""
    changing = ("trace_id", "thread_id", "incident_id", "turn", "budget")
    return {name: held for name, held in answer.items() if name not in changing}


@pytest.mark.long
async def test_an_investigation_goes_on_wherever_it_is_killed(
    stack: StackHandle, database: Database, tmp_path: Path, incident: str
) -> None:
    lives = await read_lives(
        "tests.agents.dying_investigations",
        str(tmp_path),
        stack.database_url,
        stack.graph_url,
        incident,
        str(time.time_ns() // 1000),
    )
    killed: Sequence[Any] = [life for life in lives if life["died"]]
    assert len(killed) > 5 and not lives[-1]["died"]
    whole = settled(lives[-1]["answer"])
    assert whole["verdict"]["causes"][0]["service"] == "payment"
    for life in killed:
        told = f"killed at point {life['point']}: {life['before']}, then {life['after']}"
        assert settled(life["answer"]) == whole, told
        # The last one may have died with its words on its lips.
        assert len(TEAM - {*life["before"], *life["after"]}) <= 1, told
    # The later it died, the less was left to do; in the end nothing.
    left = [len(life["after"]) for life in killed]
    assert left[0] == len(TEAM) and left[-1] <= 1, left
    assert any(SPECIALISTS.keys() & {*life["before"]} and SPECIALISTS.keys() & {*life["after"]} for life in killed)

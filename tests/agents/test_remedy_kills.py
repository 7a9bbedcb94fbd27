"""kill -9 at every point of a run: it is taken up or taken back, and no step is ever done twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.stack import StackHandle
from storage.database import Database
from tests.serving import read_lives

_PHASES = {"proposing", "dry-running", "deciding", "approved", "in a step", "after a step", "verifying", "ending"}


@pytest.mark.long
async def test_no_step_is_done_twice_wherever_a_run_is_killed(
    stack: StackHandle, database: Database, tmp_path: Path
) -> None:
    lives = await read_lives("tests.agents.dying_runs", str(tmp_path), stack.database_url)
    killed = [life for life in lives if life["died"]]
    assert len(killed) > 40 and not lives[-1]["died"]
    assert {life["phase"] for life in killed} == _PHASES
    for life in lives:
        told = f"killed at point {life['point']}: {life}"
        keys = [line.split()[1] for line in life["valve"][1:]]
        turns = [line.split()[0] for line in life["valve"]]
        assert len(keys) == len(set(keys)), told
        assert (life["status"], life["runs"]) == (life["again"], 1), told
        if life["status"] == "verified":
            assert turns == ["1", "5", "9"], told
        else:
            assert life["status"] == "undone" and "interrupted" in life["reason"] and turns[-1] == "1", told
            assert life["phase"] in ("approved", "in a step", "after a step"), told
    assert {life["status"] for life in killed} == {"verified", "undone"}

"""The team at work on one question. Of a run that has an id, each step is kept as it is done.

A process that takes over a run whose process died goes on behind the last step that was kept.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.types import StreamMode

from agents.gathered import lay_out
from agents.graph import build_graph
from agents.state import Deps, State
from agents.telling import Told, last_decision, tell_left, tell_update
from domain.errors import StorageError
from storage.checkpoints import open_state
from storage.database import Database
from tracing.trace import current_trace

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Progress:
    """An agent has finished; `text` is what it decided last."""

    agent: str
    text: str


@dataclass(frozen=True, slots=True)
class Left:
    """The state in which a process that died left a run, the agents who were next, and whether there was nothing left to do."""

    state: State
    next: tuple[str, ...]
    over: bool


@asynccontextmanager
async def open_team(database: Database, run_id: str) -> AsyncIterator[Team]:
    """Provide the team for one run; nothing of a run without an id is kept."""
    if not run_id:
        yield Team(None, "")
        return
    async with open_state(database, State) as saver:
        yield Team(saver, run_id)


class Team:
    """The agents on one run."""

    def __init__(self, saver: BaseCheckpointSaver[str] | None, run_id: str) -> None:
        self._saver = saver
        self._run_id = run_id
        self._graph = build_graph(saver)
        self._config: RunnableConfig = {"configurable": {"thread_id": run_id}} if saver else {}

    async def find_left(self) -> Left | None:
        """Return how another process left the run; None where it has to begin anew."""
        if self._saver is None:
            return None
        try:
            found = await self._graph.aget_state(self._config)
            if "plan" in found.values:
                # Agents who are done are not next; while the step that they are of is not closed, the run is not over.
                return Left(cast(State, found.values), found.next, over=not found.tasks)
        except StorageError as exc:
            logger.warning("A run that was left begins anew.", extra={"run": self._run_id, "reason": str(exc)})
        await self._saver.adelete_thread(self._run_id)
        return None

    async def work(self, begun: State | Left, deps: Deps) -> AsyncIterator[Progress | Told | State]:
        """Yield what each agent decided as it finishes, what else there is to tell, and the last state at the end.

        Of what was left, only what is not done yet is done.
        """
        state, work = (begun.state, None) if isinstance(begun, Left) else (begun, begun)
        if isinstance(begun, Left):
            lay_out(state["gathered"], deps)
            current_trace().log("The run goes on where another process left it.", next=list(begun.next))
            for told in tell_left(state):
                yield told
        if not isinstance(begun, Left) or not begun.over:
            modes: list[StreamMode] = ["updates", "values"]
            async for mode, chunk in self._graph.astream(work, self._config, context=deps, stream_mode=modes):
                if mode == "values":
                    state = cast(State, chunk)
                elif isinstance(chunk, dict):
                    for agent, update in chunk.items():
                        yield Progress(str(agent), last_decision(str(agent)))
                        for told in tell_update(str(agent), update):
                            yield told
        yield state

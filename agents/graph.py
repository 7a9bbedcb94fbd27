"""The team as a LangGraph graph: the specialists run side by side, and one that fails is named, not hidden.

planner -> log | topology | metric | code -> diagnosis -> lines -> runbook -> explainer -> judge -> (planner | end)
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from agents.code import read_changes
from agents.code_lines import locate_lines
from agents.diagnose import settle
from agents.explainer import explain
from agents.gathered import Gathered, lay_out, take_stock
from agents.judge import judge_answer
from agents.log import read_logs
from agents.metric import read_metrics
from agents.planner import plan_investigation
from agents.runbook import choose_runbook
from agents.state import Deps, Paths, Report, State
from agents.topology import follow_paths
from domain.errors import CausegraphError
from tracing.trace import current_trace

logger = logging.getLogger(__name__)

type Agent = Callable[[State, Deps], Awaitable[State]]

SPECIALISTS: dict[str, Agent] = {
    "log": read_logs,
    "topology": follow_paths,
    "metric": read_metrics,
    "code": read_changes,
}
_SEQUENCE: dict[str, Agent] = {
    "diagnosis": settle,
    "lines": locate_lines,
    "runbook": choose_runbook,
    "explainer": explain,
    "judge": judge_answer,
}
SPECIALIST_SECONDS = 20.0


def build_graph(saver: BaseCheckpointSaver[str] | None = None) -> CompiledStateGraph[State, Deps, State, State]:
    """Return the compiled graph. It serves any number of investigations; with a checkpointer, each is a thread of it."""
    graph: StateGraph[State, Deps, State, State] = StateGraph(State, context_schema=Deps)
    graph.add_node("planner", _staged("planner", plan_investigation))
    for name, agent in SPECIALISTS.items():
        graph.add_node(name, _guarded(name, agent))
    for name, agent in _SEQUENCE.items():
        graph.add_node(name, _staged(name, agent))
    graph.add_edge(START, "planner")
    for name in SPECIALISTS:
        graph.add_edge("planner", name)
    graph.add_edge(list(SPECIALISTS), "diagnosis")
    graph.add_edge("diagnosis", "lines")
    graph.add_edge("lines", "runbook")
    graph.add_edge("runbook", "explainer")
    graph.add_edge("explainer", "judge")
    graph.add_conditional_edges("judge", _after_judge, ["planner", END])
    return graph.compile(checkpointer=saver)


def _after_judge(state: State) -> str:
    return "planner" if state.get("again") else END


async def _work(agent: Agent, state: State, deps: Deps) -> State:
    before = state.get("gathered") or Gathered()
    lay_out(before, deps)
    update = await agent(state, deps)
    return update | {"gathered": take_stock(before, deps)}


def _staged(name: str, agent: Agent) -> Callable[..., Awaitable[Any]]:
    async def node(state: State, runtime: Runtime[Deps]) -> State:
        with current_trace().stage(name):
            return await _work(agent, state, runtime.context)

    return node


def _guarded(name: str, agent: Agent) -> Callable[..., Awaitable[Any]]:
    """A specialist that fails or hangs leaves a report that says so; the others' findings still count."""

    async def node(state: State, runtime: Runtime[Deps]) -> State:
        with current_trace().stage(name):
            try:
                async with asyncio.timeout(SPECIALIST_SECONDS):
                    return await _work(agent, state, runtime.context)
            except Exception as exc:
                unforeseen = None if isinstance(exc, CausegraphError | TimeoutError) else exc
                logger.warning("An agent failed", exc_info=unforeseen, extra={"agent": name, "reason": str(exc)})
                reason = "took too long" if isinstance(exc, TimeoutError) else f"failed: {exc}"
                lost = Report(not_seen=(f"what the {name} agent would have found: it {reason}",))
                update: State = {"reports": {name: lost}}
                return update | {"paths": Paths()} if name == "topology" else update

    return node

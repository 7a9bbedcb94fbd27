"""The run that tracers are measured on: 3 specialists side by side, 5 model calls, 2 tools, 15 spans. LangGraph alone."""

from __future__ import annotations

import asyncio
import operator
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

type Callbacks = AbstractAsyncContextManager[list[Any]]

SPANS = 15
_SYSTEM = "You find out why a system failed. " * 60


class State(TypedDict, total=False):
    found: Annotated[list[str], operator.add]


@tool
def search(word: str) -> str:
    """Search for a word."""
    return f"{word}: 3 lines"


async def _ask(question: str) -> str:
    usage = {"input_tokens": 400, "output_tokens": 20, "total_tokens": 420}
    model = GenericFakeChatModel(messages=iter([AIMessage("look at payment", usage_metadata=usage)]))
    return str((await model.ainvoke([SystemMessage(_SYSTEM), HumanMessage(question)])).content)


def build() -> Any:
    """Return the compiled graph."""

    async def plan(state: State) -> State:
        return {"found": [await _ask("what is to do?")]}

    def specialist(name: str, *, with_tool: bool) -> Any:
        async def node(state: State) -> State:
            if with_tool:
                await search.ainvoke({"word": name})
            return {"found": [await _ask(f"what does {name} say?")]}

        return node

    async def explain(state: State) -> State:
        return {"found": [await _ask("why did it fail?")]}

    async def judge(state: State) -> State:
        return {"found": ["good"]}

    graph = StateGraph(State)
    graph.add_node("plan", plan)
    for name, with_tool in (("logs", True), ("metrics", True), ("topology", False)):
        graph.add_node(name, specialist(name, with_tool=with_tool))
        graph.add_edge("plan", name)
    graph.add_node("explain", explain)
    graph.add_node("judge", judge)
    graph.add_edge(START, "plan")
    graph.add_edge(["logs", "metrics", "topology"], "explain")
    graph.add_edge("explain", "judge")
    graph.add_edge("judge", END)
    return graph.compile()


@asynccontextmanager
async def untraced() -> AsyncIterator[list[Any]]:
    """No tracer."""
    yield []


async def measure(traced: Callable[[], Callbacks], runs: int) -> tuple[float, float]:
    """Return the median CPU of the event loop's thread per run (ms), untraced and traced, one after the other in turn."""
    graph = build()
    spent: dict[bool, list[float]] = {False: [], True: []}
    for number in range(-10, runs):
        for with_tracer in (False, True):
            async with (traced if with_tracer else untraced)() as callbacks:
                began = time.thread_time_ns()
                await graph.ainvoke({"found": []}, {"callbacks": callbacks} if callbacks else None)
                took = (time.thread_time_ns() - began) / 1e6
            if number >= 0:
                spent[with_tracer].append(took)
            await asyncio.sleep(0)
    return statistics.median(spent[False]), statistics.median(spent[True])

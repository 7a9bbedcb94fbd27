"""Any LangGraph application is one trace: fan-out, retries, cache hits, ways, an approval, a restart of the process."""

from __future__ import annotations

import asyncio
import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.tools import tool
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import CachePolicy, Command, RetryPolicy, interrupt

from agents.callbacks import PAUSES, TraceCallbacks, run_recorded
from tracing import Event, current_trace, fold, start_trace
from tracing.scorecard import walk_stages


class Kept:
    def __init__(self) -> None:
        self.events: list[Event] = []

    async def write(self, events: Sequence[Event]) -> None:
        self.events += events


class State(TypedDict, total=False):
    seen: Annotated[list[str], operator.add]
    ask: str


@tool
def look_up(word: str) -> str:
    """Look a word up."""
    current_trace().log(f"looking for {word}")
    return word.upper()


def build(saver: Any = None, cache: Any = None) -> Any:
    failures = iter([True, True, False])

    async def plan(state: State) -> Command[Any]:
        current_trace().decide("both", "either may know", 0.8, ["logs alone"])
        return Command(goto=["logs", "metrics", "flaky"], update={"seen": ["plan"]})

    async def logs(state: State) -> State:
        await asyncio.sleep(0.001)
        with current_trace().stage("inner"):
            current_trace().decide("inside", "a stage of its own", 1.0)
        current_trace().decide("logs", "here", 1.0)
        await look_up.ainvoke({"word": "checkout"})
        return {"seen": ["logs"]}

    def metrics(state: State) -> State:
        current_trace().decide("metrics", "in a thread", 1.0)
        return {"seen": ["metrics"]}

    async def flaky(state: State) -> State:
        if next(failures, False):
            raise ConnectionError("away")
        current_trace().decide("flaky", "third time", 1.0)
        return {"seen": ["flaky"]}

    async def model(state: State) -> State:
        answer = AIMessage("yes", usage_metadata={"input_tokens": 11, "output_tokens": 2, "total_tokens": 13})
        await GenericFakeChatModel(messages=iter([answer])).ainvoke([HumanMessage("is it?")])
        return {"seen": ["model"]}

    def choose(state: State) -> str:
        return "approve"

    async def approve(state: State) -> State:
        answer = interrupt("restart checkout?")
        current_trace().decide(f"approved: {answer}", "a person said so", 1.0)
        return {"seen": ["approve"]}

    graph = StateGraph(State)
    graph.add_node("plan", plan, destinations=("logs", "metrics", "flaky"))
    graph.add_node("logs", logs)
    graph.add_node("metrics", metrics, cache_policy=CachePolicy())
    graph.add_node("flaky", flaky, retry_policy=RetryPolicy(initial_interval=0.001, max_attempts=3, jitter=False))
    graph.add_node("model", model)
    graph.add_node("approve", approve)
    graph.add_edge(START, "plan")
    graph.add_edge(["logs", "metrics", "flaky"], "model")
    graph.add_conditional_edges("model", choose, ["approve", END])
    graph.add_edge("approve", END)
    return graph.compile(checkpointer=saver, cache=cache)


async def test_an_approved_run_with_everything_is_one_trace() -> None:
    sink, saver = Kept(), InMemorySaver()
    cache: InMemoryCache[Any] = InMemoryCache()
    async with start_trace("warm the cache", "e", Kept()) as warming:
        [part async for part in run_recorded(build(InMemorySaver(), cache), {"ask": "x"}, warming, thread("0"))]
    async with start_trace("restart it?", "e", sink, pauses=PAUSES) as trace:
        parts = [part async for part in run_recorded(build(saver, cache), {"ask": "x"}, trace, thread("1"))]
    assert "__interrupt__" in parts[-1]
    paused = fold(sink.events)
    assert (paused.status, paused.pauses[-1].waiting_for) == ("paused", "restart checkout?")
    # Another process: a graph built anew, over the same checkpoints, and the same trace by its id.
    async with start_trace("restart it?", "e", sink, trace_id=trace.id, segment=paused.segments) as again:
        [part async for part in run_recorded(build(saver, cache), Command(resume="go"), again, thread("1"))]
    view = fold(sink.events)
    assert (view.status, view.segments, view.open_spans, view.completion_rate) == ("complete", 2, 0, 1.0)
    assert {event.trace_id for event in sink.events} == {trace.id}
    stages = [stage for _, stage in walk_stages(view)]
    names = {stage.span_id: stage.name for stage in stages}
    by_name: dict[str, list[Any]] = {}
    for stage in stages:
        by_name.setdefault(stage.name, []).append(stage)
    assert [stage.status for stage in by_name["approve"]] == ["paused", "complete"]
    assert [stage.status for stage in by_name["flaky"]] == ["failed", "failed", "complete"]
    assert [retry.error for retry in view.retries] == ["ConnectionError: away"] * 2
    assert [stage.status for stage in by_name["metrics"]] == ["cached"]
    assert {("logs", "metrics", "flaky"), ("approve",)} == {route.to for route in view.routes}
    assert {d.what: names[d.span_id] for d in view.decisions} == {
        "both": "plan",
        "inside": "inner",
        "logs": "logs",
        "flaky": "flaky",
        "approved: go": "approve",
    }
    assert (view.model.calls, view.model.prompt_tokens, view.model.completion_tokens) == (1, 11, 2)
    assert by_name["look_up"][0].kind == "tool" and names[view.logs[0].span_id] == "look_up"
    assert [stage.name for stage in by_name["logs"][0].stages] == ["inner", "look_up"]
    assert not [stage.name for stage in stages if stage.status == "failed" and stage.name != "flaky"]
    (pause,) = view.pauses
    assert pause.resumed_us is not None and pause.resumed_us >= pause.paused_us
    warmed = {stage.span_id: stage.name for _, stage in walk_stages(warming.view())}
    assert [warmed[d.span_id] for d in warming.view().decisions if d.what == "metrics"] == ["metrics"]


async def test_a_graph_that_fails_is_a_failed_run_with_its_error_where_it_happened() -> None:
    async def broken(state: State) -> State:
        raise ValueError("boom")

    graph = StateGraph(State)
    graph.add_node("broken", broken)
    graph.add_edge(START, "broken")
    sink = Kept()
    with pytest.raises(ValueError, match="boom"):
        async with start_trace("q", "e", sink) as trace:
            await graph.compile().ainvoke({"ask": "x"}, {"callbacks": [TraceCallbacks(trace)]})
    view = fold(sink.events)
    failed = {stage.name: stage.error for _, stage in walk_stages(view) if stage.status == "failed"}
    assert view.status == "failed" and failed["broken"] == "ValueError: boom"
    assert view.failed_spans == len(failed) == 2 and view.open_spans == 0


def thread(name: str) -> dict[str, Any]:
    return {"configurable": {"thread_id": name}}

"""Recording a run: the right span, the right status, and a sink that cannot hurt."""

from __future__ import annotations

import asyncio
import logging
import math
import operator
import threading
import time
from collections.abc import Callable, Sequence
from typing import Annotated, TypedDict

import pytest
from langgraph.graph import END, START, StateGraph

from domain.evidence import LedgerEntry
from domain.times import Window
from domain.verdict import Judgement
from tracing import Event, Trace, TraceView, current_trace, fold, start_trace
from tracing.fold import StageView
from tracing.scorecard import walk_stages
from tracing.trace import NO_TRACE


class Kept:
    """A sink that keeps what it gets."""

    def __init__(self) -> None:
        self.batches: list[list[Event]] = []

    async def write(self, events: Sequence[Event]) -> None:
        self.batches.append(list(events))

    @property
    def events(self) -> list[Event]:
        return [event for batch in self.batches for event in batch]


def stages_by_name(view: TraceView) -> dict[str, StageView]:
    return {stage.name: stage for _, stage in walk_stages(view)}


def decided_on(view: TraceView) -> dict[str, str]:
    """Which stage each decision stands on."""
    names = {stage.span_id: stage.name for _, stage in walk_stages(view)}
    return {decision.what: names.get(decision.span_id, "") for decision in view.decisions}


async def test_a_run_is_recorded_whole() -> None:
    sink = Kept()
    async with start_trace("why did checkout fail?", "shop", sink) as trace:
        trace.decide("checkout first", "it is named", 0.9, ["payment (0.4)"], {"service": "checkout"})
        with trace.stage("logs", services=2) as stage:
            entry = LedgerEntry("log_counts", Window(1, 2), "level>=ERROR", 100, 3, True, 0.01)
            current_trace().ledger(entry)
            current_trace().evidence(["log-1", "log-2", "log-1"])
            stage.note(templates=7)
        async with trace.stage("explain"):
            trace.evidence(["log-2"], cited=True)
            trace.model_call("m", prompt_tokens=10, completion_tokens=5, seconds=0.5, cost=0.25)
        trace.conclude("LIKELY", ["payment"], ["onset fits"])
        trace.judge(Judgement("ALLOW_WITH_WARNING", {"grounded": 0.8}, ("no metrics",)))
    view = fold(sink.events)
    assert (view.id, view.environment, view.question) == (trace.id, "shop", "why did checkout fail?")
    assert (view.status, view.outcome, view.action) == ("complete", "LIKELY", "ALLOW_WITH_WARNING")
    assert view.causes == ("payment",) and view.gaps == ("no metrics",)
    assert [stage.name for stage in view.stages] == ["logs", "explain"]
    logs = view.stages[0]
    assert (logs.status, logs.queries, logs.facts) == ("complete", 1, {"services": 2, "templates": 7})
    assert view.found == ("log-1", "log-2") and view.cited == ("log-2",)
    assert view.ledger[0].rows_scanned == 100 and view.ledger[0].reporting is True
    assert view.decisions[0].alternatives == ("payment (0.4)",)
    assert view.decisions[0].inputs == {"service": "checkout"}
    assert (view.model.calls, view.model.prompt_tokens, view.model.cost) == (1, 10, 0.25)
    assert view.open_spans == 0 and view.seconds is not None and view.seconds > 0


async def test_decisions_land_on_their_own_stage_across_tasks_and_threads() -> None:
    def in_thread(name: str) -> None:
        with current_trace().stage(f"thread {name}"):
            time.sleep(0.001)
            current_trace().decide(f"thread {name}", "because", 1.0)

    async def agent(name: str) -> None:
        async with current_trace().stage(name):
            await asyncio.sleep(0.001)
            current_trace().decide(name, "because", 1.0)
            await asyncio.to_thread(in_thread, name)
            await asyncio.gather(leaf(f"{name}/a"), leaf(f"{name}/b"))
            current_trace().decide(f"{name} again", "because", 1.0)

    async def leaf(name: str) -> None:
        with current_trace().stage(name):
            await asyncio.sleep(0)
            current_trace().decide(name, "because", 1.0)

    async with start_trace("q", "e", Kept()) as trace:
        with trace.stage("agents"):
            async with asyncio.TaskGroup() as group:
                for name in ("logs", "topology", "metrics"):
                    group.create_task(agent(name))
            trace.decide("all back", "because", 1.0)
    where = decided_on(trace.view())
    assert all(stage == what.removesuffix(" again") for what, stage in where.items() if what != "all back")
    assert where["all back"] == "agents" and len(where) == 16
    stages = stages_by_name(trace.view())
    assert {stage.name for stage in stages["agents"].stages} == {"logs", "topology", "metrics"}
    assert {stage.name for stage in stages["logs"].stages} == {"thread logs", "logs/a", "logs/b"}


class State(TypedDict):
    seen: Annotated[list[str], operator.add]


async def test_langgraph_nodes_that_run_side_by_side_record_on_their_own_stage() -> None:
    async def logs(state: State) -> State:
        async with current_trace().stage("logs"):
            await asyncio.sleep(0.002)
            current_trace().decide("logs", "because", 1.0)
        return {"seen": ["logs"]}

    def metrics(state: State) -> State:
        with current_trace().stage("metrics"):
            time.sleep(0.002)
            current_trace().decide("metrics", "because", 1.0)
        return {"seen": ["metrics"]}

    graph = StateGraph(State)
    graph.add_node("logs", logs)
    graph.add_node("metrics", metrics)
    for name in ("logs", "metrics"):
        graph.add_edge(START, name)
        graph.add_edge(name, END)
    async with start_trace("q", "e", Kept()) as trace:
        with trace.stage("graph"):
            await graph.compile().ainvoke({"seen": []})
    assert decided_on(trace.view()) == {"logs": "logs", "metrics": "metrics"}
    assert {stage.name for stage in stages_by_name(trace.view())["graph"].stages} == {"logs", "metrics"}


async def test_traces_side_by_side_do_not_mix() -> None:
    async def run(name: str) -> Trace:
        async with start_trace(name, "e", Kept()) as trace:
            for number in range(5):
                with trace.stage(f"{name}{number}"):
                    await asyncio.sleep(0)
                    current_trace().decide(f"{name}{number}", "because", 0.5)
        return trace

    first, second = await asyncio.gather(run("a"), run("b"))
    assert {d.what for d in first.view().decisions} == {f"a{n}" for n in range(5)}
    assert decided_on(second.view()) == {f"b{n}": f"b{n}" for n in range(5)}


async def test_a_failure_is_recorded_and_goes_on() -> None:
    sink = Kept()
    with pytest.raises(ValueError, match="boom"):
        async with start_trace("q", "e", sink) as trace:
            with trace.stage("logs"):
                raise ValueError("boom")
    view = fold(sink.events)
    assert (view.status, view.error) == ("failed", "ValueError: boom")
    assert (view.stages[0].status, view.stages[0].error) == ("failed", "ValueError: boom")
    assert current_trace() is NO_TRACE


async def test_a_cancelled_run_still_tells_its_end() -> None:
    sink = Kept()

    async def run() -> None:
        async with start_trace("q", "e", sink):
            await asyncio.sleep(10)

    task = asyncio.create_task(run())
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert fold(sink.events).status == "failed"


class Interrupt(Exception):
    """Stands for LangGraph's GraphBubbleUp."""


async def test_a_pause_is_no_failure_and_the_run_goes_on_in_the_same_trace() -> None:
    sink = Kept()
    with pytest.raises(Interrupt):
        async with start_trace("q", "e", sink, pauses=(Interrupt,)) as trace:
            with trace.stage("approve"):
                raise Interrupt
    assert fold(sink.events).status == "paused"
    assert fold(sink.events).stages[0].status == "paused"
    async with start_trace("q", "e", sink, trace_id=trace.id, segment=1) as resumed:
        with resumed.stage("run"):
            assert fold([*sink.events, *resumed.events]).status == "running"
    view = fold(sink.events)
    assert (view.status, view.segments) == ("complete", 2)
    assert [stage.name for stage in view.stages] == ["approve", "run"]


async def test_pause_and_fail_can_be_said() -> None:
    async with start_trace("q", "e", Kept()) as paused:
        paused.pause()
    async with start_trace("q", "e", Kept()) as failed:
        failed.fail()
    assert (paused.view().status, failed.view().status) == ("paused", "failed")


async def test_without_a_trace_every_call_works_and_does_nothing() -> None:
    trace = current_trace()
    assert trace is NO_TRACE
    with trace.stage("x", a=1) as stage:
        stage.note(b=2)
        trace.decide("a", "b", 1.0)
        async with trace.stage("y"):
            trace.evidence(["a"])
    trace.ledger(LedgerEntry("q", Window(0, 1), "", 0, 0, None, 0.0))
    trace.model_call("m", prompt_tokens=1, completion_tokens=1, seconds=1.0)
    trace.conclude("HEALTHY")
    trace.judge(Judgement("BLOCK", {}))
    trace.pause()
    trace.fail()
    assert trace.events == () and trace.status == "running"
    assert trace.view().decisions == () and trace.view().id == ""
    with pytest.raises(KeyError), trace.stage("z"):
        raise KeyError


async def test_every_public_method_does_nothing_in_the_empty_trace() -> None:
    calls: dict[str, Callable[[Trace], object]] = {
        "stage": lambda t: t.stage("x").__enter__(),
        "note": lambda t: t.note(service="a"),
        "log": lambda t: t.log("a"),
        "decide": lambda t: t.decide("a", "b", 1.0),
        "ledger": lambda t: t.ledger(LedgerEntry("q", Window(0, 1), "", 0, 0, None, 0.0)),
        "evidence": lambda t: t.evidence(["a"]),
        "model_call": lambda t: t.model_call("m", prompt_tokens=1, completion_tokens=1, seconds=1.0),
        "retry": lambda t: t.retry(1, ValueError("a")),
        "cache_hit": lambda t: t.cache_hit("a"),
        "route": lambda t: t.route("a"),
        "policy": lambda t: t.policy("p", "1", "BLOCK"),
        "conclude": lambda t: t.conclude("HEALTHY"),
        "judge": lambda t: t.judge(Judgement("BLOCK", {})),
        "pause": lambda t: t.pause("approval"),
        "resume": lambda t: t.resume("ada"),
        "fail": lambda t: t.fail(),
        "end": lambda t: t.end(),
        "open_span": lambda t: t.open_span("a", "", {}),
        "emit_on": lambda t: t.emit_on("a", "LOG", {}),
        "close_span": lambda t: t.close_span("a", 0.0, None, {}),
    }
    reading = {"current_span", "events", "events_from", "view"}
    assert set(calls) | reading == {name for name in vars(Trace) if not name.startswith("_")} - {"enabled"}
    untouched = NO_TRACE.view()
    for name, call in calls.items():
        call(NO_TRACE)
        assert NO_TRACE.events == NO_TRACE.events_from(0) == (), name
    assert NO_TRACE.view() == untouched and NO_TRACE.current_span() == "" and NO_TRACE.status == "running"


async def test_disabled_hides_an_outer_trace() -> None:
    sink = Kept()
    async with start_trace("outer", "e", Kept()) as outer:
        async with start_trace("inner", "e", sink, enabled=False) as inner:
            current_trace().decide("hidden", "because", 1.0)
        current_trace().decide("seen", "because", 1.0)
    assert not inner.enabled and not sink.batches
    assert [decision.what for decision in outer.view().decisions] == ["seen"]


async def test_events_reach_the_sink_while_the_run_goes_on() -> None:
    sink = Kept()
    async with start_trace("q", "e", sink, flush_seconds=0.01) as trace:
        with trace.stage("logs"):
            trace.decide("a", "b", 0.5)
            await asyncio.sleep(0.1)
            view = fold(sink.events)
            assert (view.status, view.stages[0].status, view.open_spans) == ("running", "open", 1)
            assert len(view.decisions) == 1
    assert len({event.event_id for event in sink.events}) == len(sink.events) == len(trace.events)


async def test_a_failing_sink_is_told_once_and_gets_everything_when_it_recovers(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Flaky(Kept):
        broken = True

        async def write(self, events: Sequence[Event]) -> None:
            if self.broken:
                raise OSError("disk on fire")
            await super().write(events)

    sink = Flaky()
    with caplog.at_level(logging.WARNING, logger="tracing"):
        async with start_trace("q", "e", sink, flush_seconds=0.005) as trace:
            for number in range(5):
                trace.decide(str(number), "b", 0.5)
                await asyncio.sleep(0.01)
            sink.broken = False
    assert len(caplog.records) == 1
    assert [event.event_id for event in sink.events] == [event.event_id for event in trace.events]


class Hanging:
    """A sink that hangs, and does not even let itself be cancelled."""

    async def write(self, events: Sequence[Event]) -> None:
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            try:
                await asyncio.sleep(0.05)
            except asyncio.CancelledError:
                continue


@pytest.mark.parametrize("write_seconds", [0.05, 30])
async def test_a_hanging_sink_delays_the_end_by_its_bound_only(
    caplog: pytest.LogCaptureFixture, write_seconds: float
) -> None:
    began = time.monotonic()
    with caplog.at_level(logging.WARNING, logger="tracing"):
        async with start_trace("q", "e", Hanging(), flush_seconds=0.01, write_seconds=write_seconds, close_seconds=0.1):
            await asyncio.sleep(0.2)
    assert time.monotonic() - began < 0.6
    assert len(caplog.records) == 1
    await asyncio.sleep(1.1)  # the sink's own tasks end here, not in another test


async def test_a_sink_that_is_no_coroutine_does_no_harm() -> None:
    class Wrong:
        def write(self, events: Sequence[Event]) -> None:
            raise RuntimeError("not even awaitable")

    async with start_trace("q", "e", Wrong()) as trace:  # type: ignore[arg-type]
        trace.decide("a", "b", 1.0)
    assert trace.view().status == "complete"


async def test_anything_can_be_an_input() -> None:
    class Rude:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    circle: list[object] = []
    circle.append(circle)
    inputs: dict[str, object] = {
        "nan": math.nan,
        "infinite": math.inf,
        "bytes": b"\xff",
        "set": {1},
        "surrogate": "\ud800",
        "rude": Rude(),
        "circle": circle,
        "key": {(1, 2): 3},
        "huge": "x" * 200_000,
    }
    async with start_trace("q", "e", Kept()) as trace:
        trace.decide("a", "b", 0.5, inputs=inputs)
        for name, value in inputs.items():
            trace.decide(name, "b", 0.5, inputs={name: value})
    view = trace.view()
    assert len(view.decisions) == 1 + len(inputs)
    assert set(view.decisions[0].inputs) == set(inputs)
    assert all(len(event.payload.encode()) < 70_000 for event in trace.events)


async def test_inputs_are_as_they_were_when_recorded() -> None:
    inputs = {"services": ["a"]}
    async with start_trace("q", "e", Kept()) as trace:
        trace.decide("a", "b", 0.5, inputs=inputs)
        inputs["services"].append("later")
    assert trace.view().decisions[0].inputs == {"services": ["a"]}


async def test_threads_that_record_at_once_lose_nothing() -> None:
    async with start_trace("q", "e", Kept()) as trace:

        def record(thread: int) -> None:
            for number in range(200):
                with trace.stage(f"{thread}"):
                    trace.decide(f"{thread}.{number}", "b", 0.5)

        threads = [threading.Thread(target=record, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    view = trace.view()
    assert len({decision.what for decision in view.decisions}) == len(view.decisions) == 1600
    assert len(view.stages) == 1600 and view.open_spans == 0
    assert [event.number for event in trace.events] == list(range(len(trace.events)))


async def test_nothing_is_recorded_after_the_end() -> None:
    sink = Kept()
    async with start_trace("q", "e", sink) as trace:
        pass
    trace.decide("late", "b", 0.5)
    assert trace.events[-1].type == "RUN_END" and trace.view().decisions == ()

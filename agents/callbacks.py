"""A callback handler that records any LangGraph application into a trace: nodes, models, tools, ways, pauses, retries.

    async with start_trace(question, environment, sink, pauses=PAUSES) as trace:
        async for state in run_recorded(graph, given, trace, config):
            ...

A node that waits for a person (`interrupt`) is paused, not failed; continue the trace with `TraceStore.resumption`.
`current_trace().decide(...)` anywhere below a node lands on that node's stage.
"""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from blake3 import blake3
from langchain_core.messages import BaseMessage
from langgraph.callbacks import GraphCallbackHandler, GraphInterruptEvent, GraphResumeEvent
from langgraph.config import get_config
from langgraph.errors import GraphBubbleUp
from langgraph.types import Command, Send

from tracing.events import StageKind
from tracing.trace import Trace

# What `start_trace(pauses=...)` must know to tell a pause from a failure.
PAUSES: tuple[type[BaseException], ...] = (GraphBubbleUp,)
_CUT = 4_000
_PLAIN = frozenset(("system", "human", "ai"))


@dataclass(slots=True)
class _Run:
    span_id: str
    parent: UUID | None
    name: str
    node: str
    started_ns: int
    model: str = ""
    prompt: str = ""
    is_way: bool = False


class TraceCallbacks(GraphCallbackHandler):
    """Records the runs of a graph as stages of a trace. Give it to a graph in `config["callbacks"]`."""

    run_inline = True  # on the event loop, so that events keep their order and stages their parents
    raise_error = False

    def __init__(self, trace: Trace) -> None:
        super().__init__()
        self._trace = trace
        self._runs: dict[UUID, _Run] = {}
        self._tries: dict[tuple[str, str], tuple[int, str]] = {}
        self._outer = trace.current_span()
        trace.find_span = self._find_span

    # Nodes and other chains

    def on_chain_start(
        self,
        serialized: dict[str, Any] | None,
        inputs: Any,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a stage for a graph, a node, or a runnable inside a node."""
        about = metadata or {}
        name = str(kwargs.get("name") or "chain")
        node = str(about.get("langgraph_node") or "")
        above = self._runs.get(parent_run_id) if parent_run_id else None
        is_node = bool(node) and (above is None or above.node != node or name == node != above.name)
        facts = {"node": node, "step": about.get("langgraph_step")} if node else {}
        run = self._open(run_id, parent_run_id, name, "agent" if is_node else "chain", facts, node)
        run.is_way = not is_node and any(tag.startswith("seq:step:") and tag != "seq:step:1" for tag in tags or ())
        if is_node:
            self._count_try(run, str(about.get("langgraph_checkpoint_ns") or ""))

    def on_chain_end(self, outputs: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """Close the stage; a `Command(goto=...)` or the output of a conditional edge is where the run goes on."""
        run = self._runs.get(run_id)
        if run is None:
            return
        ways = _read_ways(outputs, run.is_way)
        if ways:
            span_id = self._span_of(run.parent) if run.is_way else run.span_id
            why = f"decided by {run.name}" if run.is_way else "returned by the node"
            self._trace.emit_on(span_id, "ROUTE", {"to": ways, "why": why, "options": ()})
        self._close(run_id, None)

    def on_chain_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Close the stage: paused where the graph waits, else failed."""
        run = self._runs.get(run_id)
        if run is not None and not isinstance(error, GraphBubbleUp):
            for key, (count, _) in self._tries.items():
                if key[0] == run.node and run.name == run.node:
                    self._tries[key] = (count, f"{type(error).__name__}: {error}"[:_CUT])
        self._close(run_id, error)

    # Models

    def on_chat_model_start(
        self,
        serialized: dict[str, Any] | None,
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a stage for a call of a chat model."""
        told = [part for batch in messages for message in batch for part in _tell_message(message)]
        self._open_model(run_id, parent_run_id, told, metadata, kwargs)

    def on_llm_start(
        self,
        serialized: dict[str, Any] | None,
        prompts: list[str],
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a stage for a call of a model that completes text."""
        self._open_model(run_id, parent_run_id, prompts, metadata, kwargs)

    def on_llm_end(self, response: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """Record tokens and time of the call, and close its stage."""
        run = self._runs.get(run_id)
        if run is None:
            return
        usage = _read_usage(response)
        self._trace.emit_on(
            run.span_id,
            "MODEL_CALL",
            {
                "model": run.model,
                "prompt_tokens": usage[0],
                "completion_tokens": usage[1],
                "seconds": (time.perf_counter_ns() - run.started_ns) / 1e9,
                "prompt": run.prompt,
            },
        )
        self._close(run_id, None)

    def on_llm_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Record the failed call, and close its stage."""
        if run := self._runs.get(run_id):
            seconds = (time.perf_counter_ns() - run.started_ns) / 1e9
            told = f"{type(error).__name__}: {error}"[:_CUT]
            call = {"model": run.model, "seconds": seconds, "prompt": run.prompt, "error": told}
            self._trace.emit_on(run.span_id, "MODEL_CALL", call)
        self._close(run_id, error)

    # Tools and retrievers

    def on_tool_start(
        self,
        serialized: dict[str, Any] | None,
        input_str: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a stage for a tool."""
        name = str(kwargs.get("name") or (serialized or {}).get("name") or "tool")
        self._open(run_id, parent_run_id, name, "tool", {"input": input_str[:_CUT]})

    def on_tool_end(self, output: Any, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any) -> None:
        """Close the tool's stage."""
        self._close(run_id, None, {"output": str(getattr(output, "content", output))[:_CUT]})

    def on_tool_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Close the tool's stage: failed, or paused where it waits for somebody."""
        self._close(run_id, error)

    def on_retriever_start(
        self,
        serialized: dict[str, Any] | None,
        query: str,
        *,
        run_id: UUID,
        parent_run_id: UUID | None = None,
        tags: list[str] | None = None,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        """Open a stage for a retriever."""
        self._open(run_id, parent_run_id, str(kwargs.get("name") or "retriever"), "retriever", {"input": query[:_CUT]})

    def on_retriever_end(
        self, documents: Sequence[Any], *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Close the retriever's stage."""
        self._close(run_id, None, {"documents": len(documents)})

    def on_retriever_error(
        self, error: BaseException, *, run_id: UUID, parent_run_id: UUID | None = None, **kwargs: Any
    ) -> None:
        """Close the retriever's stage as failed."""
        self._close(run_id, error)

    # Waiting and going on

    def on_interrupt(self, event: GraphInterruptEvent) -> None:
        """Record what the graph waits for."""
        asked = [str(interrupt.value)[:_CUT] for interrupt in event.interrupts]
        self._trace.pause("interrupt", waiting_for="; ".join(asked), checkpoint=event.checkpoint_id)

    def on_resume(self, event: GraphResumeEvent) -> None:
        """Record that the graph goes on from a checkpoint."""
        self._trace.resume(checkpoint=event.checkpoint_id)

    def note_update(self, part: Mapping[str, Any]) -> None:
        """Record the nodes whose result came from LangGraph's cache: they call no handler, only the stream tells."""
        if not isinstance(about := part.get("__metadata__"), Mapping) or not about.get("cached"):
            return
        for name in part:
            if name != "__metadata__":
                self._trace.cache_hit(name, kind="agent")

    # Within

    def _open(
        self,
        run_id: UUID,
        parent: UUID | None,
        name: str,
        kind: StageKind,
        facts: Mapping[str, object],
        node: str = "",
    ) -> _Run:
        span_id = self._trace.open_span(name, self._span_of(parent), facts, kind)
        node = node or (self._runs[parent].node if parent in self._runs else "")
        self._runs[run_id] = run = _Run(span_id, parent, name, node, time.perf_counter_ns())
        return run

    def _open_model(
        self,
        run_id: UUID,
        parent: UUID | None,
        told: Sequence[str],
        metadata: Mapping[str, Any] | None,
        more: Mapping[str, Any],
    ) -> None:
        asked = more.get("invocation_params") or {}
        model = str((metadata or {}).get("ls_model_name") or asked.get("model") or asked.get("model_name") or "")
        run = self._open(run_id, parent, str(more.get("name") or model or "model"), "model", {"model": model})
        run.model = model
        run.prompt = _hash_parts(told)

    def _close(self, run_id: UUID, error: BaseException | None, facts: Mapping[str, object] | None = None) -> None:
        if run := self._runs.pop(run_id, None):
            seconds = (time.perf_counter_ns() - run.started_ns) / 1e9
            self._trace.close_span(run.span_id, seconds, error, facts or {}, paused=isinstance(error, GraphBubbleUp))

    def _count_try(self, run: _Run, place: str) -> None:
        """A node that runs again in the same place is a retry: LangGraph tells its handlers of the runs alone."""
        count, error = self._tries.get((run.node, place), (0, ""))
        self._tries[run.node, place] = (count + 1, "")
        if count and error:
            self._trace.emit_on(run.span_id, "RETRY", {"attempt": count, "error": error})

    def _span_of(self, run_id: UUID | None) -> str:
        run = self._runs.get(run_id) if run_id else None
        return run.span_id if run else self._outer

    def _find_span(self) -> str:
        try:
            callbacks = get_config().get("callbacks")
        except RuntimeError:  # not inside a graph
            return ""
        run = self._runs.get(getattr(callbacks, "parent_run_id", None))  # type: ignore[arg-type]  # None is no key
        return run.span_id if run else ""


async def run_recorded(
    graph: Any, given: Any, trace: Trace, config: Mapping[str, Any] | None = None, **options: Any
) -> AsyncIterator[Mapping[str, Any]]:
    """Run a compiled graph, recording it into a trace; yield the update of each node as it ends.

    Unlike the handler alone, this also sees nodes whose result came from the cache.
    """
    handler = TraceCallbacks(trace)
    others = (config or {}).get("callbacks") or []
    together = {**(config or {}), "callbacks": [*others, handler]}
    async for part in graph.astream(given, together, stream_mode="updates", **options):
        handler.note_update(part)
        yield part


def _tell_message(message: BaseMessage) -> tuple[str, str]:
    """Return what a message is known by: its type and text, or all of it where there is more than text."""
    if isinstance(message.content, str) and message.type in _PLAIN and not _has_more(message):
        return message.type, message.content
    return "message", json.dumps(message.model_dump(mode="json"), sort_keys=True, default=str)


def _has_more(message: BaseMessage) -> bool:
    return bool(message.additional_kwargs or getattr(message, "tool_calls", None))


def _hash_parts(parts: Sequence[str]) -> str:
    # With their lengths, so that what is in one part cannot be taken for the next.
    lengths = ",".join(str(len(part)) for part in parts)
    return blake3("\n".join((lengths, *parts)).encode("utf-8", "surrogatepass")).hexdigest()


def _read_ways(outputs: Any, is_way: bool) -> tuple[str, ...]:
    held = outputs if isinstance(outputs, list | tuple) else [outputs]
    ways: list[str] = []
    for item in held:
        if isinstance(item, Command):
            goto = item.goto if isinstance(item.goto, list | tuple) else [item.goto]
            ways += [send.node if isinstance(send, Send) else str(send) for send in goto if send]
        elif is_way and isinstance(item, Send):
            ways.append(item.node)
        elif is_way and isinstance(item, str):
            ways.append(item)
    return tuple(ways)


def _read_usage(response: Any) -> tuple[int, int]:
    """Return the tokens of a prompt and of its completion, as chat models or older ones tell them; 0 where untold."""
    try:
        usage = response.generations[0][0].message.usage_metadata or {}
    except (AttributeError, IndexError):
        usage = {}
    told = (getattr(response, "llm_output", None) or {}).get("token_usage") or {}
    asked = usage.get("input_tokens", told.get("prompt_tokens", 0))
    return int(asked or 0), int(usage.get("output_tokens", told.get("completion_tokens", 0)) or 0)

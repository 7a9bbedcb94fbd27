"""The checkpointer keeps LangGraph's contract on MariaDB, and a paused graph goes on in another process's stead."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any, TypedDict

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt

from domain.errors import StorageUnavailable
from storage.checkpoints import open_checkpoints
from storage.database import Database


@dataclass(frozen=True, slots=True)
class Held:
    """A class of ours in a state."""

    name: str


class Asked(TypedDict, total=False):
    """The state of the graph below."""

    held: Held
    reply: str


def ask(state: Asked) -> Asked:
    return {"reply": str(interrupt({"held": state["held"].name}))}


def compile_graph(saver: BaseCheckpointSaver[str]) -> CompiledStateGraph[Asked, None, Asked, Asked]:
    graph: StateGraph[Asked, None, Asked, Asked] = StateGraph(Asked)
    graph.add_node("ask", ask)
    graph.add_edge(START, "ask")
    graph.add_edge("ask", END)
    return graph.compile(checkpointer=saver)


async def test_the_contract_of_checkpointers_holds(database: Database) -> None:
    @checkpointer_test(name="MariaDB")
    async def saver() -> AsyncIterator[BaseCheckpointSaver[str]]:
        async with open_checkpoints(database) as opened:
            yield opened

    report = await validate(saver)
    assert report.passed_all_base(), report.to_dict()


async def test_a_paused_graph_goes_on_where_it_was(database: Database, environment: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": environment}}
    async with open_checkpoints(database, Held) as saver:
        paused = await compile_graph(saver).ainvoke({"held": Held("paused")}, config)
    assert paused["__interrupt__"][0].value == {"held": "paused"}
    async with open_checkpoints(database, Held) as saver:
        ended = await compile_graph(saver).ainvoke(Command(resume="go on"), config)
    assert ended == {"held": Held("paused"), "reply": "go on"}


async def test_classes_that_nobody_named_are_not_made(database: Database, environment: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": environment}}
    async with open_checkpoints(database) as saver:
        await compile_graph(saver).ainvoke({"held": Held("paused")}, config)
        found = await saver.aget_tuple(config)
    assert found is not None
    assert not isinstance(found.checkpoint["channel_values"]["held"], Held)


async def test_a_lost_connection_is_opened_again(database: Database, environment: str) -> None:
    config: RunnableConfig = {"configurable": {"thread_id": environment}}
    async with open_checkpoints(database, Held) as saver:
        graph = compile_graph(saver)
        await graph.ainvoke({"held": Held("x")}, config)
        pool: Any = vars(saver)["conn"]
        async with pool.acquire() as connection:
            connection.close()
        waiting = [graph.aget_state(config) for _ in range(3)]
        assert all(state.next == ("ask",) for state in await asyncio.gather(*waiting))


async def test_a_server_that_is_away_is_named_as_such() -> None:
    away = Database("mariadb://nobody@localhost/none?unix_socket=/nowhere/at-all.sock")
    async with open_checkpoints(away) as saver:
        with pytest.raises(StorageUnavailable, match="cannot be reached"):
            await saver.aget_tuple({"configurable": {"thread_id": "any"}})
    await away.close()

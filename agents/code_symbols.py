"""Names in indexed code: where they are defined, and from the code graph who calls, inherits and logs."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from agents.code_places import bounded, load_code, place_of, wanted_text
from agents.replies import read_time
from domain.errors import GraphError, QuestionError
from graph.code import MAX_HOPS, CodeGraph, read_symbol_id, symbol_id
from indexer.code_graph import holds_generation
from indexer.linking import Reference

if TYPE_CHECKING:
    from agents.services import Services
    from domain.code import Symbol
    from indexer.code_index import IndexedFile
    from indexer.search import Loaded

_MOST = 50


async def find_symbol(services: Services, name: str, limit: int, hops: int = 1, at: str = "") -> dict[str, Any]:
    """The definitions of a name: who calls each (within `hops` calls, as of `at`), whether that is known or guessed, what
    inherits from it, which log templates it writes, and what it calls.

    `note` says why callers were read from the present files alone, where the code graph could not be asked.
    """
    if not 1 <= hops <= MAX_HOPS:
        raise QuestionError(f"`hops` is from 1 to {MAX_HOPS}.")
    moment_us = read_time("at", at)
    loaded = await load_code(services.code, linked=True)
    graph = _Graph(CodeGraph(services.graph.connection), loaded, moment_us, hops)
    found = []
    for file, symbol in await services.code.by_symbol(wanted_text(name, "a name"), bounded(limit)):
        calls = loaded.calls_of(file, symbol.qualified)
        found.append(
            place_of(loaded, file, symbol.start_line, symbol.qualified)
            | {"kind": symbol.kind, "end_line": symbol.end_line, "signature": symbol.signature, "doc": symbol.doc}
            | await graph.around(file, symbol)
            | {"calls": [_callee(r) for r in calls[:_MOST]]}
        )
    return {"name": name, "results": found, "note": graph.note}


class _Graph:
    """Asks the code graph, or the links of the present files where the graph is away or of another state."""

    def __init__(self, graph: CodeGraph, loaded: Loaded, moment_us: int | None, hops: int) -> None:
        self._graph = graph
        self._loaded = loaded
        self._moment_us = time.time_ns() // 1000 if moment_us is None else moment_us
        self._past = moment_us is not None
        self._hops = hops
        self._current: dict[str, bool] = {}
        self.note = ""

    async def around(self, file: IndexedFile, symbol: Symbol) -> dict[str, Any]:
        """Return callers, heirs and logs of a definition."""
        try:
            if await self._holds(file.root):
                return await self._ask(file, symbol)
        except GraphError as exc:
            self.note = f"The code graph cannot be asked, so these are the direct callers in the present files: {exc}"
        callers = self._loaded.callers_of(file, symbol.qualified)
        return {"callers": [_caller(r) for r in callers[:_MOST]], "heirs": [], "logs": []}

    async def _ask(self, file: IndexedFile, symbol: Symbol) -> dict[str, Any]:
        key = symbol_id(file.path, symbol.qualified)
        callers = await self._graph.callers(file.root, key, self._moment_us, self._hops)
        heirs = await self._graph.heirs(file.root, key, self._moment_us) if symbol.kind == "class" else []
        logs = await self._graph.templates(file.root, key, self._moment_us)
        return {
            "callers": [
                {"path": c.path, "line": c.line, "symbol": c.symbol, "sure": c.sure, "hops": c.hops, "calls": c.callee}
                for c in callers[:_MOST]
            ],
            "heirs": [dict(zip(("path", "symbol"), read_symbol_id(heir), strict=True)) for heir in heirs[:_MOST]],
            "logs": [{"template": str(template), "line": line, "sure": sure} for template, line, sure in logs[:_MOST]],
        }

    async def _holds(self, root: str) -> bool:
        """Say whether the graph of a root is of the present files, or is asked about the past, which it alone knows."""
        if root not in self._current:
            state = await self._graph.state(root)
            self._current[root] = bool(state) and (self._past or holds_generation(state, self._loaded.roots[root]))
            if not self._current[root]:
                self.note = (
                    "The code graph is behind the index, so these are the direct callers in the present files: "
                    "`causegraph index sync` brings it up to date."
                )
        return self._current[root]


def _caller(reference: Reference) -> dict[str, Any]:
    return {
        "path": reference.caller_path,
        "line": reference.line,
        "symbol": reference.caller,
        "sure": reference.sure,
        "hops": 1,
        "calls": reference.callee,
    }


def _callee(reference: Reference) -> dict[str, Any]:
    return {"path": reference.callee_path, "symbol": reference.callee, "line": reference.line, "sure": reference.sure}

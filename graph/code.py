"""The code graph: who calls whom, what is defined where, which line writes which log. One FalkorDB graph per code root.

Nodes: `File` (by `path`; a folder's ends with /), `Symbol` (by `id`, see `symbol_id`), `LogTemplate` (by `id`), `Service`.
Edges: `DEFINED_IN` symbol -> file, `CALLS` symbol -> symbol, `REFERENCES` class -> what it inherits from, `LOGS` symbol ->
template, `DEPLOYED_AS` file tree -> service. Times are as in the topology: half-open intervals in microseconds since 1970.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from graph.ontology import BATCH

if TYPE_CHECKING:
    from graph.connection import GraphConnection

type CodeEdgeKind = Literal["DEFINED_IN", "CALLS", "REFERENCES", "LOGS", "DEPLOYED_AS"]

KINDS: Final[tuple[CodeEdgeKind, ...]] = get_args(CodeEdgeKind.__value__)
OBSERVER: Final = "index"
MAX_HOPS: Final = 5

_ENDS: Final[dict[CodeEdgeKind, tuple[str, str]]] = {
    "DEFINED_IN": ("symbols", "files"),
    "CALLS": ("symbols", "symbols"),
    "REFERENCES": ("symbols", "symbols"),
    "LOGS": ("symbols", "templates"),
    "DEPLOYED_AS": ("files", "services"),
}
_INDEXES = ("code_index_files", "code_index_symbols", "code_index_templates", "code_index_services")
_MOST = 2_000


@dataclass(frozen=True, slots=True)
class CodeEdge:
    """One edge over one interval; `valid_to_us` None means until further notice.

    `line` is where in the source's file it is (0 where that means nothing). `sure` is False for a guess.
    """

    kind: CodeEdgeKind
    source: str
    target: str
    valid_from_us: int
    valid_to_us: int | None = None
    line: int = 0
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Caller:
    """A symbol that leads to another by `hops` calls; `line` is where it makes the first of them."""

    path: str
    symbol: str
    line: int
    sure: bool
    hops: int
    callee: str


def symbol_id(path: str, qualified: str) -> str:
    """Return what names a symbol: the path of its file and its qualified name ("" is the top of the file)."""
    return f"{path}::{qualified}"


def read_symbol_id(key: str) -> tuple[str, str]:
    """Return (path, qualified name) of a symbol's id. A path that holds `::` itself is cut there."""
    path, _, qualified = key.partition("::")
    return path, qualified


class CodeGraph:
    """Reads and writes the code graphs of one FalkorDB; raises GraphError and GraphUnavailable."""

    def __init__(self, connection: GraphConnection) -> None:
        self._connection = connection

    # -- writing -------------------------------------------------------------------------------------------------------

    async def write_anew(self, root: str, edges: Iterable[CodeEdge], state: str) -> None:
        """Replace the graph of a root. `state` is noted last: a graph without it is not whole."""
        await self._connection.drop(_key(root))
        await self._connection.ensure_indexes(_key(root), _INDEXES)
        await self.write_edges(root, edges)
        await self._write(root, "code_follow_to", {"state": state})

    async def write_step(
        self, root: str, written: Iterable[CodeEdge], forgotten: Iterable[CodeEdge], state: str
    ) -> None:
        """Bring the graph of a root from one state to the next: absolute values, so a step can be taken twice."""
        await self.write_edges(root, written)
        gone: defaultdict[CodeEdgeKind, list[dict[str, object]]] = defaultdict(list)
        for edge in forgotten:
            gone[edge.kind].append(_row(edge))
        for kind, rows in gone.items():
            for part in batched(rows, BATCH):
                await self._write(root, f"code_forget_{kind.lower()}", {"edges": part})
        if gone:
            await self._write(root, "code_forget_lone", {})
        await self._write(root, "code_follow_to", {"state": state})

    async def write_edges(self, root: str, edges: Iterable[CodeEdge]) -> None:
        """Write edges, or bring what is known of them up to date, with the nodes at their ends."""
        by_kind: defaultdict[CodeEdgeKind, list[CodeEdge]] = defaultdict(list)
        nodes: defaultdict[str, dict[str, None]] = defaultdict(dict)
        for edge in edges:
            by_kind[edge.kind].append(edge)
            for label, end in zip(_ENDS[edge.kind], (edge.source, edge.target), strict=True):
                nodes[label][end] = None
        for label, ends in nodes.items():
            for part in batched(ends, BATCH):
                await self._write(root, f"code_add_{label}", {"nodes": [_node(label, end) for end in part]})
        for kind, group in by_kind.items():
            for rows in batched(group, BATCH):
                await self._write(root, f"code_write_{kind.lower()}", {"edges": [_row(edge) for edge in rows]})

    async def drop(self, root: str) -> None:
        """Delete the graph of a root, if there is one."""
        await self._connection.drop(_key(root))

    # -- reading -------------------------------------------------------------------------------------------------------

    async def state(self, root: str) -> str:
        """Return the state that was noted last, "" where there is no whole graph."""
        rows = await self._read(root, "code_followed_to", {})
        return str(rows[0][0]) if rows else ""

    async def edges(self, root: str) -> list[CodeEdge]:
        """Return every edge, ended ones included, in an order that is always the same."""
        found = [
            CodeEdge(kind, str(row[0]), str(row[1]), int(row[2]), row[3], int(row[4]), bool(row[5]))
            for kind in KINDS
            for row in await self._read(root, f"code_all_{kind.lower()}", {})
        ]
        return sorted(found, key=lambda e: (e.kind, e.source, e.target, e.valid_from_us))

    async def callers(self, root: str, symbol: str, moment_us: int, hops: int = 1) -> list[Caller]:
        """Return who called a symbol at a moment, directly or within some hops (at most 5), the nearest first."""
        found: dict[str, Caller] = {}
        frontier = [symbol]
        for hop in range(1, min(hops, MAX_HOPS) + 1):
            values = {"symbols": frontier, "moment_us": moment_us, "limit": _MOST}
            rows = await self._read(root, "code_callers", values) if frontier else []
            frontier = []
            for source, target, line, sure in rows:
                if source in found or source == symbol:
                    continue
                path, qualified = read_symbol_id(source)
                found[source] = Caller(path, qualified, int(line), bool(sure), hop, read_symbol_id(target)[1])
                frontier.append(source)
        return list(found.values())

    async def heirs(self, root: str, symbol: str, moment_us: int) -> list[str]:
        """Return the ids of the classes that inherited from one at a moment."""
        values = {"symbol": symbol, "moment_us": moment_us}
        return [str(row[0]) for row in await self._read(root, "code_heirs", values)]

    async def templates(self, root: str, symbol: str, moment_us: int) -> list[tuple[int, int, bool]]:
        """Return (id of the log template, line, sure) of what a symbol writes."""
        values = {"symbol": symbol, "moment_us": moment_us}
        rows = await self._read(root, "code_templates", values)
        return [(int(row[0]), int(row[1]), bool(row[2])) for row in rows]

    async def writers(self, root: str, template: int, moment_us: int) -> list[tuple[str, int, bool]]:
        """Return (id of the symbol, line, sure) of what writes a log template."""
        values = {"template": str(template), "moment_us": moment_us}
        rows = await self._read(root, "code_writers", values)
        return [(str(row[0]), int(row[1]), bool(row[2])) for row in rows]

    async def _read(self, root: str, query: str, values: dict[str, object]) -> list[list[Any]]:
        return await self._connection.read(_key(root), query, values)

    async def _write(self, root: str, query: str, values: dict[str, object]) -> None:
        await self._connection.write(_key(root), query, values)


def _key(root: str) -> str:
    return f"causegraph-code:{root}"


def _node(label: str, key: str) -> dict[str, Sequence[str] | str]:
    if label != "symbols":
        return {"key": key}
    path, name = read_symbol_id(key)
    return {"key": key, "path": path, "name": name}


def _row(edge: CodeEdge) -> dict[str, object]:
    return {
        "source": edge.source,
        "target": edge.target,
        "valid_from_us": edge.valid_from_us,
        "valid_to_us": edge.valid_to_us,
        "line": edge.line,
        "sure": edge.sure,
        "observed_by": OBSERVER,
    }

"""The driver of FalkorDB behind one small door: named queries with parameters on named graphs, errors translated.

Every statement is a named query of `queries/*.cypher`. Writes carry absolute values, so a statement that ran twice did
no harm; still the client never sends one again by itself.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from falkordb.asyncio import FalkorDB
from redis.asyncio import BlockingConnectionPool, Redis
from redis.exceptions import AuthenticationError, NoPermissionError, RedisError, ResponseError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from domain.errors import GraphError, GraphUnavailable, SettingsError

_CONNECTIONS = 8
_CONNECT_SECONDS = 5.0
_QUERY_SECONDS = 60.0
_NO_GRAPH = "empty key"


def _load_queries(folder: Path) -> dict[str, str]:
    queries: dict[str, str] = {}
    for path in sorted(folder.glob("*.cypher")):
        parts = re.split(r"^// name: (\w+)\s*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in queries:
                raise ValueError(f"query {name} is defined twice")
            queries[name] = "\n".join(line for line in body.splitlines() if not line.startswith("//")).strip()
    return queries


QUERIES = _load_queries(Path(__file__).parent / "queries")


def translate_error(exc: Exception, query: str = "") -> GraphError:
    """Return our error for a driver's; what was asked is named, the values never are."""
    where = f" (query {query})" if query else ""
    # A refused password comes as the cause of an error of the connection.
    if isinstance(exc, AuthenticationError | NoPermissionError) or isinstance(exc.__cause__, AuthenticationError):
        return GraphError(f"FalkorDB does not let us in: {exc}. Check CAUSEGRAPH_GRAPH_URL.")
    if isinstance(exc, RedisConnectionError | RedisTimeoutError | OSError):
        return GraphUnavailable(
            f"FalkorDB cannot be reached: {exc or type(exc).__name__}{where}. See CAUSEGRAPH_GRAPH_URL."
        )
    return GraphError(f"FalkorDB refused a query: {exc}{where}")


class GraphConnection:
    """The graphs of one FalkorDB, by their keys. Close it when done. Nothing is connected before the first query.

    `url` is `redis://host:port`, `rediss://host:port` or `unix:///path`. Every method raises GraphUnavailable where
    FalkorDB cannot be reached and GraphError for anything else it refuses; a graph that was never written to reads as
    empty.
    """

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("redis", "rediss", "unix"):
            raise SettingsError("CAUSEGRAPH_GRAPH_URL must look like redis://host:6379 or unix:///path/to/socket")
        try:
            # A pool of one's own does not retry; redis-py's default one sends a write up to ten times (notes 3.4).
            self._pool = BlockingConnectionPool.from_url(
                url,
                max_connections=_CONNECTIONS,
                timeout=None,
                socket_timeout=None,
                socket_connect_timeout=_CONNECT_SECONDS,
                decode_responses=True,
                encoding_errors="replace",
                protocol=2,
            )
        except ValueError as exc:
            raise SettingsError(f"CAUSEGRAPH_GRAPH_URL is not a URL: {exc}") from exc
        self._client: Any = None
        self._connecting = asyncio.Lock()

    async def read(self, graph: str, query: str, values: Mapping[str, object]) -> list[list[Any]]:
        """Return the rows of a query that changes nothing."""
        client = await self._connected()
        selected = client.select_graph(graph)
        result = await self._ask(query, lambda: selected.ro_query(QUERIES[query], _plain(values)))
        return [] if result is None else list(result.result_set)

    async def write(self, graph: str, query: str, values: Mapping[str, object]) -> None:
        """Run a query that may change the graph."""
        client = await self._connected()
        selected = client.select_graph(graph)
        await self._ask(query, lambda: selected.query(QUERIES[query], _plain(values)))

    async def ensure_indexes(self, graph: str, names: tuple[str, ...]) -> None:
        """Run queries that create indexes, of which some may be there."""
        for name in names:
            try:
                await self.write(graph, name, {})
            except GraphError as exc:
                if "already indexed" not in str(exc):
                    raise

    async def drop(self, graph: str) -> None:
        """Delete a whole graph, if there is one."""
        client = await self._connected()
        await self._ask("drop", client.select_graph(graph).delete)

    async def incarnation(self) -> str:
        """Return a name for the server's present run: after a restart or a fail-over it is another one."""
        client = await self._connected()
        return str((await self._ask("incarnation", lambda: client.connection.info("server")))["run_id"])

    async def ping(self) -> str:
        """Return FalkorDB's version."""
        client = await self._connected()
        modules = await self._ask("ping", lambda: client.connection.execute_command("MODULE", "LIST"))
        for module in modules:
            facts = dict(zip(module[::2], module[1::2], strict=True))
            if facts["name"] == "graph":
                number = int(facts["ver"])
                return f"{number // 10_000}.{number // 100 % 100}.{number % 100}"
        raise GraphError("This Redis has no FalkorDB module: point CAUSEGRAPH_GRAPH_URL at a FalkorDB.")

    async def close(self) -> None:
        """Close every connection."""
        await self._pool.aclose()

    async def _connected(self) -> Any:
        """Return the client. Its constructor asks the server whether it is a cluster, in blocking I/O: so in a thread,
        and only once a connection has shown that there is a server."""
        async with self._connecting:
            if self._client is None:
                await self._ask("connect", Redis(connection_pool=self._pool).ping)
                self._client = await self._ask(
                    "connect", lambda: asyncio.to_thread(FalkorDB, connection_pool=self._pool)
                )
        return self._client

    async def _ask(self, query: str, call: Callable[[], Any]) -> Any:
        """Await a call; return None where the environment has no graph yet."""
        try:
            async with asyncio.timeout(_QUERY_SECONDS):
                return await call()
        except ResponseError as exc:
            if _NO_GRAPH in str(exc):
                return None
            raise translate_error(exc, query) from exc
        except (RedisError, OSError) as exc:
            raise translate_error(exc, query) from exc


def _plain(values: Any) -> Any:
    """Return parameters without the character 0, at which FalkorDB's parser stops reading a text."""
    if isinstance(values, str):
        return values.replace("\0", "�")
    if isinstance(values, Mapping):
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    return values

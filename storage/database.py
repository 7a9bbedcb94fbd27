"""The one door to MariaDB: named queries, transactions, and driver errors translated at the border.

The driver is synchronous and lives in a small pool of threads that this adapter owns, one connection per thread. A
caller that is cancelled cannot leave a half-read reply on a connection: the thread finishes the exchange (the
asynchronous side of the driver hands the next caller the cancelled one's rows).
"""

from __future__ import annotations

import asyncio
import io
import os
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from domain.errors import SettingsError, StorageError, StorageFull, StorageRefused, StorageUnavailable

# Which implementation the driver picks must not depend on what else is installed; the others fail on cancellation.
os.environ["MARIADB_PYTHON_CONNECTOR"] = "python"

import contextlib

import mariadb
import msgspec
from mariadb.impl.client import sync_client
from mariadb.impl.client.sync_client import SyncClient

type Row = tuple[Any, ...]

_DEADLOCKS = {1020, 1205, 1213}  # changed since read, lock wait time-out, deadlock: the transaction can run again
_LOST = {1053, 1152, 1927, 2002, 2003, 2005, 2006, 2013, 2055}
_BAD_ADDRESS = {1044, 1045, 1049, 1129, 1130, 1698}  # no such user, password, database; host blocked, not allowed
_BUSY = _DEADLOCKS | {1040, 1203, 1226}  # after several tries; too many connections
_FULL = {3, 28, 1021, 1030, 1041, 1114}
# Null, out of range, cut short, no time, no text of this character set, too long, too large a number, a constraint.
_REFUSED = {1048, 1264, 1265, 1292, 1366, 1406, 1690, 4025}
_NO_FILES = {1148, 4166}  # LOAD DATA LOCAL is switched off there
_TRIES = 6
_BULK = 1000
_READ_BYTES = 1024 * 1024
_PART = re.compile(r"\{\{(\w+)\}\}")


def _load_queries(folder: Path) -> dict[str, str]:
    """Return the queries of a folder by name; `{{name}}` in one stands for the text of another."""
    queries: dict[str, str] = {}
    for path in sorted(folder.glob("*.sql")):
        parts = re.split(r"^-- name: (\w+)\s*$", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        for name, body in zip(parts[1::2], parts[2::2], strict=True):
            if name in queries:
                raise ValueError(f"query {name} is defined twice")
            queries[name] = "\n".join(line for line in body.splitlines() if not line.startswith("--")).strip()
    return {name: _PART.sub(lambda part: queries[part[1]], body) for name, body in queries.items()}


QUERIES = _load_queries(Path(__file__).parent / "queries")


def parse_database_url(url: str) -> dict[str, Any]:
    """Return the driver's connect arguments for `mariadb://user:password@host:port/name?unix_socket=...`."""
    try:
        parts = urlsplit(url)
        port = parts.port or 3306
    except ValueError as exc:
        raise SettingsError(f"CAUSEGRAPH_DATABASE_URL is not a URL: {exc}") from exc
    name = unquote(parts.path.lstrip("/"))
    if parts.scheme not in ("mariadb", "mysql") or not name or not (parts.hostname or parts.query):
        raise SettingsError("CAUSEGRAPH_DATABASE_URL must look like mariadb://user:password@host:3306/name")
    arguments: dict[str, Any] = {"user": unquote(parts.username or ""), "database": name, "connect_timeout": 5}
    if parts.password:
        arguments["password"] = unquote(parts.password)
    socket = parse_qs(parts.query).get("unix_socket")
    if socket:
        arguments["unix_socket"] = socket[0]
    else:
        arguments |= {"host": parts.hostname, "port": port}
    return arguments


def translate_error(exc: Exception, query: str = "") -> StorageError:
    """Return our error for a driver's; what was asked is named, the values never are."""
    number = getattr(exc, "errno", None)
    where = f" (query {query})" if query else ""
    if number in _BAD_ADDRESS:
        return StorageUnavailable(f"MariaDB does not let us in: {exc}. Check CAUSEGRAPH_DATABASE_URL.")
    if number in _BUSY:
        return StorageUnavailable(f"MariaDB is too busy: {exc}{where}. Send again.")
    # A connection that breaks while open is reported without a number, with the socket's error as its context.
    broken = isinstance(exc, OSError | mariadb.InterfaceError) or isinstance(exc.__context__, OSError)
    if broken or number in _LOST:
        advice = "Run `causegraph status`, or check CAUSEGRAPH_DATABASE_URL."
        return StorageUnavailable(f"MariaDB cannot be reached: {exc}{where}. {advice}")
    if number in _FULL or "disk full" in str(exc).lower() or "no space left" in str(exc).lower():
        return StorageFull(f"The database has no room left: {exc}. Free some disk space, then send again.")
    kind = StorageRefused if number in _REFUSED else StorageError
    return kind(f"MariaDB refused a statement: {exc}{where}")


def _ensure_space(client: SyncClient, needed: int) -> None:
    """Make room for an answer by doubling the driver's buffer.

    The driver itself adds 16 KiB at a time and copies what it has each time: an answer of 30 MB took 15 s of CPU.
    """
    held = client._recv_buf_capacity
    if held - client._recv_len < needed:
        client._recv_buf = client._recv_buf + bytearray(max(held, needed))  # a new one: there are views of the old one
        client._recv_buf_mv = memoryview(client._recv_buf)
        client._recv_buf_capacity = len(client._recv_buf)


class _LargeReads(io.BufferedReader):
    """A file that is read a megabyte at a time, whatever is asked for."""

    def read(self, size: int | None = -1) -> bytes:
        return super().read(_READ_BYTES)


def _open_largely(path: str, mode: str) -> _LargeReads:
    """Open a file that the driver sends to the server.

    It would send it in pieces of 16 KiB. Each costs a turn with all that runs in Python, so that the server waits.
    """
    return _LargeReads(io.FileIO(path, mode.removesuffix("b")))


SyncClient._ensure_space = _ensure_space
sync_client.open = _open_largely  # in its module, the name means ours


class Transaction:
    """What runs between BEGIN and COMMIT, in one thread. Statements are named queries with `?` parameters."""

    def __init__(self, cursor: Any) -> None:
        self._cursor = cursor

    def fetch(self, name: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        self._cursor.execute(QUERIES[name], tuple(parameters))
        return [tuple(row) for row in self._cursor.fetchall()]

    def execute(self, name: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return how many rows it touched."""
        self._cursor.execute(QUERIES[name], tuple(parameters))
        return max(0, int(self._cursor.rowcount))

    def execute_many(self, name: str, rows: Iterable[Sequence[Any]]) -> int:
        """Run a statement for every row, in bulk, and return how many rows were touched."""
        touched = 0
        pending = [tuple(row) for row in rows]
        for at in range(0, len(pending), _BULK):
            self._cursor.executemany(QUERIES[name], pending[at : at + _BULK])
            touched += max(0, int(self._cursor.rowcount))
        return touched

    def execute_rows(self, name: str, rows: Sequence[Sequence[Any]]) -> int:
        """Run a statement whose one parameter is all its rows, as a JSON array of arrays; return the rows touched."""
        cursor = self._cursor.connection.cursor(binary=True)
        cursor.execute(QUERIES[name], (msgspec.json.encode(rows),))
        touched = max(0, int(cursor.rowcount))
        cursor.close()
        return touched

    def load_rows(self, name: str, content: bytes) -> int | None:
        """Run a LOAD DATA statement over a file of this content; return how many rows were added.

        None where that is not to be had: this system has no files in memory, or the server takes none. Raises
        StorageRefused for rows that do not fit.
        """
        if not hasattr(os, "memfd_create"):
            return None
        memory = os.memfd_create("causegraph")
        try:
            with open(memory, "wb", closefd=False) as file:
                file.write(content)
            # The driver sends no file but one that stands in the statement's own text.
            self._cursor.execute(QUERIES[name].replace("?", f"'/proc/self/fd/{memory}'"))
        except mariadb.Error as exc:
            if exc.errno in _NO_FILES:
                return None
            raise
        finally:
            os.close(memory)
        if self._cursor.warnings:
            raise StorageRefused(f"MariaDB refused a statement: {self.fetch('first_warning')[0][2]} (query {name})")
        return int(self._cursor.rowcount)

    def run_script(self, statements: Iterable[str]) -> None:
        """Run whole statements as they stand (migrations only)."""
        for statement in statements:
            self._cursor.execute(statement)


class Database:
    """A pool of connections to one MariaDB. Close it when done; every method raises StorageError or a child of it."""

    def __init__(self, url: str, connections: int = 6) -> None:
        self._arguments = parse_database_url(url)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="mariadb")
        self._local = threading.local()
        self._open: list[Any] = []
        self._guard = threading.Lock()

    @property
    def address(self) -> dict[str, Any]:
        """The connect arguments, for an adapter that needs a connection of its own kind."""
        return dict(self._arguments)

    async def fetch(self, name: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a reading query; a lost connection is opened again once."""
        return await self._in_thread(self._fetch, name, parameters)

    async def execute(self, name: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement in a transaction of its own and return how many rows it touched."""
        return await self.transaction(lambda tx: tx.execute(name, parameters))

    async def transaction[T](self, work: Callable[[Transaction], T]) -> T:
        """Run `work` between BEGIN and COMMIT; deadlocks run it again, so it must have no other side effects."""
        return await self._in_thread(self._transact, work)

    async def ping(self) -> str:
        """Return the server's version, or raise StorageUnavailable."""
        return str((await self.fetch("server_version"))[0][0])

    async def close(self) -> None:
        """Close every connection, after the statements under way have ended."""
        await asyncio.to_thread(self._threads.shutdown)
        for connection in self._open:
            _close_quietly(connection)
        self._open.clear()

    async def _in_thread[T](self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    def _connection(self) -> Any:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            try:
                connection = mariadb.connect(**self._arguments, autocommit=False)
                cursor = connection.cursor()
                cursor.execute(QUERIES["session_settings"])
                cursor.close()
            except (mariadb.Error, OSError) as exc:
                raise translate_error(exc) from exc
            self._local.connection = connection
            with self._guard:
                self._open.append(connection)
        return connection

    def _drop_connection(self) -> None:
        connection = getattr(self._local, "connection", None)
        self._local.connection = None
        if connection is not None:
            with self._guard:
                self._open.remove(connection)
            _close_quietly(connection)

    def _fetch(self, name: str, parameters: Sequence[Any]) -> list[Row]:
        return self._transact(lambda tx: tx.fetch(name, parameters), name)

    def _transact[T](self, work: Callable[[Transaction], T], name: str = "") -> T:
        for attempt in range(_TRIES):
            kept = getattr(self._local, "connection", None) is not None
            connection = self._connection()
            committing = False
            try:
                cursor = connection.cursor()
                result = work(Transaction(cursor))
                committing = True
                connection.commit()
            except (mariadb.Error, OSError) as exc:
                error = translate_error(exc, name)
                deadlock = getattr(exc, "errno", None) in _DEADLOCKS
                if isinstance(error, StorageUnavailable) and not deadlock:
                    self._drop_connection()
                    # A connection kept from before may have died with a restart of the server. Nothing was committed
                    # on it, unless it broke during the commit itself: only then it must not run again.
                    if kept and not committing:
                        continue
                    raise error from exc
                self._roll_back(connection)
                if not deadlock or attempt == _TRIES - 1:
                    raise error from exc
                time.sleep(0.01 * 2**attempt)
            except BaseException:
                self._roll_back(connection)
                raise
            else:
                cursor.close()
                return result
        raise StorageUnavailable

    def _roll_back(self, connection: Any) -> None:
        try:
            connection.rollback()
        except (mariadb.Error, OSError):
            self._drop_connection()


def _close_quietly(connection: Any) -> None:
    with contextlib.suppress(mariadb.Error, OSError):
        connection.close()

"""Driver errors come out as ours, and lost connections and deadlocks are got over."""

from __future__ import annotations

import asyncio
import errno
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import mariadb
import pytest
from mariadb.impl.client.sync_client import SyncClient

from cli.stack import StackHandle
from domain.errors import SettingsError, StorageError, StorageFull, StorageRefused, StorageUnavailable
from storage import database as module
from storage.database import QUERIES, Database, Transaction, parse_database_url, translate_error

type Open = Callable[[str], Awaitable[Database]]

_NUMBERS = "numbers AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM numbers WHERE n < 900)"
_ONE_OR_TWO = "(SELECT 1 AS o UNION SELECT 2) AS some WHERE o = 1 OR n > 800"
ADDED = {
    "t_make": "CREATE TABLE counter (id INT PRIMARY KEY, n INT NOT NULL) ENGINE=InnoDB",
    "t_fill": "INSERT INTO counter VALUES (1, 0), (2, 0)",
    "t_add": "UPDATE counter SET n = n + 1 WHERE id = ?",
    "t_read": "SELECT n FROM counter ORDER BY id",
    "t_id": "SELECT CONNECTION_ID()",
    "t_kill": "KILL ?",
    "t_load": "LOAD DATA LOCAL INFILE ? INTO TABLE counter",
    "t_missing": "SELECT * FROM there_is_no_such_table",
    "t_sleep": "SELECT SLEEP(?)",
    "t_large": f"WITH RECURSIVE {_NUMBERS} SELECT n, REPEAT('x', 1000) FROM numbers",  # noqa: S608
    "t_half": f"WITH RECURSIVE {_NUMBERS} SELECT n, REPEAT('x', 1000), (SELECT o FROM {_ONE_OR_TWO}) FROM numbers",  # noqa: S608
}


@pytest.fixture(autouse=True)
def queries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, query in ADDED.items():
        monkeypatch.setitem(QUERIES, name, query)


@pytest.fixture
async def own(fresh_url: Callable[[], str], open_database: Open) -> Database:
    """A database of the test's own, with a table of two counters."""
    database = await open_database(fresh_url())
    await database.execute("t_make")
    await database.execute("t_fill")
    return database


@pytest.mark.parametrize(
    "url",
    [
        "mariadb://someone@127.0.0.1:1/name",
        "mariadb://someone@localhost/name?unix_socket=/nowhere/at.all",
        "mariadb://someone@host.invalid:3306/name",
    ],
)
async def test_a_server_that_is_not_there(open_database: Open, url: str) -> None:
    database = await open_database(url)
    with pytest.raises(StorageUnavailable, match="cannot be reached"):
        await database.ping()


async def test_a_wrong_password_is_named_and_not_shown(stack: StackHandle, open_database: Open) -> None:
    arguments = parse_database_url(stack.database_url)
    where = f"unix_socket={arguments['unix_socket']}" if "unix_socket" in arguments else ""
    host = f"{arguments.get('host', 'localhost')}:{arguments.get('port', 3306)}"
    database = await open_database(f"mariadb://nobody:s3cretw0rd@{host}/causegraph?{where}")
    with pytest.raises(StorageError, match=r"(?i)access denied") as caught:
        await database.ping()
    assert "s3cretw0rd" not in str(caught.value)


async def test_a_missing_table_names_the_query(own: Database) -> None:
    with pytest.raises(StorageError, match=r"there_is_no_such_table.*t_missing") as caught:
        await own.fetch("t_missing")
    assert type(caught.value) is StorageError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ECONNRESET, "reset"), StorageUnavailable),
        (mariadb.InterfaceError("closed"), StorageUnavailable),
        (mariadb.OperationalError("The table 'x' is full"), StorageError),
        (mariadb.OperationalError("No space left on device"), StorageFull),
        (mariadb.ProgrammingError("syntax"), StorageError),
    ],
)
def test_driver_errors_become_ours(error: Exception, expected: type[StorageError]) -> None:
    assert type(translate_error(error)) is expected


@pytest.mark.parametrize(
    ("number", "expected"),
    [(2013, StorageUnavailable), (1114, StorageFull), (1064, StorageError), (1406, StorageRefused)],
)
def test_error_numbers_become_our_errors(number: int, expected: type[StorageError]) -> None:
    error = mariadb.OperationalError("message")
    error.errno = number
    assert type(translate_error(error)) is expected


@pytest.mark.parametrize("url", ["", "postgres://a/b", "mariadb://host", "mariadb://host:port/name", "mariadb:///name"])
def test_a_url_that_makes_no_sense(url: str) -> None:
    with pytest.raises(SettingsError, match="CAUSEGRAPH_DATABASE_URL"):
        parse_database_url(url)


async def test_a_deadlock_runs_the_transaction_again(own: Database) -> None:
    barrier = threading.Barrier(2)
    runs = []

    def work(first: int, second: int) -> Callable[[Transaction], None]:
        def run(tx: Transaction) -> None:
            runs.append(first)
            tx.execute("t_add", (first,))
            if len(runs) <= 2:
                barrier.wait(5)
            tx.execute("t_add", (second,))

        return run

    await asyncio.gather(own.transaction(work(1, 2)), own.transaction(work(2, 1)))
    assert len(runs) == 3
    assert await own.fetch("t_read") == [(2,), (2,)]


async def test_a_deadlock_that_stays_is_told(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_TRIES", 2)
    runs = []

    def work(tx: Transaction) -> None:
        runs.append(1)
        error = mariadb.OperationalError("Deadlock found")
        error.errno = 1213
        raise error

    with pytest.raises(StorageError, match="Deadlock"):
        await own.transaction(work)
    assert len(runs) == 2


async def test_what_raises_is_rolled_back(own: Database) -> None:
    def work(tx: Transaction) -> None:
        tx.execute("t_add", (1,))
        raise LookupError("no")

    with pytest.raises(LookupError):
        await own.transaction(work)
    assert await own.fetch("t_read") == [(0,), (0,)]


async def test_a_lost_connection_is_opened_again_for_a_reading_query(own: Database, open_database: Open) -> None:
    def find(tx: Transaction) -> int:
        return int(tx.fetch("t_id")[0][0])

    ids = set(await asyncio.gather(*(own.transaction(find) for _ in range(20))))
    assert len(ids) <= 2

    def kill(tx: Transaction) -> None:
        mine = find(tx)
        for other in ids - {mine}:
            tx.execute("t_kill", (other,))

    await own.transaction(kill)
    assert await asyncio.gather(*(own.fetch("t_read") for _ in range(10))) == [[(0,), (0,)]] * 10


async def test_a_cancelled_caller_leaves_no_reply_for_the_next(own: Database) -> None:
    for _ in range(5):
        task = asyncio.create_task(own.fetch("t_sleep", (0.05,)))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await own.fetch("t_read") == [(0,), (0,)]


def test_query_names_are_unique(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\nSELECT 1\n")
    (tmp_path / "b.sql").write_text("-- name: one\nSELECT 2\n")
    with pytest.raises(ValueError, match="defined twice"):
        module._load_queries(tmp_path)


async def test_a_large_answer_is_read_without_copying_it_again_and_again(
    own: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = []
    grow = SyncClient._ensure_space

    def watch(client: SyncClient, needed: int) -> None:
        before = client._recv_buf
        grow(client, needed)
        copied.append(len(before) if client._recv_buf is not before else 0)

    monkeypatch.setattr(SyncClient, "_ensure_space", watch)
    rows = await own.fetch("t_large")
    assert [row[0] for row in rows] == list(range(1, 901)) and {row[1] for row in rows} == {"x" * 1000}
    assert 0 < sum(copied) < 2_500_000  # the driver's own way copies 28 MB


async def test_rows_are_loaded_in_few_pieces(own: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = []
    write = SyncClient.write_payload

    def watch(client: SyncClient, payload: bytearray, packet_type: str = "", reset_sequence: bool = True) -> None:
        pieces.append(len(payload))
        write(client, payload, packet_type, reset_sequence)

    monkeypatch.setattr(SyncClient, "write_payload", watch)
    content = "".join(f"{n}\t{n}\n" for n in range(3, 200_003)).encode()
    assert await own.transaction(lambda tx: tx.load_rows("t_load", content)) == 200_000
    assert (await own.fetch("t_read"))[2:] == [(n,) for n in range(3, 200_003)]
    large = [size for size in pieces if size > 1000]
    assert sum(large) > len(content) > 2_000_000 and len(large) <= 3  # the driver's own way sends 163


async def test_an_error_in_the_middle_of_an_answer_comes_out_as_ours(own: Database) -> None:
    with pytest.raises(StorageError, match="more than 1 row"):
        await own.fetch("t_half")
    assert await own.fetch("t_read") == [(0,), (0,)]

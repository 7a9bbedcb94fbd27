"""Each failure gives one clear error, and nothing is lost or counted twice by it: wrong settings, servers that go away,
payloads that cannot be read, two servers at once, a killed supervisor."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.stack import StackHandle, ensure_stack, stack_status, stop_stack
from cli.stack_state import Phase
from domain.times import SECOND_US
from graph.local_server import ask_redis, find_falkordb
from graph.ontology import Edge
from graph.topology import TopologyGraph
from storage.database import QUERIES, Database, parse_database_url
from storage.migrate import migrate
from tests.sending import Sender, check_stored
from tests.serving import Serve, run_command

_TABLES = ("log_event", "span", "metric_point", "change_event", "orchestrator_event", "stated_edge", "alert")
QUERIES["failures_rows"] = " UNION ALL ".join(
    f"SELECT '{table}', COUNT(*) FROM {table} WHERE environment = ?"  # noqa: S608 - names of ours
    for table in _TABLES
)
QUERIES["failures_head"] = "SELECT seq, (SELECT COUNT(*) FROM ingest_batch) FROM ingest_clock"
LARGEST = 100_000


class Wire:
    """A road to a server's unix socket that can be cut and mended, by a path of its own."""

    def __init__(self, target: str, path: Path) -> None:
        self._target = target
        self.path = path
        self._listener: socket.socket | None = None
        self._open: set[socket.socket] = set()

    def mend(self) -> None:
        if self._listener is None:
            self.path.unlink(missing_ok=True)
            self._listener = socket.socket(socket.AF_UNIX)
            self._listener.bind(str(self.path))
            self._listener.listen(64)
            threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def cut(self) -> None:
        if self._listener is not None:
            self.path.unlink()
            self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for end in list(self._open):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self._target)
            except OSError:
                near.close()
                far.close()
                continue
            threading.Thread(target=self._join, args=(near, far), daemon=True).start()

    def _join(self, near: socket.socket, far: socket.socket) -> None:
        self._open |= {near, far}
        back = threading.Thread(target=_copy, args=(far, near), daemon=True)
        back.start()
        _copy(near, far)
        back.join()
        self._open -= {near, far}
        near.close()
        far.close()


def _copy(source: socket.socket, sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            sink.sendall(piece)
    for end in (source, sink):
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="causegraph-fail-"))
    yield made
    stop_stack(made / "stack")
    shutil.rmtree(made)


@pytest.fixture(scope="module")
async def own_stack(folder: Path) -> StackHandle:
    """A stack of this module's own: no other test's projection follows its batches."""
    handle = ensure_stack(folder / "stack")
    database = Database(handle.database_url, 2)
    await migrate(database)
    await database.close()
    return handle


@pytest.fixture(scope="module")
def database_wire(own_stack: StackHandle, folder: Path) -> Wire:
    return Wire(parse_database_url(own_stack.database_url)["unix_socket"], folder / "database.sock")


@pytest.fixture(scope="module")
def graph_wire(own_stack: StackHandle, folder: Path) -> Wire:
    return Wire(own_stack.graph_url.removeprefix("unix://"), folder / "graph.sock")


@pytest.fixture(scope="module")
def far(database_wire: Wire, graph_wire: Wire, folder: Path) -> Iterator[Serve]:
    """A server whose roads to its databases can be cut."""
    environ = {
        "CAUSEGRAPH_DATABASE_URL": f"mariadb://causegraph@localhost/causegraph?unix_socket={database_wire.path}",
        "CAUSEGRAPH_GRAPH_URL": f"unix://{graph_wire.path}",
        "CAUSEGRAPH_WATERMARK_SECONDS": "1",
        "CAUSEGRAPH_MAX_BODY_BYTES": str(LARGEST),
    }
    database_wire.mend()
    graph_wire.mend()
    serve = Serve(folder / "far", environ)
    serve.start()
    serve.wait()
    yield serve
    serve.stop()


@pytest.fixture
def client(far: Serve, database_wire: Wire, graph_wire: Wire) -> Iterator[httpx.Client]:
    """A client of `far`, whose roads are whole at first."""
    database_wire.mend()
    graph_wire.mend()
    with far.client() as opened:
        while opened.get("/health").status_code != 200:
            time.sleep(0.1)
        yield opened


@pytest.fixture
async def near(own_stack: StackHandle) -> Any:
    """The database behind `far`, by the direct road."""
    opened = Database(own_stack.database_url, 2)
    yield opened
    await opened.close()


async def count_rows(near: Database, environment: str) -> dict[str, int]:
    rows = await near.fetch("failures_rows", (environment,) * len(_TABLES))
    return {str(name): int(count) for name, count in rows if count}


# -- wrong settings ----------------------------------------------------------------------------------------------------

COMMANDS = (("status",), ("ask", "why did checkout fail?", "-e", "default"), ("serve", "--port", "0"))


def _run_all(
    folder: Path, commands: tuple[tuple[str, ...], ...] = COMMANDS, **environ: str
) -> list[tuple[str, int, list[str]]]:
    """Run each command and return its name, its exit status, and what it said on stderr but for progress."""

    def run(arguments: tuple[str, ...]) -> tuple[str, int, list[str]]:
        done = run_command(folder / "unused", *arguments, **environ)
        assert "Traceback" not in done.stdout + done.stderr
        return arguments[0], done.returncode, [line for line in done.stderr.splitlines() if line.strip()]

    with ThreadPoolExecutor(3) as threads:
        return list(threads.map(run, commands))


def _with(url: str, **parts: str) -> str:
    """Return the stack's own database URL with another user or database name."""
    wanted = parse_database_url(url)
    name, user = parts.get("name", wanted["database"]), parts.get("user", wanted["user"])
    return f"mariadb://{user}@localhost/{name}?unix_socket={wanted['unix_socket']}"


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("scheme", "CAUSEGRAPH_DATABASE_URL must look like mariadb://user:password@host:3306/name"),
        ("host", "MariaDB cannot be reached: Can't connect to server on 'db.invalid'"),
        ("port", "MariaDB cannot be reached: Can't connect to server on '127.0.0.1':1"),
        ("password", "MariaDB does not let us in: Access denied"),
        ("name", "MariaDB does not let us in: Unknown database 'there_is_none'"),
    ],
)
def test_a_wrong_database_url_is_one_line_and_what_to_do(
    own_stack: StackHandle, folder: Path, wrong: str, said: str
) -> None:
    url = {
        "scheme": "postgres://u:hunter2@127.0.0.1/x",
        "host": "mariadb://u:hunter2@db.invalid:3306/x",
        "port": "mariadb://u:hunter2@127.0.0.1:1/x",
        "password": _with(own_stack.database_url, user="causegraph:hunter2"),
        "name": _with(own_stack.database_url, name="there_is_none"),
    }[wrong]
    for name, status, lines in _run_all(folder, CAUSEGRAPH_DATABASE_URL=url, CAUSEGRAPH_GRAPH_URL=own_stack.graph_url):
        assert status == 1, (name, lines)
        assert [line for line in lines if not line.startswith("Hint: ")] == [lines[0]], name
        assert lines[0].startswith(f"Error: {said}"), name
        assert "CAUSEGRAPH_DATABASE_URL" in lines[0], name
        assert "hunter2" not in lines[0], name


@pytest.fixture(scope="module")
def redis(folder: Path) -> Iterator[str]:
    """A Redis without the FalkorDB module, which wants a password."""
    path = folder / "redis.sock"
    command = [str(find_falkordb().redis_server), "--port", "0", "--unixsocket", str(path), "--save", ""]
    with subprocess.Popen([*command, "--requirepass", "right"], cwd=folder, stdout=subprocess.DEVNULL) as process:
        while not ask_redis(path, "PING"):
            time.sleep(0.02)
        yield f"localhost{path}"
        process.terminate()


@pytest.mark.parametrize(
    ("url", "said", "commands"),
    [
        ("http://127.0.0.1:6379", "CAUSEGRAPH_GRAPH_URL must look like redis://host:6379", COMMANDS),
        # A graph that is away is no wrong setting: records are taken and questions answered without it (see below).
        ("redis://127.0.0.1:1", "FalkorDB cannot be reached: Error 111 connecting to 127.0.0.1:1", COMMANDS[:1]),
        ("unix://:right@{}", "This Redis has no FalkorDB module", COMMANDS),
        ("unix://:hunter2@{}", "FalkorDB does not let us in", COMMANDS),
    ],
)
def test_a_wrong_graph_url_is_one_line_and_what_to_do(
    own_stack: StackHandle, folder: Path, redis: str, url: str, said: str, commands: tuple[tuple[str, ...], ...]
) -> None:
    environ = {"CAUSEGRAPH_DATABASE_URL": own_stack.database_url, "CAUSEGRAPH_GRAPH_URL": url.format(redis)}
    for name, status, lines in _run_all(folder, commands, **environ):
        assert status == 1, (name, lines)
        assert [line for line in lines if not line.startswith("Hint: ")] == [lines[0]], name
        assert lines[0].startswith(f"Error: {said}"), name
        assert "CAUSEGRAPH_GRAPH_URL" in lines[0], name
        assert "hunter2" not in lines[0], name


# -- servers that go away while we serve -------------------------------------------------------------------------------


async def test_with_the_database_away_deliveries_are_kept_questions_refused_and_all_is_stored_once_it_is_back(
    client: httpx.Client, database_wire: Wire, near: Database, environment: str
) -> None:
    now = time.time_ns() // 1000
    lines = [{"timestamp": now, "service": "web", "level": "info", "message": f"order {n}"} for n in range(3)]
    lines.append(lines[0])
    path = f"/ingest/logs?environment={environment}"
    database_wire.cut()
    for repeat in range(2):
        began = time.monotonic()
        kept = client.post(path, json=lines)
        assert kept.status_code == 200, kept.text
        told = kept.json()
        assert (told["accepted"], told["duplicate"], told["spooled"]) == ((0, 4, True) if repeat else (4, 0, True))
        assert client.post("/v1/traces", json={}).status_code == 200
        replies = {
            "chat": client.post("/chat", json={"question": "why?", "environment": environment}),
            "incidents": client.get("/incidents"),
        }
        assert time.monotonic() - began < 15
        for name, reply in replies.items():
            assert (reply.status_code, reply.headers.get("retry-after")) == (503, "5"), (name, reply.text)
            assert reply.json()["message"].startswith("MariaDB cannot be reached"), name
    health = client.get("/health")
    assert (health.status_code, health.json()["servers"]["mariadb"]) == (503, "down")
    assert (health.json()["spool"]["deliveries"], health.json()["spool"]["records"]) == (1, 4)
    assert await count_rows(near, environment) == {}
    database_wire.mend()
    _wait_until_drained(client)
    receipt = client.post(path, json=lines).json()
    assert (receipt["accepted"], receipt["duplicate"], receipt["rejected"]) == (0, 4, 0)
    assert receipt["watermark"] == told["watermark"]
    assert await count_rows(near, environment) == {"log_event": 4}


def _wait_until_drained(client: httpx.Client) -> None:
    end = time.monotonic() + 60
    while client.get("/health").json()["spool"]["deliveries"]:
        assert time.monotonic() < end
        time.sleep(0.05)


async def test_a_reply_that_was_cut_off_leads_to_a_retry_that_counts_nothing_twice(
    client: httpx.Client, database_wire: Wire, near: Database, environment: str
) -> None:
    """The database commits and goes away before it can say so, or goes before that: the sender cannot know."""
    sent = 0
    for number in range(12):
        lines = [
            {"timestamp": time.time_ns() // 1000, "service": "web", "level": "info", "message": f"{number} {n}"}
            for n in range(200)
        ]
        path, body = f"/ingest/logs?environment={environment}", json.dumps(lines)
        with ThreadPoolExecutor(1) as threads:
            reply = threads.submit(client.post, path, content=body)
            time.sleep(0.002 * number)
            database_wire.cut()
            assert reply.result().status_code == 200
        database_wire.mend()
        done = client.post(path, content=body)
        assert done.status_code == 200
        assert sum(done.json()[name] for name in ("accepted", "duplicate")) == 200
        sent += 200
    _wait_until_drained(client)
    assert await count_rows(near, environment) == {"log_event": sent}


async def test_with_the_graph_away_records_are_taken_questions_answered_and_then_it_catches_up(
    client: httpx.Client, graph_wire: Wire, own_stack: StackHandle, near: Database, environment: str
) -> None:
    graph_wire.cut()
    sent = _send_incident(client, environment)
    assert (await count_rows(near, environment))["span"] == sent
    question = {"question": "why did checkout fail?", "environment": environment}
    began = time.monotonic()
    reply = client.post("/chat", json=question)
    assert reply.status_code == 200, reply.text
    assert time.monotonic() - began < 20
    without = reply.json()["verdict"]
    assert any("topology graph" in line for line in without["not_seen"]), without
    assert without["outcome"] != "CONFIRMED"
    health = client.get("/health")
    assert (health.status_code, health.json()["servers"]) == (503, {"mariadb": "up", "falkordb": "down"})

    graph_wire.mend()
    graph, calls = TopologyGraph(own_stack.graph_url), list[Edge]()
    end = time.monotonic() + 15
    while not calls and time.monotonic() < end:
        await asyncio.sleep(0.1)
        calls = await graph.edges_as_of(environment, time.time_ns() // 1000)
    await graph.close()
    assert [(edge.source, edge.target, edge.count) for edge in calls] == [("storefront", "payment", sent // 3)]
    again = client.post("/chat", json=question).json()["verdict"]
    assert [line for line in again["not_seen"] if "topology graph" in line] == []
    assert again["outcome"] == "CONFIRMED"
    assert [cause["service"] for cause in again["causes"]] == ["payment"]


def _send_incident(client: httpx.Client, environment: str) -> int:
    """Let payment fail since a minute ago, as the storefront's requests show; return how many spans that were."""
    now = time.time_ns() // 1000
    onset = now - 60 * SECOND_US
    spans: dict[str, list[dict[str, Any]]] = {"storefront": [], "payment": []}
    for number in range(180):
        start = now - (180 - number) * SECOND_US
        rows = (
            ("storefront", 1, "POST /checkout", 2),
            ("storefront", 2, "POST", 3),
            ("payment", 3, "POST /charges", 2),
        )
        for service, place, name, kind in rows:
            spans[service].append(
                {
                    "traceId": f"{now:016x}{number:016x}",
                    "spanId": f"{place:016x}",
                    "parentSpanId": f"{place - 1:016x}" if place > 1 else "",
                    "name": name,
                    "kind": kind,
                    "startTimeUnixNano": str((start + place * 1000) * 1000),
                    "endTimeUnixNano": str((start + (90 - place * 20) * 1000) * 1000),
                    "status": {"code": 2, "message": "charge refused"} if start >= onset else {},
                }
            )
    for service, held in spans.items():
        for at in range(0, len(held), 100):
            values = {"service.name": service, "deployment.environment.name": environment}
            attributes = [{"key": key, "value": {"stringValue": value}} for key, value in values.items()]
            group = {"resource": {"attributes": attributes}, "scopeSpans": [{"spans": held[at : at + 100]}]}
            reply = client.post("/v1/traces", json={"resourceSpans": [group]})
            assert reply.status_code == 200, reply.text
    logs = [
        {"timestamp": onset + n * SECOND_US, "service": "payment", "level": "error", "message": "KeyError currency"}
        for n in range(50)
    ]
    assert client.post(f"/ingest/logs?environment={environment}", json=logs).status_code == 200
    return sum(map(len, spans.values()))


# -- payloads that cannot be read --------------------------------------------------------------------------------------

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
OTLP = ("/v1/logs", "/v1/traces", "/v1/metrics")
PLAIN = ("/ingest/logs", "/ingest/changes", "/ingest/events", "/ingest/topology", "/ingest/alerts/generic")
GROUPED = ("/ingest/alerts/alertmanager", "/ingest/alerts/grafana")
T = "2026-01-02T03:04:05Z"
BROKEN: list[tuple[str, dict[str, str], bytes, int, str]] = [
    *((path, JSON, b'{"a": 1', 400, "not JSON") for path in (*OTLP, *PLAIN, *GROUPED)),
    *((path, JSON, b'"text"', 400, "") for path in (*OTLP, *PLAIN, *GROUPED)),
    *((path, PROTOBUF, b"\x0a\xff\xff", 400, "protobuf") for path in OTLP),
    *((path, {"Content-Type": "application/xml"}, b"<a/>", 415, "application/xml") for path in (*OTLP, *PLAIN)),
    *((path, JSON | {"Content-Encoding": "br"}, b"[]", 415, "'br'") for path in (*OTLP, *PLAIN, *GROUPED)),
    *((path, JSON | {"Content-Encoding": "gzip"}, b"[]", 400, "not gzip") for path in (*OTLP, *PLAIN, *GROUPED)),
    *((path, JSON | {"Content-Encoding": "gzip"}, gzip.compress(b"[]" * 99)[:-9], 400, "ends too early") for path in PLAIN),
    *((path, JSON | {"Content-Encoding": "zstd"}, b"[]", 400, "not zstd") for path in PLAIN),
    *((path, JSON, b" " * (LARGEST + 1), 413, "CAUSEGRAPH_MAX_BODY_BYTES") for path in (*OTLP, *PLAIN, *GROUPED)),
    *(
        (path, JSON | {"Content-Encoding": "gzip"}, gzip.compress(b" " * (LARGEST + 1)), 413, "after decompression")
        for path in (*OTLP, *PLAIN, *GROUPED)
    ),
    ("/ingest/logs", {"Content-Type": "application/x-ndjson"}, b'{"a": 1}\n{"b"\n', 400, "Line 2"),
    ("/ingest/logs", JSON, json.dumps([{"timestamp": "soon", "service": "a", "message": "m"}]).encode(), 400, "record 1: timestamp"),
    ("/ingest/logs", JSON, json.dumps([{"timestamp": T, "message": "m"}]).encode(), 400, "record 1: service: missing"),
    ("/ingest/logs", JSON, b"[7]", 400, "record 1: not a JSON object"),
    ("/ingest/changes", JSON, json.dumps([{"timestamp": T, "service": "a", "kind": "x", "summary": "s"}]).encode(), 400, "record 1: kind"),
    ("/ingest/events", JSON, json.dumps([{"timestamp": T, "kind": "k", "text": "s"}]).encode(), 400, "record 1: object"),
    ("/ingest/topology", JSON, b'{"edges": {}}', 400, "edges"),
    ("/ingest/topology", JSON, b'{"edges": [{"source": "a"}]}', 400, "edge 1: target: missing"),
    ("/ingest/topology", JSON, b'{"edges": [], "valid_from": 9, "valid_to": 3}', 400, "valid_to lies before"),
    ("/ingest/alerts/generic", JSON, b'[{"name": "a", "status": "maybe"}]', 400, "alert 1: status"),
    ("/ingest/alerts/alertmanager", JSON, b'{"version": "4"}', 400, "alerts: missing"),
    ("/ingest/alerts/pager", JSON, b"[]", 400, "no alert source 'pager'"),
    *((path, JSON, b'{"resourceLogs": 7, "resourceSpans": 7, "resourceMetrics": 7}', 400, "resource") for path in OTLP),
]  # fmt: skip


async def test_broken_payloads_are_refused_by_name_and_leave_nothing(
    client: httpx.Client, near: Database, environment: str
) -> None:
    before = await near.fetch("failures_head")
    wrong = []
    for path, headers, body, status, words in BROKEN:
        reply = client.post(f"{path}?environment={environment}", content=body, headers=headers)
        said = reply.content.decode(errors="replace")
        if reply.status_code != status or words not in said or len(said) < 20:
            wrong.append((path, headers, body[:60], reply.status_code, said[:200]))
    assert wrong == []
    for path in (*PLAIN, *GROUPED, *OTLP):
        reply = client.post(f"{path}?environment={'x' * 65}", content=b"[]" if path in PLAIN else b"{}", headers=JSON)
        assert (reply.status_code, "environment" in reply.text) == (400, True), (path, reply.text)
    assert await near.fetch("failures_head") == before
    assert await count_rows(near, environment) == {}


async def test_one_bad_record_is_named_and_the_others_are_stored(
    client: httpx.Client, near: Database, environment: str
) -> None:
    good = {"timestamp": T, "service": "web", "level": "info", "message": "fine"}
    reply = client.post(f"/ingest/logs?environment={environment}", json=[good, {**good, "service": ""}, good])
    assert reply.status_code == 200
    assert (reply.json()["accepted"], reply.json()["rejected"]) == (2, 1)
    assert reply.json()["errors"] == ["record 2: service: must not be empty"]
    assert await count_rows(near, environment) == {"log_event": 2}


# -- two servers, and the supervisor -----------------------------------------------------------------------------------


@pytest.fixture
def local(folder: Path, own_stack: StackHandle) -> Iterator[Serve]:
    """A server on the local stack itself."""
    serve = Serve(folder / "stack")
    serve.start()
    serve.wait()
    yield serve
    serve.stop()


async def test_two_servers_of_one_data_folder_count_as_one(local: Serve, folder: Path, environment: str) -> None:
    """The second says so if it wants the same port; on another it is safe: both take records and both project them."""
    taken = run_command(local.data_dir, "serve", "--port", str(local.port))
    assert taken.returncode == 1
    assert taken.stderr.startswith(f"Error: Port {local.port} of 127.0.0.1 cannot be listened on")
    assert "Traceback" not in taken.stderr
    second = Serve(local.data_dir)
    second.start()
    stop = threading.Event()
    try:
        second.wait()
        senders = [Sender(server, environment, number, stop) for number in range(2) for server in (local, second)]
        threads = [threading.Thread(target=sender.run) for sender in senders]
        for thread in threads:
            thread.start()
        await asyncio.sleep(4)
        doubled = _send_to_both(local, second, f"{environment}-both")
        stop.set()
        for thread in threads:
            thread.join(60)
        handle = ensure_stack(local.data_dir)
        database, graph = Database(handle.database_url), TopologyGraph(handle.graph_url)
        await check_stored(database, graph, environment, senders)
        assert await count_rows(database, f"{environment}-both") == {"log_event": doubled}
        await database.close()
        await graph.close()
        for server in (local, second):
            asked = {"question": "is everything fine?", "environment": environment}
            with server.client() as client:
                assert client.post("/chat", json=asked).status_code == 200
    finally:
        stop.set()
        second.stop()


def _send_to_both(first: Serve, second: Serve, environment: str) -> int:
    """Send each body to both servers at the same time, as a sender does that fails over; return how many lines."""
    sent = 0
    with first.client() as one, second.client() as other, ThreadPoolExecutor(2) as threads:
        for number in range(20):
            lines = [{"timestamp": T, "service": "web", "level": "info", "message": f"{number} {n}"} for n in range(5)]
            path, body = f"/ingest/logs?environment={environment}", json.dumps(lines)
            replies = [reply.json() for reply in threads.map(lambda c: c.post(path, content=body), (one, other))]  # noqa: B023
            assert Counter(reply["accepted"] for reply in replies) == {5: 1, 0: 1}
            assert Counter(reply["duplicate"] for reply in replies) == {0: 1, 5: 1}
            sent += 5
    return sent


def test_a_killed_supervisor_comes_back_while_we_serve_and_a_stopped_one_does_not(
    local: Serve, environment: str
) -> None:
    old = stack_status(local.data_dir).supervisor
    assert old
    os.kill(old, signal.SIGKILL)
    path, began = f"/ingest/logs?environment={environment}", time.monotonic()
    body = json.dumps([{"timestamp": T, "service": "web", "level": "info", "message": "here"}])
    with local.client() as client:
        # Nobody but the server itself is there to start it.
        while stack_status(local.data_dir).supervisor in (old, None):
            assert time.monotonic() - began < 30
            time.sleep(0.1)
        while (reply := client.post(path, content=body)).status_code != 200:
            assert reply.status_code == 503, reply.text
            assert time.monotonic() - began < 30
            time.sleep(0.1)
        _wait_until_drained(client)
        stop_stack(local.data_dir)
        time.sleep(2)
        assert stack_status(local.data_dir).phase is Phase.STOPPED
        body = json.dumps([{"timestamp": T, "service": "web", "level": "info", "message": "while it is stopped"}])
        assert client.post(path, content=body).json()["spooled"] is True
        ensure_stack(local.data_dir)
        _wait_until_drained(client)
        assert client.post(path, content=body).json()["duplicate"] == 1


def test_down_ends_everything(local: Serve) -> None:
    done = run_command(local.data_dir, "down")
    assert (done.returncode, done.stdout.strip()) == (0, "stopped"), done.stderr
    assert local.process is not None
    assert local.process.wait(10) == 0
    assert "Traceback" not in local.said()
    ensure_stack(local.data_dir)

"""`causegraph logs ...` against real data: in this process, on the session's local stack, without a server."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.commands import logs, tail
from cli.stack import StackHandle, stop_stack
from domain.errors import ServerUnreachable
from domain.settings import load_settings
from domain.times import MINUTE_US, SECOND_US, format_us
from storage.database import Database
from storage.migrate import migrate
from tests.cli.conftest import Run
from tests.serving import COMMAND, ROOT, Serve, clean_environ


def _line(at_us: int, message: str, level: str = "info", service: str = "shop") -> str:
    return json.dumps({"timestamp": format_us(at_us), "service": service, "level": level, "message": message}) + "\n"


def test_logs_are_counted_compared_and_found(run: Run, environment: str) -> None:
    now = time.time_ns() // 1000
    half = now - 5 * MINUTE_US
    lines = [_line(half + sign * (n + 1) * SECOND_US, f"order {n} placed") for n in range(40) for sign in (1, -1)]
    lines += [_line(half - (n + 1) * SECOND_US, f"heartbeat {n} sent") for n in range(20)]
    lines += [_line(half + (n + 1) * SECOND_US, f"card {n} was [red]REFUSED", "error") for n in range(7)]
    lines += [_line(half - SECOND_US, "queue is slow: 7 s", "warn", "mail")]
    lines += [_line(half + (n + 1) * SECOND_US, f"queue is slow: {n} s", "warn", "mail") for n in range(30)]
    told = json.loads(run("ingest", "-", "-e", environment, "--json", stdin="".join(lines)).stdout)
    assert told["accepted"] == len(lines)
    where = ("-e", environment, "--from", format_us(half), "--to", format_us(now + MINUTE_US))

    def families(order: str, *more: str) -> dict[str, int]:
        body = json.loads(run("logs", order, *where, "--json", *more).stdout)
        return {row["text"]: row["lines"] for row in body["families"]}

    refused = "card <*> was [red]REFUSED"
    assert families("top") == {"order <*> placed": 40, "queue is slow: <*>": 30, refused: 7}
    assert families("top", "--service", "mail", "--level", "warn") == {"queue is slow: <*>": 30}
    assert families("new") == {refused: 7}
    assert families("vanished") == {"heartbeat <*> sent": 0}
    assert families("bursting").keys() == {"queue is slow: <*>", refused}

    shown = run("logs", "top", *where, "--limit", "2")
    assert [row.split()[:2] for row in shown.stdout.splitlines()[1:]] == [["40", "40"], ["30", "1"]]
    assert "1 more: --limit" in shown.stderr
    assert "There is none between" in run("logs", "new", *where, "--service", "nobody").stdout
    counted = run("logs", "stats", *where).stdout.splitlines()
    assert [row.split()[:2] for row in counted[1:3]] == [["shop", "47"], ["mail", "30"]]
    assert counted[-1] == "77 lines, 3 templates"
    stepped = run("logs", "stats", *where, "--step", "60", "--service", "mail").stdout.splitlines()
    assert sum(int(row.split()[1]) for row in stepped[4:-1]) == 30
    assert "divided by ten" in run("logs", "stats", *where, "--step", "61", status=1).stderr

    found = run("logs", "search", "was [red]refused", *where, "--limit", "5")
    assert [row.split(" shop ")[1] for row in found.stdout.splitlines()] == [
        f"ERROR card {n} was [red]REFUSED" for n in (6, 5, 4, 3, 2)
    ]
    assert "Searched by text only" in found.stderr
    cursor = found.stderr.partition("--before ")[2].split()[0]
    older = json.loads(run("logs", "search", "refused", *where, "--before", cursor, "--json").stdout)
    assert [line["message"][:6] for line in older["lines"]] == ["card 1", "card 0"]
    assert "holds that" in run("logs", "search", "100%_\\", *where).stdout


async def _migrate(url: str) -> None:
    database = Database(url)
    await migrate(database)
    await database.close()


@pytest.fixture
def run_apart(run: Run, stack: StackHandle, fresh_url: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Commands on a database that no other test writes to."""
    url = fresh_url()
    asyncio.run(_migrate(url))
    monkeypatch.setenv("CAUSEGRAPH_DATABASE_URL", url)
    monkeypatch.setenv("CAUSEGRAPH_GRAPH_URL", stack.graph_url)
    return run


def test_what_means_the_same_is_shown_below_the_lines(
    run_apart: Run, environment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAUSEGRAPH_EMBEDDER", "builtin")
    now = time.time_ns() // 1000
    lines = _line(now, "disk [b]7[/b] is full", "error") + _line(now, "order 7 placed")
    run_apart("ingest", "-", "-e", environment, stdin=lines)
    question = ("logs", "search", "no space left on device", "-e", environment)
    early = run_apart(*question)
    assert "holds that" in early.stdout
    assert "`causegraph backfill` does it now" in " ".join(early.stderr.split())
    run_apart("backfill")
    found = run_apart(*question)
    assert "Near in meaning:" in found.stdout
    last = found.stdout.splitlines()[-1].split()
    assert (float(last[0]) < 0.7, last[1:4]) == (True, ["1", "shop", "ERROR"])
    assert " ".join(last[4:]).startswith("disk [b]<*>")
    assert "by text only" not in found.stderr


def test_retention_says_what_it_must_wait_for(run_apart: Run, environment: str) -> None:
    run_apart("ingest", "-", "-e", environment, stdin=_line(time.time_ns() // 1000, "order 7 placed"))
    old = ("--days", "0.00000001")
    status = run_apart("retention", "status", *old)
    assert "To be dropped now for their age: 0 log events" in status.stdout
    assert "1 deliveries are too old, and stay until the topology has read them" in status.stderr
    dropped = json.loads(run_apart("retention", "run", *old, "--json").stdout)
    assert dropped == {"log_events": 0, "spans": 0, "metric_points": 0, "held": 1}
    assert "a running server" in run_apart("retention", "run", *old).stderr
    assert run_apart("retention", "status", "--days", "30").stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("top", "--from", "soon"), "not a time"),
        (("stats", "--level", "loud"), "'loud' is none"),
        (("search", "x", "--from", "2026-01-02", "--to", "2026-01-01"), "must lie before"),
        (("search", "x", "--before", "page 2"), "is no cursor"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_line(
    run: Run, environment: str, arguments: tuple[str, ...], said: str
) -> None:
    done = run("logs", *arguments, "-e", environment, status=1)
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_lines_are_exported(run: Run, environment: str, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="the extra `parquet` is not installed")
    now = time.time_ns() // 1000
    run("ingest", "-", "-e", environment, stdin=_line(now, "order 7 placed") + _line(now + 1, "order 8 placed"))
    asked = ("export", "logs", "-e", environment, "--to", format_us(now + SECOND_US), "--out", str(tmp_path), "--json")
    told = json.loads(run(*asked, "--from", format_us(now)).stdout)
    assert told == {"file": str(tmp_path / "logs.parquet"), "rows": 2, "missing": 0}
    rows = parquet.read_table(told["file"]).to_pylist()
    assert [row["message"] for row in rows] == ["order 7 placed", "order 8 placed"]
    assert "must lie before" in run(*asked, "--from", "2100-01-01", status=1).stderr


def test_tail_follows_what_is_stored_until_it_is_interrupted(run: Run, data_dir: Path, environment: str) -> None:
    following = subprocess.Popen(
        [*COMMAND, "logs", "tail", "-e", environment, "--json"],
        cwd=ROOT,
        env=clean_environ(data_dir, CAUSEGRAPH_EMBEDDER="none"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        assert following.stdout is not None
        deadline, sent = time.monotonic() + 90, 0
        while not select.select([following.stdout], [], [], 0.5)[
            0
        ]:  # it follows from some moment on that only it knows
            assert time.monotonic() < deadline
            assert following.poll() is None
            run("ingest", "-", "-e", environment, stdin=_line(time.time_ns() // 1000, f"line {sent} came"))
            sent += 1
        first: dict[str, Any] = json.loads(following.stdout.readline())
        assert (first["service"], first["level"]) == ("shop", "INFO")
        assert first["message"] in {f"line {n} came" for n in range(sent)}
        following.send_signal(signal.SIGINT)
        _, said = following.communicate(timeout=60)
        assert following.returncode == 130, said
        assert b"Traceback" not in said
    finally:
        following.kill()
        following.communicate()


class Told:
    """A backend with a few lines, which breaks off where a test says so."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.lines = [_told_line(number) for number in (1, 2, 3)]
        self.breaks = 0
        self.polls = 0

    async def info(self) -> dict[str, Any]:
        return {"environments": ["shop"]}

    async def logs(self, path: str, query: dict[str, Any]) -> dict[str, Any]:
        assert path == "/query/logs"
        self.polls += 1
        if "after" not in query:
            return {"lines": [*map(_told_line, (5, 4)), *reversed(self.lines)]}  # two came since the end was asked for
        if query["after"] < 0:
            return {"lines": [], "after": 3}
        if self.breaks:
            self.breaks -= 1
            raise ServerUnreachable("it broke off")
        found = [line for line in self.lines if line["id"] > query["after"]]
        return {"lines": found, "after": found[-1]["id"] if found else query["after"]}


def _told_line(number: int) -> dict[str, Any]:
    return {
        "id": number,
        "time": "2026-01-01T00:00:00Z",
        "service": "web",
        "level": "INFO",
        "message": f"line {number}",
    }


async def test_tail_loses_and_repeats_nothing_while_the_server_is_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told, opened, looked = Told("http://here"), 0, 0

    @asynccontextmanager
    async def open_told(*_: object) -> AsyncIterator[Told]:
        nonlocal opened
        opened += 1
        yield told

    def find_server(_: Path) -> object | None:
        nonlocal looked
        looked += 1
        return told if looked % 3 == 0 else None

    monkeypatch.setattr("cli.backend.open_backend", open_told)
    monkeypatch.setattr("cli.server.find_server", find_server)
    monkeypatch.setattr(tail, "_PAUSE_SECONDS", 0.001)
    told.breaks = 2
    following = asyncio.create_task(
        tail._follow(load_settings(), tail._Tail("", logs.make_query("", "", "", "", 1000), 2, as_json=True))
    )
    deadline = time.monotonic() + 30
    while told.polls < 30:
        assert not following.done(), following.exception()
        assert time.monotonic() < deadline
        if told.polls > 4 + len(told.lines) and len(told.lines) < 9:
            told.lines.append(_told_line(len(told.lines) + 1))
        await asyncio.sleep(0.001)
    following.cancel()
    shown = capsys.readouterr()
    assert [json.loads(line)["id"] for line in shown.out.splitlines()] == [2, 3, 4, 5, 6, 7, 8, 9]
    assert (opened, looked) == (3, 6)
    assert "it broke off Waiting; this goes on where it was." in shown.err


async def test_tail_says_so_where_it_cannot_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def open_told(*_: object) -> AsyncIterator[Told]:
        yield told

    told = Told("http://here")
    monkeypatch.setattr("cli.backend.open_backend", open_told)

    async def gone() -> dict[str, Any]:
        raise ServerUnreachable("it broke off")

    monkeypatch.setattr(told, "info", gone)
    with pytest.raises(ServerUnreachable):
        await tail._follow(load_settings(), tail._Tail("", logs.make_query("", "", "", "", 1000), 2, as_json=True))


@pytest.mark.long
def test_tail_goes_on_where_it_was_when_the_server_comes_back(tmp_path: Path) -> None:
    serve = Serve(tmp_path / "data", {"CAUSEGRAPH_EMBEDDER": "none"})
    serve.start()
    shown: list[int] = []
    try:
        serve.wait()
        with serve.client() as client:
            _send_numbers(client, 0, 5)
            while client.get("/stats", params={"environment": "shop"}).json()["lines"] < 5:
                time.sleep(0.05)
        following = subprocess.Popen(
            [*COMMAND, "logs", "tail", "-e", "shop", "--json", "-n", "3"],
            cwd=ROOT,
            env=clean_environ(serve.data_dir),
            bufsize=0,  # what is read ahead is not seen by select
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            _read_numbers(following, shown, 4)
            serve.kill()
            time.sleep(1.5)  # long enough for a look at a server that is not there
            serve.start()
            serve.wait()
            with serve.client() as client:
                _send_numbers(client, 5, 8)
            _read_numbers(following, shown, 7)
        finally:
            following.kill()
            following.communicate()
    finally:
        serve.stop()
        stop_stack(serve.data_dir)
    assert shown == [2, 3, 4, 5, 6, 7]


def _send_numbers(client: httpx.Client, first: int, end: int) -> None:
    for number in range(first, end):
        line = {"timestamp": time.time(), "service": "web", "level": "info", "message": f"number {number}"}
        client.post("/ingest/logs", params={"environment": "shop"}, json=[line]).raise_for_status()


def _read_numbers(following: subprocess.Popen[bytes], shown: list[int], last: int) -> None:
    assert following.stdout is not None
    deadline = time.monotonic() + 60
    while not shown or shown[-1] < last:
        assert time.monotonic() < deadline, shown
        if select.select([following.stdout], [], [], 0.5)[0]:
            shown.append(int(json.loads(following.stdout.readline())["message"].split()[1]))

"""`causegraph ship` as a process of its own, with writers and rotations of Python's logging at work beside it."""

from __future__ import annotations

import json
import logging
import logging.handlers
import os
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.times import parse_time_us
from tests.ingest.shipping.receiving import receiving
from tests.serving import COMMAND, ROOT, clean_environ, run_command


@contextmanager
def _shipping(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `causegraph ship` until the end of the block; then stop it as systemd does."""
    log = folder / "ship.log"
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*COMMAND, "ship", *arguments],
            cwd=ROOT,
            env=clean_environ(folder, CAUSEGRAPH_API_KEY="key"),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        assert process.wait(60) is not None


def _wait_for(holds: Callable[[], bool], seconds: float = 180.0) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def _ship_once(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run_command(folder, "ship", *arguments, "--once", "--state", str(folder / "state"), CAUSEGRAPH_API_KEY="key")


def test_once_ships_what_is_there_and_then_what_is_new(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("2026-11-21 10:00:00 INFO started\n2026-11-21 10:00:01 ERROR no stock\n")
    with receiving() as receiver:
        first = _ship_once(tmp_path, str(log), "--server", receiver.url, "--json", "-e", "shop")
        assert first.returncode == 0, first.stderr
        with log.open("a") as file:
            file.write("third\n")
        again = _ship_once(tmp_path, str(log), "--server", receiver.url, "--json")
    assert json.loads(first.stdout)["accepted"] == 2
    assert json.loads(again.stdout) == {
        "accepted": 1, "duplicate": 0, "rejected": 0, "set_aside": 0, "filtered": 0, "waiting": 0,
    }  # fmt: skip
    assert receiver.messages == ["started", "no stock", "third"]
    assert [(record["service"], record["level"], record["timestamp"]) for record in receiver.records[:2]] == [
        ("app", "info", parse_time_us("2026-11-21T10:00:00Z")),
        ("app", "error", parse_time_us("2026-11-21T10:00:01Z")),
    ]
    status = run_command(tmp_path, "ship", "--status", "--json", "--state", str(tmp_path / "state"))
    found = json.loads(status.stdout)
    assert (found["is_running"], found["counters"]["accepted"], found["waiting_lines"]) == (False, 3, 0)
    assert [(file["path"], file["behind"]) for file in found["files"]] == [(str(log), 0)]


def test_a_name_that_is_no_text(tmp_path: Path) -> None:
    log = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.log"))
    log.write_text("one\n")
    with receiving() as receiver:
        for message in ("one", "two"):
            done = _ship_once(tmp_path, f"{tmp_path}/*.log", "--server", receiver.url)
            assert done.returncode == 0, done.stderr
            assert receiver.messages[-1] == message
            with log.open("a") as file:
                file.write("two\n")
    assert receiver.messages == ["one", "two"]
    assert receiver.records[0]["service"] == "caf\\udce9"
    status = run_command(tmp_path, "ship", "--status", "--state", str(tmp_path / "state"))
    assert status.returncode == 0, status.stderr


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    with receiving() as receiver:
        done = subprocess.run(
            [*COMMAND, "ship", "-", "--service", "job", "--server", receiver.url],
            cwd=ROOT,
            env=clean_environ(tmp_path, CAUSEGRAPH_API_KEY="key", STATE_DIRECTORY=str(tmp_path / "state")),
            input="".join(f"line {number}\n" for number in range(50_000)) + "no newline",
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert done.returncode == 0, done.stderr
    assert receiver.messages == [*(f"line {number}" for number in range(50_000)), "no newline"]
    assert {record["service"] for record in receiver.records} == {"job"}


def test_a_dry_run_prints_and_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "web.log").write_text("GET /healthz 200\nGET /cart 500\nGET /metrics 200\n")
    config = tmp_path / "ship.yaml"
    config.write_text(f"""
state: {tmp_path / "state"}
sources:
  - kind: files
    paths: [{tmp_path}/*.log]
    service: web
    attributes: {{team: shop}}
filters:
  - {{name: probes, action: drop, keyword: /healthz}}
  - {{name: scrapes, action: count, regex: "^GET /metrics"}}
""")
    done = run_command(tmp_path, "ship", "--config", str(config), "--dry-run")
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert records[0]["message"] == "GET /cart 500"
    assert records[0]["attributes"] == {"log.file.path": str(tmp_path / "web.log"), "team": "shop"}
    assert records[1]["attributes"] == {"filter.name": "scrapes", "filter.count": 1}
    assert len(records) == 2
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("sources: [{kind: files}]", "paths"),
        ("sources: [{kind: files, paths: [/x], sevice: a}]", "sevice"),
        ("sources: [{kind: files, paths: [/x], encoding: utf-16}]", "newline"),
        ("filters: [{name: a, action: drop}]\nsources: [{kind: stdin}]", "nothing to look for"),
        ("filters: [{name: a, action: drop, regex: '('}]\nsources: [{kind: stdin}]", "regex"),
        ("server: [", "YAML"),
        ("", "nothing to ship"),
    ],
)
def test_a_configuration_that_is_wrong_is_told_of(tmp_path: Path, text: str, told: str) -> None:
    config = tmp_path / "ship.yaml"
    config.write_text(text)
    done = run_command(tmp_path, "ship", "--config", str(config), "--dry-run")
    assert done.returncode == 1
    assert told in done.stderr


def test_a_second_shipper_of_one_state_folder_is_refused(tmp_path: Path) -> None:
    state = str(tmp_path / "state")
    with receiving() as receiver:
        arguments = [str(tmp_path / "*.log"), "--server", receiver.url, "--state", state]
        with _shipping(tmp_path, *arguments):
            _wait_for(lambda: (tmp_path / "state" / "ship.db").exists())
            second = run_command(tmp_path, "ship", *arguments, "--once", CAUSEGRAPH_API_KEY="key")
            assert second.returncode == 1
            assert "Another shipper" in second.stderr


def _log_lines(handler: logging.Handler, count: int, stop: Callable[[], bool] = lambda: False) -> list[str]:
    """Write lines through Python's logging, some of them with a stack trace."""
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.Logger("writer")
    logger.addHandler(handler)
    written = []
    for number in range(count):
        if stop():
            break
        written.append(f"order-{number}")
        if number % 50 == 49:
            try:
                raise ValueError(f"of order {number}")
            except ValueError:
                logger.exception("order-%d failed", number)
        else:
            logger.info("order-%d placed", number)
        if number % 20 == 0:
            time.sleep(0.005)
    handler.close()
    return written


def _rotating(path: Path) -> logging.Handler:
    return logging.handlers.RotatingFileHandler(path, maxBytes=20_000, backupCount=100)


def _timed(path: Path) -> logging.Handler:
    return logging.handlers.TimedRotatingFileHandler(path, when="S", interval=1, backupCount=100)


@pytest.mark.parametrize("make", [_rotating, _timed])
def test_what_logging_writes_and_rotates_is_shipped_once(
    tmp_path: Path, make: Callable[[Path], logging.Handler]
) -> None:
    log = tmp_path / "app.log"
    log.touch()
    with receiving() as receiver:
        arguments = [f"{log}*", "--start", "beginning", "--server", receiver.url, "--service", "shop"]
        with _shipping(tmp_path, *arguments, "--state", str(tmp_path / "state")):
            written = _log_lines(make(log), 2000)
            _wait_for(lambda: len(receiver.records) >= len(written))
    found = [record["message"].split(" ")[0] for record in receiver.records]
    assert Counter(found) == Counter(written)
    traces = [record for record in receiver.records if "Traceback" in record["message"]]
    assert len(traces) == 40
    assert all("ValueError: of order" in record["message"] for record in traces)
    assert {record["level"] for record in traces} == {"error"}
    assert receiver.conflicts == 0


@pytest.mark.long
def test_copytruncate_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.touch()
    with receiving() as receiver:
        arguments = [f"{log}*", "--start", "beginning", "--server", receiver.url]
        with _shipping(tmp_path, *arguments, "--state", str(tmp_path / "state")):
            paused = threading.Lock()
            written: list[str] = []

            def write() -> None:
                with log.open("a", buffering=1) as file:
                    for number in range(3000):
                        with paused:  # the writer stands still while the file is copied and cut: no loss is excused
                            file.write(f"line {number} with enough text to tell files apart\n")
                            written.append(f"line {number} with enough text to tell files apart")
                        time.sleep(0.001)

            writer = threading.Thread(target=write)
            writer.start()
            for _ in range(6):
                time.sleep(0.5)
                with paused:
                    for number in range(9, 0, -1):
                        if (old := tmp_path / f"app.log.{number}").exists():
                            old.rename(tmp_path / f"app.log.{number + 1}")
                    shutil.copy(log, tmp_path / "app.log.1")
                    os.truncate(log, 0)
            writer.join()
            _wait_for(lambda: len(receiver.records) >= len(written))
    assert Counter(receiver.messages) == Counter(written)


def test_a_stopped_shipper_leaves_nothing_behind(tmp_path: Path) -> None:
    """SIGTERM while the server is away: what was read waits in the outbox and goes out with the next run."""
    log = tmp_path / "app.log"
    log.write_text("one\ntwo\n")
    state = ["--state", str(tmp_path / "state")]
    away = {"answer": True}

    def judge(number: int, records: list[Any]) -> Any:
        return (503, {}, {}) if away["answer"] else None

    with receiving(judge=judge) as receiver:
        with _shipping(tmp_path, str(log), "--start", "beginning", "--server", receiver.url, *state) as process:
            _wait_for(lambda: receiver.requests > 0)
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        log.unlink()
        away["answer"] = False
        assert _ship_once(tmp_path, str(log), "--server", receiver.url).returncode == 0
    assert receiver.messages == ["one", "two"]
    assert '"message": "stopped"' in (tmp_path / "ship.log").read_text()

"""The command as people run it: a process of its own, on the session's local stack."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from agents.plain import program_version
from cli.commands.ask import choose_environment
from cli.commands.serve import _check_keys
from cli.stack import StackHandle
from domain.errors import QuestionError, SettingsError
from domain.settings import Settings
from storage.keys import Key

COMMAND = str(Path(sys.executable).with_name("causegraph"))
HOSTILE = "[red]boom[/red] \x1b[31mred \u202e :skull:"


def _environ(data_dir: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CAUSEGRAPH_")}
    cache = os.environ.get("CAUSEGRAPH_CACHE_DIR")
    return kept | {"CAUSEGRAPH_DATA_DIR": str(data_dir)} | ({"CAUSEGRAPH_CACHE_DIR": cache} if cache else {})


@dataclass(frozen=True)
class Cli:
    """Runs the command."""

    data_dir: Path

    def __call__(
        self, *arguments: str, status: int = 0, stdin: str = "", **environ: str
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [COMMAND, *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            env=_environ(self.data_dir) | environ,
            check=False,
            timeout=120,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    def json(self, *arguments: str, **more: Any) -> Any:
        return json.loads(self(*arguments, "--json", **more).stdout)


@pytest.fixture
def cli(stack: StackHandle, data_dir: Path) -> Cli:
    return Cli(data_dir)


@pytest.fixture
def bare(tmp_path: Path) -> Cli:
    """The command on a data folder in which nothing was ever started."""
    return Cli(tmp_path / "data")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Ten minutes of quiet log lines, and errors in the last one."""
    now = time.time_ns() // 1000
    lines = []
    for second in range(0, 600, 5):
        moment = now - (600 - second) * 1_000_000
        lines.append({"timestamp": moment, "service": "payment", "level": "info", "message": "charged 12 EUR"})
        if second > 540:
            told = f"card was refused {HOSTILE}"
            lines.append({"timestamp": moment, "service": "payment", "level": "error", "message": told})
    path = tmp_path / "logs.ndjson"
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_help_names_every_command_and_loads_nothing_heavy(bare: Cli) -> None:
    shown = bare("--help").stdout
    commands = "up down status doctor migrate serve ask ingest evidence trace incidents topology index code keys demo"
    for name in commands.split():
        assert f" {name} " in shown
    check = (
        "import sys, cli.main; cli.main.build_cli(); "
        "print([m for m in ('fastapi', 'mariadb', 'falkordb', 'langgraph', 'pydantic', 'httpx', 'tree_sitter', 'watchfiles') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("arguments", [("nothing",), ("ask",), ("ask", "why?", "--nowhere"), ("serve", "--port", "x")])
def test_wrong_usage_ends_with_2(bare: Cli, arguments: tuple[str, ...]) -> None:
    bare(*arguments, status=2)


def test_the_version_is_all_that_is_asked_for(bare: Cli) -> None:
    assert bare("--version").stdout.strip() == program_version()


def test_a_terminal_without_unicode_shows_what_it_can(bare: Cli) -> None:
    done = bare("ask", "why?", "--at", "🔥", status=1, PYTHONIOENCODING="ascii")
    assert done.stderr.startswith("Error: `--at`: not a time: '\\U0001f525'")


def test_a_setting_that_is_empty_is_not_set(bare: Cli, tmp_path: Path) -> None:
    shown = bare("status", CAUSEGRAPH_DATA_DIR="", XDG_DATA_HOME=str(tmp_path), CAUSEGRAPH_PORT="").stdout
    assert str(tmp_path / "causegraph") in shown


def test_an_error_is_one_line_and_a_hint(bare: Cli) -> None:
    done = bare("status", status=1, CAUSEGRAPH_PORT="many")
    assert done.stderr.startswith("Error: Invalid settings:")
    assert "CAUSEGRAPH_PORT" in done.stderr
    done = bare("ask", "why?", "--at", "yesterday", status=1)
    assert done.stderr.startswith("Error: `--at`: not a time")


def test_what_was_never_started_is_stopped(bare: Cli) -> None:
    assert bare.json("status")["stack"]["phase"] == "stopped"
    assert bare.json("status")["server"] is None
    assert bare("down").stdout == "nothing was running\n"
    assert not bare.data_dir.exists()


def test_status_and_doctor_of_a_running_stack(cli: Cli) -> None:
    status = cli.json("status")
    assert status["stack"]["phase"] == "ready"
    findings = cli.json("doctor")["findings"]
    assert all(finding["ok"] for finding in findings)
    assert "ok" in cli("doctor").stdout
    assert cli.json("migrate") == {"applied": []} or cli.json("migrate") == {"applied": []}


def test_keys_are_made_listed_and_revoked(cli: Cli) -> None:
    made = cli.json("keys", "create", "--name", "[red]ci", "--role", "ingest")
    assert made["key"].startswith("cg_")
    listed = cli("keys", "list").stdout
    assert made["id"] in listed
    assert "[red]ci" in listed
    assert made["key"] not in listed
    cli("keys", "revoke", made["id"])
    keys = {key["id"]: key for key in cli.json("keys", "list")["keys"]}
    assert keys[made["id"]]["revoked_us"]
    assert "Error: There is no key key-0" in cli("keys", "revoke", "key-0", status=1).stderr


def test_records_in_and_answers_out_without_a_server(cli: Cli, logs: Path, environment: str) -> None:
    sent = cli.json("ingest", str(logs), "--environment", environment)
    assert (sent["rejected"], sent["duplicate"]) == (0, 0)
    assert sent["accepted"] == 131
    again = cli.json("ingest", str(logs), "--environment", environment)
    assert (again["accepted"], again["duplicate"]) == (0, 131)
    question = f"why did payment fail? {HOSTILE}"
    answer = _ask(cli, question, environment)
    printed = cli("incidents", answer["incident_id"]).stdout
    assert answer["verdict"]["outcome"] in printed
    listed = cli("incidents", "--environment", environment).stdout
    assert answer["incident_id"] in "".join(listed.split())
    shown = cli("trace", "show", answer["trace_id"]).stdout
    assert "Search ledger" in shown
    assert answer["trace_id"] in cli("trace", "list", "--environment", environment, COLUMNS="200").stdout
    for text in (printed, listed, shown):
        assert "\x1b" not in text
        assert "\u202e" not in text
    assert "[red]boom[/red]" in printed
    assert ":skull:" in printed
    for found in [claim["evidence"][0] for claim in answer["claims"]][:2]:
        assert cli.json("evidence", found)["state"] == "unchanged"
    assert "Error: There is no evidence" in cli("evidence", "log-000000000000", status=1).stderr


def _ask(cli: Cli, question: str, environment: str) -> Any:
    """Ask, and return the answer whatever its outcome."""
    command = [COMMAND, "ask", question, "--environment", environment, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=_environ(cli.data_dir), check=False, timeout=120)
    body = json.loads(done.stdout)
    assert done.returncode == (3 if body["verdict"]["outcome"] == "INCONCLUSIVE" else 0)
    assert "planner" in done.stderr
    return body


def test_an_environment_that_sent_nothing_is_inconclusive(cli: Cli, environment: str) -> None:
    done = cli("ask", "why did checkout fail?", "--environment", environment, status=3)
    assert "INCONCLUSIVE" in done.stdout


def test_plain_lines_become_log_events(cli: Cli, environment: str) -> None:
    text = "2024-01-01 12:00:00 ERROR disk is full\n\njust words\n" + json.dumps({"message": "json", "level": "warn"})
    sent = cli.json("ingest", "-", "--service", "disk", "--environment", environment, stdin=text)
    assert (sent["accepted"], sent["rejected"]) == (3, 0)


def test_rejected_records_are_told_and_end_with_1(cli: Cli, environment: str) -> None:
    changes = json.dumps([{"timestamp": "soon", "service": "x", "kind": "deploy", "summary": "[red]"}])
    done = cli("ingest", "-", "--kind", "changes", "--environment", environment, stdin=changes, status=1)
    assert "1 rejected" in done.stdout
    assert "timestamp" in done.stdout
    assert "No such file" in cli("ingest", "/nowhere/x.json", status=1).stderr


@pytest.fixture
def server(cli: Cli) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`causegraph serve` on a free port, and its address."""
    process = subprocess.Popen(
        [COMMAND, "serve", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=_environ(cli.data_dir),
    )
    assert process.stdout
    first = process.stdout.readline()
    assert first.startswith("Causegraph listens on http://127.0.0.1:"), process.stderr and process.stderr.read()
    yield process, first.split()[-1]
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=30)
    assert process.returncode == 0, told
    assert "Traceback" not in told
    assert not (cli.data_dir / "run" / "server.json").exists()


def test_commands_talk_to_the_server_that_runs(
    cli: Cli, server: tuple[subprocess.Popen[str], str], logs: Path, environment: str
) -> None:
    process, address = server
    assert cli.json("status")["server"]["address"] == address
    link = cli("status").stdout.split("pages")[1].strip()
    page = httpx.get(link)
    assert (page.status_code, "set-cookie" in page.headers) == (200, True)
    sent = cli.json("ingest", str(logs), "--environment", environment)
    assert sent["accepted"] == 131
    answer = _ask(cli, "why did payment fail?", environment)
    trace = cli.json("trace", "show", answer["trace_id"])
    assert trace["question"] == "why did payment fail?"
    assert "Error: There is no evidence" in cli("evidence", "log-000000000000", status=1).stderr
    port = address.rpartition(":")[2]
    done = cli("serve", "--port", port, status=1)
    assert f"Port {port} of 127.0.0.1 cannot be listened on" in done.stderr
    assert process.poll() is None


async def test_other_machines_are_not_served_without_a_key_made_for_them(data_dir: Path) -> None:
    class Stub:
        def __init__(self, *keys: Key) -> None:
            self.keys = self
            self._keys = keys

        async def list(self) -> tuple[Key, ...]:
            return self._keys

    local, made = Key("key-1", "local", "admin", 1), Key("key-2", "ci", "ask", 1)
    revoked = Key("key-3", "old", "ask", 1, 2)
    anywhere = Settings(data_dir=data_dir, host="0.0.0.0")  # noqa: S104
    with pytest.raises(SettingsError, match="keys create"):
        await _check_keys(anywhere, Stub(local, revoked))  # type: ignore[arg-type]
    await _check_keys(anywhere, Stub(local, made))  # type: ignore[arg-type]
    await _check_keys(Settings(data_dir=data_dir), Stub(local))  # type: ignore[arg-type]


def test_an_environment_is_chosen_only_if_there_is_no_doubt() -> None:
    assert choose_environment({"environments": []}) == "default"
    assert choose_environment({"environments": ["shop"]}) == "shop"
    assert choose_environment({"environments": ["default", "shop"]}) == "default"
    with pytest.raises(QuestionError, match="blue, green"):
        choose_environment({"environments": ["blue", "green"]})


def test_the_demo_knows_its_faults(bare: Cli) -> None:
    assert "bad-deploy" in bare("demo", "--fault", "list").stdout
    assert "There is no fault 'sunspots'" in bare("demo", "--fault", "sunspots", status=1).stderr

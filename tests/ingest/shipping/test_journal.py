"""The journal is followed through journalctl: a recorded one that can die, and the real one on a real journal file."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.errors import ShippingError
from ingest.shipping.assembly import Naming
from ingest.shipping.journal import JournalOptions, JournalSource, read_entry

# Speaks as journalctl does: entries of a file, behind a cursor, and on as the file grows. Dies after some entries.
_RECORDED = """
import json, sys, time
arguments = dict(part.partition("=")[::2] for part in sys.argv[1:])
path, dies_after = arguments["--file"], int(arguments.get("--dies-after", 10**9))
after, number = arguments.get("--after-cursor", ""), 0
file, is_past = open(path), not after
while True:
    line = file.readline()
    if not line:
        if "--follow" not in arguments:
            break
        time.sleep(0.02)
        continue
    if is_past:
        print(line, end="", flush=True)
        number += 1
        if number >= dies_after:
            sys.exit("the journal was rotated under my feet")
    is_past = is_past or json.loads(line)["__CURSOR"] == after
"""


def _entry(number: int, message: Any, **more: str) -> str:
    fields = {"__CURSOR": f"s=abc;i={number:x}", "__REALTIME_TIMESTAMP": str(1795271045000000 + number), **more}
    return json.dumps({**fields, "MESSAGE": message, "PRIORITY": "6", "_SYSTEMD_UNIT": "shop.service"}) + "\n"


@pytest.fixture
def recorded(tmp_path: Path) -> list[str]:
    script = tmp_path / "journalctl.py"
    script.write_text(_RECORDED)
    return [sys.executable, str(script)]


async def _read(source: JournalSource, wanted: int, cursors: dict[str, bytes]) -> list[str]:
    """Read until so many lines have come, keeping the cursors as the shipper does."""
    found: list[str] = []
    end = time.monotonic() + 30
    while len(found) < wanted:
        assert time.monotonic() < end, f"only {len(found)} lines came: {source.describe()}"
        portion = await source.read()
        if portion is None:
            await asyncio.sleep(0.01)
            continue
        found += [line.message for line in portion.lines]
        cursors.update({key: value for key, value in portion.cursors.items() if value is not None})
    return found


async def test_a_child_that_dies_is_started_again_behind_its_last_entry(tmp_path: Path, recorded: list[str]) -> None:
    journal = tmp_path / "journal"
    journal.write_text("".join(_entry(number, f"line {number}") for number in range(25)))
    options = JournalOptions(
        Naming(""), arguments=[f"--file={journal}", "--dies-after=10"], from_end=False, command=recorded
    )
    source = JournalSource("journal", options)
    cursors: dict[str, bytes] = {}
    await source.start({})
    try:
        assert await _read(source, 25, cursors) == [f"line {number}" for number in range(25)]
        said = source.describe()
        assert len(said) >= 2
        assert "rotated under my feet" in said[0]
    finally:
        await source.close()
    with journal.open("a") as file:
        file.write(_entry(25, "line 25"))
    again = JournalSource("journal", options)
    await again.start(cursors)
    try:
        assert await _read(again, 1, cursors) == ["line 25"]
    finally:
        await again.close()


async def test_once_ends_with_the_journal(tmp_path: Path, recorded: list[str]) -> None:
    journal = tmp_path / "journal"
    journal.write_text("".join(_entry(number, f"line {number}") for number in range(5000)) + "not JSON\n")
    options = JournalOptions(Naming(""), arguments=[f"--file={journal}"], command=recorded)
    source = JournalSource("journal", options, once=True)
    await source.start({})
    try:
        assert len(await _read(source, 5000, {})) == 5000
        async with asyncio.timeout(30):
            while not source.is_finished():
                await source.read()
                await asyncio.sleep(0.01)
        assert ["not JSON" in said for said in source.describe()] == [True]
    finally:
        await source.close()


async def test_no_journalctl_is_told_of() -> None:
    source = JournalSource("journal", JournalOptions(Naming(""), command=["no-such-journalctl"]))
    with pytest.raises(ShippingError, match="no no-such-journalctl here"):
        await source.start({})


@pytest.mark.parametrize("priority", ["²", "٣", "8", "-1", "", "1" * 5000, ["3", "4"], [51], None])
def test_a_priority_that_is_none_costs_no_line(priority: Any) -> None:
    line = read_entry({"MESSAGE": "x", "PRIORITY": priority}, Naming(""))
    assert line is not None
    assert line.level in ("", "error")


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"MESSAGE": "plain"}, "plain"),
        ({"MESSAGE": [104, 195, 164, 10, 255]}, "hä\n\\xff"),
        ({"MESSAGE": ["one", "two"]}, "one"),
        ({"MESSAGE": None}, None),
        ({}, None),
        ({"MESSAGE": [999, -1]}, None),
        ({"MESSAGE": {"a": 1}}, None),
    ],
)
def test_what_a_message_may_be(fields: dict[str, Any], expected: str | None) -> None:
    line = read_entry(fields, Naming("svc"))
    assert (line.message if line else None) == expected


def test_the_names_of_an_entry() -> None:
    entry = {
        "MESSAGE": "ERROR no stock",
        "PRIORITY": "6",
        "_SYSTEMD_UNIT": "shop.service",
        "SYSLOG_IDENTIFIER": "python3",
        "_PID": "812",
        "_HOSTNAME": "web-1",
        "__REALTIME_TIMESTAMP": "1795271045935743",
        "_SOURCE_REALTIME_TIMESTAMP": "1795271045935700",
    }
    line = read_entry(entry, Naming("", "node", "production", {"team": "shop"}))
    assert line is not None
    assert (line.service, line.node, line.level, line.timestamp) == ("shop", "web-1", "error", 1795271045935700)
    assert line.environment == "production"
    assert line.attributes == {
        "team": "shop",
        "systemd.unit": "shop.service",
        "syslog.identifier": "python3",
        "process.pid": "812",
    }
    kernel = read_entry({"MESSAGE": "oom", "PRIORITY": "3", "SYSLOG_IDENTIFIER": "kernel"}, Naming(""))
    assert kernel is not None
    assert (kernel.service, kernel.level) == ("kernel", "error")


@pytest.fixture(scope="module")
def write_journal(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path, str], None]:
    """What appends entries in the export format to a journal file: systemd-journal-remote, fetched if it is not here."""
    if shutil.which("journalctl") is None:
        pytest.skip("there is no journalctl here")
    folder = tmp_path_factory.mktemp("journal-remote")
    remote = next((path for path in _remotes(folder) if path.exists()), None)
    if remote is None and shutil.which("apt-get") and shutil.which("dpkg"):
        subprocess.run(
            ["apt-get", "download", "-o", "APT::Sandbox::User=root", "systemd-journal-remote", "libmicrohttpd12"],
            cwd=folder,
            capture_output=True,
            check=False,
            timeout=120,
        )
        for package in folder.glob("*.deb"):
            subprocess.run(["dpkg", "-x", str(package), str(folder)], check=True, timeout=60)
        remote = next((path for path in _remotes(folder) if path.exists()), None)
    if remote is None:
        pytest.skip("systemd-journal-remote is not installed and cannot be fetched with apt-get")
    program = remote
    libraries = ":".join({str(path.parent) for path in folder.rglob("lib*.so*")})

    def write(journal: Path, export: str) -> None:
        subprocess.run(
            [program, "-o", str(journal), "-"],
            input=export.encode(),
            env={**os.environ, "LD_LIBRARY_PATH": libraries},
            capture_output=True,
            check=True,
            timeout=60,
        )

    return write


def _remotes(folder: Path) -> list[Path]:
    name = "lib/systemd/systemd-journal-remote"
    return [root / name for root in (Path("/usr"), Path("/"), folder, folder / "usr")]


def _export(first: int, count: int) -> str:
    return "".join(
        f"__REALTIME_TIMESTAMP={1795271045000000 + number}\n__MONOTONIC_TIMESTAMP={1000 + number}\n"
        "_BOOT_ID=a0b1c2d3e4f5a0b1c2d3e4f5a0b1c2d3\n"
        f"MESSAGE=line {number}\nPRIORITY=4\n_SYSTEMD_UNIT=shop.service\n_HOSTNAME=web-1\n\n"
        for number in range(first, first + count)
    )


@pytest.mark.long
async def test_a_real_journal_is_followed_while_its_reader_is_killed(
    tmp_path: Path, write_journal: Callable[[Path, str], None]
) -> None:
    journal = tmp_path / "shop.journal"
    write_journal(journal, _export(0, 500))
    options = JournalOptions(Naming(""), units=["shop.service"], arguments=[f"--file={journal}"], from_end=False)
    source = JournalSource("journal", options)
    cursors: dict[str, bytes] = {}
    await source.start({})
    found: list[str] = []
    try:
        for turn in range(5):
            found += await _read(source, 500, cursors)
            assert source._child is not None
            source._child.send_signal(signal.SIGKILL)
            await asyncio.to_thread(write_journal, journal, _export(500 * (turn + 1), 500))
        found += await _read(source, 500, cursors)
    finally:
        await source.close()
    assert Counter(found) == Counter(f"line {number}" for number in range(3000))

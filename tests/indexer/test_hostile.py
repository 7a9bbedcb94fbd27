"""Folders that were made to hurt: bounded time and memory, a clear line in the report, and nothing else harmed."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from domain.settings import Settings
from indexer.roots import make_root
from indexer.sync import Syncer, SyncReport
from indexer.walk import list_files
from storage.code import CodeStore
from storage.database import Database
from tests.indexer.test_walk import git

SECONDS = 240  # generous: the machine may be busy with other things


async def index(database: Database, tree: Path, data: Path) -> SyncReport:
    store = CodeStore(database)
    root = await store.add_root(make_root(str(tree)))
    try:
        async with asyncio.timeout(SECONDS):
            return await Syncer(store, Settings(data_dir=data)).sync(root.id)
    finally:
        await store.remove_root(root.id)


def peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with one good file, which must be indexed whatever is beside it."""
    folder = tmp_path / "tree"
    folder.mkdir()
    (folder / "good.py").write_text("def good():\n    return 1\n")
    return folder


async def test_one_tree_of_everything_that_hurts(database: Database, tree: Path, tmp_path: Path) -> None:
    with (tree / "huge.log").open("wb") as file:
        file.write(b"line\n" * 10_000)
        file.truncate(1 << 30)
    with (tree / "huge.txt").open("wb") as file:  # text as far as one looks
        file.write(b"line\n" * 1_000_000)
    (tree / "bundle.min.js").write_text("!function(){" + "a(b,'c');" * 300_000 + "}();")
    (tree / "deep.json").write_text("[" * 500_000 + "]" * 500_000)
    (tree / "deep.py").write_text("(" * 100_000 + ")" * 100_000)
    (tree / "latin.py").write_bytes(b"# caf\xe9\ndef f(): pass\n" + bytes(range(128, 256)) * 50)
    (tree / "utf16.py").write_bytes("def f(): pass\n".encode("utf-16"))
    (tree / "nothing.py").write_bytes(b"")
    (tree / "newline\nname.py").write_text("x = 1\n")
    (tree / "-rf").write_text("x = 1\n")
    (tree / "loop").symlink_to(tree)
    (tree / "passwd.txt.py").symlink_to("/etc/passwd")
    os.mkfifo(tree / "pipe.py")
    before = peak_megabytes()
    report = await index(database, tree, tmp_path / "data")
    names = {change.path for change in report.changes}
    assert names == {
        *("good.py", "bundle.min.js", "deep.json", "deep.py", "latin.py", "utf16.py", "nothing.py"),
        *("newline\nname.py", "-rf"),
    }
    assert report.skipped == {"link": 2, "too large": 2}
    assert {line.partition(":")[0] for line in report.problems} >= {"huge.log", "huge.txt"}
    assert peak_megabytes() - before < 300


async def test_a_file_that_never_stops_changing(database: Database, tree: Path, tmp_path: Path) -> None:
    stop = threading.Event()

    def write() -> None:
        with (tree / "busy.txt").open("a") as file:
            while not stop.is_set():
                file.write("x\n")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        report = await index(database, tree, tmp_path / "data")
    finally:
        stop.set()
        writer.join()
    assert "good.py" in {change.path for change in report.changes}
    found = {change.path for change in report.changes} | {line.partition(":")[0] for line in report.problems}
    assert "busy.txt" in found  # read in a quiet moment, or said


@pytest.mark.long
@pytest.mark.parametrize(("checkout", "files"), [(False, 1_000_000), (True, 200_000)])
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the memory of a process is read from /proc")
def test_a_million_files_in_one_folder(tree: Path, checkout: bool, files: int) -> None:
    crowd = tree / "crowd"
    crowd.mkdir()
    if checkout:
        git(tree, "init")
    folder = os.open(crowd, os.O_RDONLY)
    try:
        for number in range(files):
            os.close(os.open(f"{number:x}", os.O_CREAT | os.O_WRONLY, dir_fd=folder))
        check = (
            "import re, sys; from pathlib import Path; from indexer.walk import list_files\n"
            "found = list_files(Path(sys.argv[1]))\n"
            "print(sorted(found.stamps), found.problems, int(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1]) // 1024)"
        )
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", check, tree], capture_output=True, text=True, check=True)
        assert time.monotonic() - began < SECONDS
        told, _, megabytes = done.stdout.rpartition(" ")
        assert told == "['good.py'] ['crowd/: holds more than 20,000 files, so none in it was taken']"
        assert int(megabytes) < (300 if checkout else 100)
    finally:
        os.close(folder)
        subprocess.run(["rm", "-rf", crowd], check=True)


@pytest.mark.long
def test_many_links_in_a_circle(tree: Path) -> None:
    for number in range(10_000):
        (tree / f"link{number}").symlink_to(tree if number % 2 else f"link{number - 1}")
    (tree / "good.py").touch()
    found = list_files(tree)
    assert list(found.stamps) == ["good.py"] and found.links == 10_000

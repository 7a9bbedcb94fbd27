"""`causegraph ask` on a terminal: a conversation until an empty line."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from pathlib import Path

from cli.stack import StackHandle
from tests.serving import COMMAND, ROOT, clean_environ, run_command

_SECONDS = 120.0


def test_without_a_question_it_converses(stack: StackHandle, data_dir: Path, environment: str) -> None:
    mine, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "ask", "--environment", environment, "--thread", "thr-typed"],
        cwd=ROOT,
        env=clean_environ(data_dir, CAUSEGRAPH_EMBEDDER="none", TERM="dumb", COLUMNS="200"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    said = Screen(mine)
    try:
        said.until("> ")
        os.write(mine, b"what changed?\n")
        said.until("no change was recorded")
        said.until("> ")
        os.write(mine, b"write me a poem about roses\n")
        said.until("not something I can help with")
        said.until("> ")
        os.write(mine, b"\n")
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(mine)
    assert "thread thr-typed" in said.text


def test_without_a_terminal_it_says_what_is_missing(data_dir: Path) -> None:
    done = run_command(data_dir, "ask")
    assert done.returncode == 2
    assert "QUESTION" in done.stderr


class Screen:
    """What was written to a terminal; `until` reads on from where it was."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._seen = 0
        self.text = ""
        os.set_blocking(number, False)

    def until(self, wanted: str) -> None:
        end = time.monotonic() + _SECONDS
        while wanted not in self.text[self._seen :]:
            assert time.monotonic() < end, f"{wanted!r} did not come: {self.text[-2000:]}"
            try:
                self.text += os.read(self._number, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.05)
        self._seen = self.text.index(wanted, self._seen) + len(wanted)

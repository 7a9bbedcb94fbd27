"""Files are followed through everything that writers and rotations do to them: each whole line is shipped once."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ingest.shipping.discovery import may_be_copy
from ingest.shipping.tail import Cursor
from tests.ingest.shipping.following import Follower


def _append(path: Path, text: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def follower(tmp_path: Path) -> Iterator[Follower]:
    made = Follower(tmp_path / "*.log")
    yield made
    made.close()


def test_a_partial_line_waits_for_its_end(log: Path, follower: Follower) -> None:
    _append(log, "one\ntw")
    assert follower.settle() == ["one"]
    _append(log, "o\n")
    assert follower.settle() == ["two"]
    assert "log.part" not in follower.lines[-1].attributes


def test_a_partial_line_that_stays_so_is_shipped_and_marked(log: Path, follower: Follower) -> None:
    _append(log, "prompt> ")
    follower.poll()
    assert follower.poll(9.0) == []
    assert follower.poll(2.0) == ["prompt> "]
    _append(log, "yes\nnext\n")
    assert follower.settle() == ["yes", "next"]
    assert [line.attributes.get("log.part") for line in follower.lines] == ["partial", "continued", None]


def test_a_file_is_taken_up_where_it_was_left(log: Path, follower: Follower) -> None:
    _append(log, "one\n")
    follower.settle()
    _append(log, "two\n")
    follower.restart()
    assert follower.settle() == ["two"]


def test_a_trace_that_a_restart_cuts_in_two_is_whole(log: Path, follower: Follower) -> None:
    _append(log, 'Traceback (most recent call last):\n  File "a.py", line 1, in f\n')
    assert follower.poll() == []
    follower.restart()
    _append(log, "ValueError: no\nnext\n")
    assert follower.settle() == [
        'Traceback (most recent call last):\n  File "a.py", line 1, in f\nValueError: no',
        "next",
    ]
    assert follower.lines[0].level == "error"


def test_renamed_while_away(log: Path, tmp_path: Path, follower: Follower) -> None:
    _append(log, "one\n")
    follower.settle()
    _append(log, "two\n")
    log.rename(tmp_path / "app.log.1")
    _append(log, "three\n")
    follower.restart()
    assert sorted(follower.settle()) == ["three", "two"]


def test_a_writer_that_goes_on_in_the_renamed_file(log: Path, tmp_path: Path, follower: Follower) -> None:
    _append(log, "one\n")
    follower.settle()
    log.rename(tmp_path / "app.log.1")
    _append(log, "new\n")
    assert follower.settle() == ["new"]
    follower.poll(120.0)
    _append(tmp_path / "app.log.1", "late\n")
    assert follower.settle() == ["late"]


def test_a_rotated_file_that_the_pattern_names_too(tmp_path: Path, log: Path) -> None:
    follower = Follower(tmp_path / "app.log*")
    _append(log, "one\n")
    assert follower.settle() == ["one"]
    log.rename(tmp_path / "app.log.1")
    _append(log, "two\n")
    assert follower.settle() == ["two"]
    follower.restart()
    assert follower.settle() == []
    follower.close()


@pytest.mark.parametrize("pattern", ["*.log", "app.log*"])
@pytest.mark.parametrize("away", [False, True])
def test_what_only_the_copy_of_copytruncate_holds_is_read_there(
    tmp_path: Path, log: Path, pattern: str, away: bool
) -> None:
    follower = Follower(tmp_path / pattern)
    _append(log, "first line of the log\n")
    follower.settle()
    _append(log, "unread\n")
    shutil.copy(log, tmp_path / "app.log.1")
    if not away:
        assert follower.settle() == ["unread"]
    os.truncate(log, 0)
    _append(log, "a line behind the cut that is longer than what was there\n")
    if away:
        follower.restart()
    expected = [*(["unread"] if away else []), "a line behind the cut that is longer than what was there"]
    assert sorted(follower.settle()) == sorted(expected)
    follower.restart()
    assert follower.settle() == []
    follower.close()


def test_a_copy_whose_original_was_renamed_before_anybody_looked(tmp_path: Path, log: Path) -> None:
    follower = Follower(tmp_path / "app.log*")
    _append(log, "one\ntwo\n")
    assert follower.settle() == ["one", "two"]
    _append(log, "three\n")
    shutil.copy(log, tmp_path / "app.log.2")
    os.truncate(log, 0)
    log.rename(tmp_path / "app.log.1")
    _append(log, "four\n")
    assert sorted(follower.settle()) == ["four", "three"]
    follower.close()


def test_a_copy_that_is_still_being_made(tmp_path: Path, log: Path) -> None:
    follower = Follower(tmp_path / "app.log*")
    _append(log, "".join(f"line {number} of many\n" for number in range(1000)))
    assert len(follower.settle()) == 1000
    whole = log.read_bytes()
    copy = tmp_path / "app.log.1"
    copy.touch()
    assert follower.poll() == []
    copy.write_bytes(whole[:500])
    assert follower.poll() == []
    copy.write_bytes(whole)
    assert follower.settle() == []
    os.truncate(log, 0)
    _append(log, "fresh\n")
    assert follower.settle() == ["fresh"]
    follower.close()


def test_a_cut_file_without_a_copy_is_read_from_its_beginning_and_told_of(log: Path, follower: Follower) -> None:
    _append(log, "one\ntwo\n")
    follower.settle()
    os.truncate(log, 0)
    _append(log, "three\n")
    assert follower.settle() == ["three"]
    assert ["was cut short" in said for said in follower.said] == [True]


def test_a_file_that_grew_beyond_the_old_place_before_anybody_looked(log: Path, follower: Follower) -> None:
    _append(log, "one\ntwo\n")
    follower.settle()
    os.truncate(log, 0)
    _append(log, "ten lines later\nand more\n")
    assert follower.settle() == ["ten lines later", "and more"]


def test_zeros_of_a_writer_that_kept_its_place(log: Path, follower: Follower) -> None:
    with log.open("wb", buffering=0) as writer:
        writer.write(b"one\ntwo\n")
        follower.settle()
        os.truncate(log, 0)
        writer.write(b"three\n")
        assert follower.settle() == ["three"]


def test_deleted_and_made_again(log: Path, follower: Follower) -> None:
    _append(log, "one\n")
    follower.settle()
    log.unlink()
    follower.poll(10.0)
    _append(log, "two\n")
    assert follower.settle() == ["two"]


def test_an_inode_that_belongs_to_another_file_by_now(log: Path, follower: Follower) -> None:
    _append(log, "one of the old file\n")
    follower.settle()
    follower.let_go()
    inode = log.stat().st_ino
    for _ in range(50):  # until the file system gives the same number again
        log.unlink()
        _append(log, "one of the new file\n")
        if log.stat().st_ino == inode:
            break
    else:
        pytest.skip("this file system does not give inode numbers again")
    follower.restart()
    assert follower.settle() == ["one of the new file"]


def test_files_that_are_renamed_while_one_is_compared(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rotation moves every number on, so that the path of a file that is being opened leads to its neighbour."""
    first, second = log.with_name("app.log.1"), log.with_name("app.log.2")
    follower = Follower(f"{log}.*")
    _append(first, "first\n")
    assert follower.settle() == ["first"]
    _append(second, "second\nsecond, too\n")

    def rotate_and_compare(cursor: Cursor, path: str) -> bool:
        if not second.with_suffix(".3").exists():
            second.rename(second.with_suffix(".3"))
            first.rename(second)
        return may_be_copy(cursor, path)

    monkeypatch.setattr("ingest.shipping.files.may_be_copy", rotate_and_compare)
    with closing(follower):
        assert follower.settle() == ["second", "second, too"]
        assert not follower.said


def test_a_file_that_was_cut_and_is_as_long_as_before(log: Path, follower: Follower) -> None:
    """Lines of one length that differ in their time alone, as of a heartbeat."""
    _append(log, "10:00:00 " + "still alive " * 8 + "\n")
    assert len(follower.settle()) == 1
    os.truncate(log, 0)
    _append(log, "10:05:00 " + "still alive " * 8 + "\n")
    assert [message[:8] for message in follower.settle()] == ["10:05:00"]


@pytest.mark.parametrize("held", ["an older file\n", ""])
def test_an_inode_that_a_copy_has_been_given_by_now(tmp_path: Path, log: Path, held: str) -> None:
    """Removed, and its inode used again by the copy of another file, all while nobody looked."""
    older = tmp_path / "app.log.1"
    _append(older, held)
    _append(log, "one\ntwo\n")
    with closing(Follower(tmp_path / "app.log*")) as follower:
        follower.settle()
        follower.let_go()
        inode = older.stat().st_ino
        for _ in range(50):
            older.unlink()
            shutil.copy(log, older)
            if older.stat().st_ino == inode:
                break
        else:
            pytest.skip("this file system does not give inode numbers again")
        _append(older, "three\n")  # what only the copy holds
        os.truncate(log, 0)
        follower.restart()
        assert follower.settle() == ["three"]


def test_compressed_files_are_not_read(tmp_path: Path, log: Path) -> None:
    follower = Follower(tmp_path / "app*", excluded=["*.tmp"])
    for name in ("app.log", "app.log.2.gz", "app.tmp"):
        _append(tmp_path / name, f"{name}\n")
    assert follower.settle() == ["app.log"]
    follower.close()


def test_the_end_is_where_an_old_file_begins_and_new_ones_at_their_start(tmp_path: Path, log: Path) -> None:
    follower = Follower(tmp_path / "*.log", from_end=True)
    _append(log, "old\nhalf of a")
    assert follower.settle() == []
    _append(log, " line\n")
    _append(tmp_path / "new.log", "new\n")
    assert sorted(follower.settle()) == ["half of a line", "new"]
    _append(tmp_path / "while-away.log", "found later\n")
    follower.restart()
    assert follower.settle() == ["found later"]
    follower.close()


def test_overlong_lines_are_bounded_and_marked(log: Path, follower: Follower) -> None:
    _append(log, "a" * 100_000 + "\n" + "b" * 1_000_000)
    follower.poll()
    follower.restart()
    _append(log, "c\nnext\n")
    follower.settle()
    assert [(line.message[0], len(line.message)) for line in follower.lines] == [("a", 65536), ("b", 65536), ("n", 4)]
    cuts = [line.attributes.get("log.cut_bytes") for line in follower.lines]
    assert cuts == [100_000 - 65536, 1_000_001 - 65536, None]


def test_a_file_that_may_not_be_read_is_told_of_and_read_later(
    log: Path, follower: Follower, monkeypatch: pytest.MonkeyPatch
) -> None:
    _append(log, "one\n")
    with monkeypatch.context() as patched:

        def refuse(path: object, flags: int) -> int:
            raise PermissionError(13, "Permission denied", path)

        patched.setattr(os, "open", refuse)
        assert follower.settle() == []
    assert follower.said == [f"{log} cannot be opened: Permission denied"]
    assert follower.settle() == ["one"]


def test_bytes_that_are_no_text(log: Path, follower: Follower) -> None:
    _append(log, b"\xef\xbb\xbfcaf\xc3\xa9\r\nbroken \xe9\xff\n")
    assert follower.settle() == ["café", "broken \\xe9\\xff"]


def test_thousands_of_files_with_few_open(tmp_path: Path) -> None:
    for number in range(500):
        _append(tmp_path / f"{number}.log", f"line of {number}\n")
    follower = Follower(tmp_path / "*.log", max_open=16, scan_seconds=1.0)
    assert len(set(follower.settle())) == 500
    assert follower.open_files() <= 16
    _append(tmp_path / "7.log", "again\n")
    assert follower.settle() == ["again"]
    follower.close()


class Rotations(RuleBasedStateMachine):
    """Writers, rotations and restarts in any order. A cut may lose what nobody had read and nothing else holds."""

    @initialize(wide=st.booleans())
    def begin(self, wide: bool) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="causegraph-follow-"))
        self.log = self.folder / "app.log"
        self.log.touch()
        self.wide = wide
        self.follower = Follower(self.folder / ("app.log*" if wide else "app.log"))
        self.written: list[str] = []
        self.half = ""
        self.rotations = 0
        self.got: list[str] = self.follower.poll()

    @rule(count=st.integers(1, 30), size=st.integers(0, 300))
    def write(self, count: int, size: int) -> None:
        for _ in range(count):
            line = f"line {len(self.written)} " + "x" * size
            _append(self.log, line + "\n")
            self.written.append(self.half + line)
            self.half = ""

    @rule()
    def write_half(self) -> None:
        if not self.half:
            self.half = f"half {len(self.written)}: "
            _append(self.log, self.half)

    @rule()
    def read(self) -> None:
        self.got += self.follower.poll(0.1)

    @rule()
    def restart(self) -> None:
        self.follower.restart()

    @rule()
    def rename_and_create(self) -> None:
        self._end_half()
        self._shift()
        self.log.rename(self.folder / "app.log.1")
        self.log.touch()
        self.read()  # a file that comes and goes before anybody looks cannot be known

    @rule(read_between=st.booleans())
    def copy_and_truncate(self, read_between: bool) -> None:
        self._end_half()
        if not self.wide:
            self.read()  # what nobody has seen is only found again by a pattern that names the copies
            if self.log.stat().st_size:
                self.write(2, 3)
        self._shift()
        shutil.copy(self.log, self.folder / "app.log.1")
        if read_between:
            self.read()
        os.truncate(self.log, 0)

    @rule()
    def read_then_remove(self) -> None:
        self._end_half()
        self.read()
        for number in range(1, self.rotations + 2):
            (self.folder / f"app.log.{number}").unlink(missing_ok=True)

    def _end_half(self) -> None:
        if self.half:
            _append(self.log, "end\n")
            self.written.append(self.half + "end")
            self.half = ""

    def _shift(self) -> None:
        """Give the older files the next number, as logrotate does."""
        self.rotations += 1
        for number in range(self.rotations, 0, -1):
            old = self.folder / f"app.log.{number}"
            if old.exists():
                old.rename(self.folder / f"app.log.{number + 1}")

    @invariant()
    def nothing_twice(self) -> None:
        if hasattr(self, "got"):
            assert [line for line, count in Counter(self.got).items() if count > 1] == []

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self._end_half()
            self.got += self.follower.settle()
            self.nothing_twice()
            assert set(self.got) - set(self.written) == set()
            assert [line for line in self.written if line not in set(self.got)] == []
            self.follower.close()
            shutil.rmtree(self.folder)


TestRotations = Rotations.TestCase
TestRotations.settings = settings(
    max_examples=25, stateful_step_count=20, deadline=None, suppress_health_check=list(HealthCheck)
)

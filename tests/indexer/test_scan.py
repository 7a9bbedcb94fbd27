from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from indexer import manifest as manifests
from indexer import reading
from indexer.manifest import Manifest, load_manifest, save_manifest
from indexer.scan import Scan, scan_root
from indexer.walk import Listing, list_files

LARGEST = 64


def scan(root: Path, known: Manifest | None = None) -> Scan:
    return scan_root(root, known, LARGEST)


def later(found: Scan) -> Manifest:
    """The manifest as if it had been made long after the files were written, so that nothing in it is racy."""
    found.manifest.began_ns = time.time_ns() + 60 * 10**9
    return found.manifest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "a.py").write_text("one")
    (tmp_path / "sub" / "b.py").write_text("two")
    return tmp_path


def test_an_unchanged_file_is_not_read_again(tree: Path) -> None:
    first = scan(tree)
    assert first.read == 2 and first.leaves == {"a.py": blake3(b"one").digest(), "sub/b.py": blake3(b"two").digest()}
    again = scan(tree, later(first))
    assert again.read == 0 and again.leaves == first.leaves and not again.touched


def test_only_what_changed_is_read(tree: Path) -> None:
    known = later(scan(tree))
    (tree / "a.py").write_text("other")
    found = scan(tree, known)
    assert found.read == 1 and found.leaves["a.py"] == blake3(b"other").digest()


def test_a_time_set_back_does_not_hide_a_change(tree: Path) -> None:
    before = (tree / "a.py").stat()
    known = later(scan(tree))
    (tree / "a.py").write_text("ONE")
    os.utime(tree / "a.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert scan(tree, known).leaves["a.py"] == blake3(b"ONE").digest()


def test_a_file_written_just_before_the_scan_is_looked_at_again(tree: Path) -> None:
    first = scan(tree)
    assert scan(tree, first.manifest).read == 2


def test_what_does_not_count_is_said_and_not_read_again(tree: Path) -> None:
    (tree / "image.png").write_bytes(b"\x89PNG\0\0")
    (tree / "large.txt").write_text("x" * (LARGEST + 1))
    (tree / "large.bin").write_bytes(b"\0" * (LARGEST + 1))
    (tree / "wide.txt").write_bytes("text".encode("utf-16"))
    (tree / "broken.py").write_bytes(b"\xff\xfa\x80 caf\xe9")
    first = scan(tree)
    assert sorted(first.leaves) == ["a.py", "broken.py", "sub/b.py", "wide.txt"]
    assert first.skipped == {"binary": 2, "too large": 1}
    assert [line.split(":")[0] for line in first.problems] == ["large.txt"]
    again = scan(tree, later(first))
    assert again.read == 0 and again.skipped == first.skipped and again.problems == first.problems


def test_a_key_under_an_innocent_name_is_left_out(tmp_path: Path) -> None:
    key = b"-----BEGIN RSA PRIVATE KEY-----\n" + b"A" * 64
    (tmp_path / "notes.txt").write_bytes(key)
    found = scan_root(tmp_path, None, 4096)
    assert not found.leaves and found.skipped == {"secret": 1} and "secret" in found.problems[0]


def test_an_unreadable_file_is_said_and_the_rest_taken(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = os.open

    def refuse(path: str, flags: int, *more: int, **named: int) -> int:
        if str(path).endswith("a.py"):
            raise PermissionError(13, "Permission denied")
        return opened(path, flags, *more, **named)

    known = later(scan(tree))
    (tree / "a.py").chmod(0)
    monkeypatch.setattr(os, "open", refuse)  # a test run by root may read everything
    found = scan(tree, known)
    assert list(found.leaves) == ["sub/b.py"] and found.problems == ["a.py: Permission denied"]


def test_a_file_that_changes_while_it_is_read_waits_for_the_next_time(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.read

    def read(handle: int, size: int) -> bytes:
        content = real(handle, size)
        if content == b"one" or content.startswith(b"grown"):
            with (tree / "a.py").open("w") as file:
                file.write("grown" + "x" * (len(content) + 1))
        return content

    monkeypatch.setattr(os, "read", read)
    found = scan(tree)
    assert list(found.leaves) == ["sub/b.py"] and "changes while it is read" in found.problems[0]
    monkeypatch.undo()
    assert set(scan(tree, later(found)).leaves) == {"a.py", "sub/b.py"}


def test_a_pipe_in_place_of_a_file_holds_nothing_up(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "a.py").unlink()
    os.mkfifo(tree / "a.py")
    assert list(scan(tree).leaves) == ["sub/b.py"]
    with pytest.raises(reading.UnreadableFile):
        reading.read_file(str(tree / "a.py"), LARGEST)


def test_a_link_put_in_place_of_a_file_is_not_read(tree: Path) -> None:
    (tree / "link").symlink_to(tree / "a.py")
    with pytest.raises(reading.UnreadableFile, match="link"):
        reading.read_file(str(tree / "link"), LARGEST)


# -- the manifest ------------------------------------------------------------------------------------------------------


def test_a_manifest_comes_back_as_it_was(tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "kept" / "manifest"
    manifest = scan(tree).manifest
    manifest.generation = 7
    save_manifest(file, manifest)
    assert load_manifest(file, 7) == manifest
    assert load_manifest(file, 8) is None
    assert load_manifest(tmp_path / "none", 7) is None


@given(st.data())
@settings(max_examples=50)
def test_a_damaged_manifest_does_not_count(data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "manifest"
        save_manifest(file, Manifest(1, 2, {"a.py": (1, 2, 3, 4, b"x" * 32)}))
        whole = file.read_bytes()
        at = data.draw(st.integers(0, len(whole) - 1))
        damaged = data.draw(
            st.sampled_from([whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :], whole + b"x"])
        )
        file.write_bytes(damaged)
        assert load_manifest(file, 1) is None


# -- any sequence of changes -------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["a.py", "b.txt", "x/a.py", "x/y/c.go", "x/b.env", ".gitignore", "z/big.py", "z/k.py"])
TEXTS = st.sampled_from(["one", "two", "a.py\n", "x/\n", "*.txt\n", "z" * (LARGEST + 1), "\0binary", ""])
STEPS = st.one_of(
    st.tuples(st.just("write"), NAMES, TEXTS),
    st.tuples(st.just("delete"), NAMES),
    st.tuples(st.just("rename"), NAMES, NAMES),
    st.tuples(st.just("chmod"), NAMES),
    st.tuples(st.just("link"), NAMES, NAMES),
    st.tuples(st.just("keep times"), NAMES, TEXTS),
    st.tuples(st.just("scan")),
)


def take_step(root: Path, step: tuple[str, ...]) -> None:
    kind, *names = step
    path = root / names[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    there = path.exists() and not path.is_symlink()
    match kind:
        case "write":
            path.unlink(missing_ok=True)
            path.write_text(names[1])
        case "delete":
            path.unlink(missing_ok=True)
        case "rename" if there:
            (root / names[1]).parent.mkdir(parents=True, exist_ok=True)
            path.replace(root / names[1])
        case "chmod" if there:
            path.chmod(path.stat().st_mode ^ 0o111)
        case "link":
            path.unlink(missing_ok=True)
            path.symlink_to(root / names[1])
        case "git add":
            _git(root, "add", "-A")
        case "swap" if path.parent != root and not path.parent.is_symlink():  # a folder turns into a link to itself
            moved = Path(tempfile.mkdtemp(dir=root.parent)) / "moved"
            path.parent.rename(moved)
            path.parent.symlink_to(moved)
        case "keep times" if there:
            before = path.stat()
            path.write_text(names[1])
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def _check_history(steps: list[tuple[str, ...]], root: Path) -> None:
    """Take steps; each scan must see what a fresh one sees."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifests, "_COARSEST_CLOCK_NS", 20_000_000)  # this file system's clock ticks every few ms
        known: Manifest | None = None
        for step in [*steps, ("scan",), ("scan",)]:
            if step[0] != "scan":
                take_step(root, step)
                continue
            time.sleep(0.025)
            found, fresh = scan(root, known), scan(root)
            assert found.leaves == fresh.leaves
            assert sorted(found.problems) == sorted(fresh.problems) and found.skipped == fresh.skipped
            known = found.manifest
        time.sleep(0.025)
        assert scan(root, scan(root, known).manifest).leaves == scan(root).leaves


@given(st.lists(STEPS, max_size=10))
@settings(max_examples=40, deadline=None)
def test_scans_one_after_another_see_what_a_fresh_one_sees(steps: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        _check_history(steps, Path(folder))


@given(st.lists(st.one_of(STEPS, st.tuples(st.sampled_from(["git add", "swap"]), NAMES)), max_size=10))
@settings(max_examples=25, deadline=None)
def test_so_do_scans_of_a_checkout(steps: list[tuple[str, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "tree"
        root.mkdir()
        _git(root, "init", "-q")
        _check_history(steps, root)


def _git(folder: Path, *arguments: str) -> None:
    subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True)


def test_a_checkout_that_is_as_it_was_is_not_walked(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "secret.pem").write_text("x")
    (tree / "link").symlink_to("a.py")
    _git(tree, "init", "-q")
    first = scan(tree)
    assert scan(tree, first.manifest).read == 2  # written too shortly before to be sure
    known = later(first)
    walked: list[Path] = []

    def walk(root: Path, *more: Any) -> Listing:
        walked.append(root)
        return list_files(root, *more)

    monkeypatch.setattr("indexer.scan.list_files", walk)
    again = scan(tree, known)
    assert walked == [] and again.read == 0 and not again.touched
    assert (again.leaves, again.skipped, again.problems) == (first.leaves, first.skipped, first.problems)
    (tree / "new.py").write_text("new")
    assert len(scan(tree, known).leaves) == 3 and walked == [tree]


def test_a_folder_that_became_a_link_counts_no_more(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    (tree / ".gitignore").write_text("sub\n")  # so that git names the same as before
    _git(tree, "init", "-q")
    _git(tree, "add", "-f", "-A")
    known = later(scan(tree))
    assert "sub/b.py" in known.entries
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "sub"
    (tree / "sub").rename(elsewhere)
    (tree / "sub").symlink_to(elsewhere)
    assert scan(tree, known).leaves.keys() == {"a.py", ".gitignore"}

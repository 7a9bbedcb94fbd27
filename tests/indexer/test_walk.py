from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from domain.errors import IndexingError
from indexer.walk import WalkLimits, list_files


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=T", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


IGNORED = {
    ".gitignore": "*.log\nbuild/\n!keep.log\n/top.txt\n",
    "a.py": "",
    "a.log": "",
    "keep.log": "",
    "top.txt": "",
    "sub/top.txt": "",
    "sub/.gitignore": "!a.log\n*.tmp\nonly/*.py\n",
    "sub/a.log": "",
    "sub/b.tmp": "",
    "sub/only/x.py": "",
    "sub/deep/only/x.py": "",
    "build/out.py": "",
    "build/.gitignore": "!out.py\n",
}


@pytest.mark.parametrize("checkout", [False, True])
def test_ignored_files_do_not_count(tmp_path: Path, checkout: bool) -> None:
    write(tmp_path, IGNORED)
    if checkout:
        git(tmp_path, "init")
    listing = list_files(tmp_path)
    assert listing.by_git == checkout
    assert sorted(listing.stamps) == sorted(
        [".gitignore", "a.py", "keep.log", "sub/.gitignore", "sub/a.log", "sub/deep/only/x.py", "sub/top.txt"]
    )


@pytest.mark.parametrize("checkout", [False, True])
def test_what_the_user_ignores_everywhere_does_not_count(
    tmp_path: Path, checkout: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    write(tmp_path, {"config/git/ignore": "*.swp\n", "tree/a.py": "", "tree/a.swp": ""})
    if checkout:
        git(tmp_path / "tree", "init")
    assert list(list_files(tmp_path / "tree").stamps) == ["a.py"]


@pytest.mark.parametrize("checkout", [False, True])
def test_links_are_not_followed(tmp_path: Path, checkout: bool) -> None:
    write(tmp_path, {"outside/b.py": "", "tree/a.py": "", "tree/real/b.py": "", "tree/linked/b.py": ""})
    tree = tmp_path / "tree"
    if checkout:
        git(tree, "init")
        git(tree, "add", "-A")
    (tree / "linked" / "b.py").unlink()
    (tree / "linked").rmdir()
    (tree / "linked").symlink_to(tmp_path / "outside")  # tracked as a folder, and a link by now
    (tree / "loop").symlink_to(tree)
    (tree / "a_link.py").symlink_to("a.py")
    assert sorted(list_files(tree).stamps) == ["a.py", "real/b.py"]


def test_a_checkout_inside_another_is_taken_by_its_own_rules(tmp_path: Path) -> None:
    write(
        tmp_path, {"a.py": "", "inner/b.py": "", "inner/b.out": "", "inner/.gitignore": "*.out\n", ".gitignore": "x\n"}
    )
    git(tmp_path, "init")
    git(tmp_path / "inner", "init")
    assert sorted(list_files(tmp_path).stamps) == [".gitignore", "a.py", "inner/.gitignore", "inner/b.py"]


def test_a_folder_that_its_checkout_ignores_is_walked(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "packages/\n", "packages/a.py": ""})
    git(tmp_path, "init")
    listing = list_files(tmp_path / "packages")
    assert list(listing.stamps) == ["a.py"] and not listing.by_git


def test_a_broken_checkout_is_walked_and_said_so(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": ""})
    git(tmp_path, "init")
    (tmp_path / ".git" / "index").write_bytes(b"DIRC broken")
    listing = list_files(tmp_path)
    assert list(listing.stamps) == ["a.py"]
    assert "git could not list" in listing.problems[0]


def test_nothing_of_a_repository_is_run(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": ""})
    git(tmp_path, "init")
    script = tmp_path / "evil.sh"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    script.chmod(0o755)
    for name in ("core.fsmonitor", "core.pager", "core.askPass", "diff.external", "core.hooksPath"):
        git(tmp_path, "config", name, str(script))
    assert "a.py" in list_files(tmp_path).stamps
    assert not (tmp_path / "run").exists()


def test_secrets_are_named_and_left_out(tmp_path: Path) -> None:
    write(tmp_path, {"a.py": "", ".env": "TOKEN=1", "deploy/server.pem": ""})
    listing = list_files(tmp_path)
    assert list(listing.stamps) == ["a.py"] and sorted(listing.secrets) == [".env", "deploy/server.pem"]


@pytest.mark.parametrize("checkout", [False, True])
def test_a_crowded_folder_is_left_out_and_the_rest_taken(tmp_path: Path, checkout: bool) -> None:
    write(tmp_path, {f"crowd/{number}": "" for number in range(12)} | {"a.py": "", "b/c.py": ""})
    if checkout:
        git(tmp_path, "init")
    listing = list_files(tmp_path, WalkLimits(folder_files=10))
    assert sorted(listing.stamps) == ["a.py", "b/c.py"]
    assert listing.problems == ["crowd/: holds more than 10 files, so none in it was taken"]


def test_too_many_files_are_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    write(tmp_path, {f"{number % 4}/{number}": "" for number in range(12)})
    with pytest.raises(IndexingError, match="CAUSEGRAPH_INDEX_MAX_FILES"):
        list_files(tmp_path, WalkLimits(files=10))


def test_a_root_that_is_no_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for name in ("missing", "file"):
        with pytest.raises(IndexingError, match="cannot be indexed"):
            list_files(tmp_path / name)


def test_names_that_cannot_be_kept_are_said(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.py")).write_text("")
    (tmp_path / "a.py").write_text("")
    listing = list_files(tmp_path)
    assert list(listing.stamps) == ["a.py"] and "not UTF-8" in listing.problems[0]


def test_deep_nesting_ends_somewhere(tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3_000):  # deeper than any path can say
        os.mkdir("d", dir_fd=handle)
        inner = os.open("d", os.O_RDONLY, dir_fd=handle)
        os.close(handle)
        handle = inner
    os.close(handle)
    (tmp_path / "a.py").write_text("")
    try:
        listing = list_files(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest's own way would nest as deeply
    assert list(listing.stamps) == ["a.py"] and "nested too deeply" in listing.problems[0]


def test_involved_patterns_are_dropped_and_said(tmp_path: Path) -> None:
    write(tmp_path, {".gitignore": "a*a*a*a*a*a*a*a*b\n*.out\n", "a" * 200: "", "x.out": ""})
    listing = list_files(tmp_path)
    assert sorted(listing.stamps) == [".gitignore", "a" * 200]
    assert listing.problems == [".gitignore: 1 patterns are too many or too involved"]

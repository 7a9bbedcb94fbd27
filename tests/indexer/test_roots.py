from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from domain.errors import IndexingError
from indexer.git import current_commit
from indexer.roots import make_root, update_clone
from tests.indexer.test_walk import git, write


@pytest.mark.parametrize(
    "address",
    [
        "https://example.org/team/shop.git",
        "ssh://git@example.org:2222/team/shop.git",
        "git@example.org:team/shop.git",
        "file:///srv/git/shop.git",
    ],
)
def test_addresses_are_told_from_folders(address: str) -> None:
    root = make_root(address, "release/1.2")
    assert (root.kind, root.location, root.branch) == ("git", address, "release/1.2")
    assert root.id != make_root(address).id


@pytest.mark.parametrize(
    "target",
    [
        "ext::sh -c 'touch evil'", "EXT::sh", "git://example.org/shop", "http://example.org/shop", "fd::17/x",
        "https://-oProxyCommand=evil/shop", "ssh://-oProxyCommand=evil/shop", "-oProxyCommand=evil:shop",
        "ssh://-x@example.org/shop", "https://user:secret@example.org/shop", "https://token@example.org/shop",
        "https://example.org", "https:///shop", "https://[x/shop", "--upload-pack=evil", "git@example.org:-evil",
        "https://example.org/a b", "a\nb", "", "/no/such/folder", "x" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_address_and_no_folder_is_refused(target: str) -> None:
    with pytest.raises(IndexingError):
        make_root(target)


@pytest.mark.parametrize("branch", ["-x", "--upload-pack=evil", "a..b", "a b", "a\nb"])
def test_what_is_no_branch_is_refused(branch: str) -> None:
    with pytest.raises(IndexingError):
        make_root("https://example.org/shop", branch)


def test_a_folder_goes_by_its_real_path(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    (tmp_path / "link").symlink_to("tree")
    assert make_root(str(tmp_path / "link")) == make_root(str(tmp_path / "tree" / ".." / "tree"))
    with pytest.raises(IndexingError, match="branch"):
        make_root(str(tmp_path / "tree"), "main")


def test_a_folder_whose_name_cannot_be_kept_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    with pytest.raises(IndexingError, match="UTF-8"):
        make_root(str(folder))


def test_a_clone_is_made_and_kept_current(tmp_path: Path) -> None:
    source, clones = tmp_path / "source", tmp_path / "clones"
    write(source, {"a.py": "one\n"})
    git(source, "init")
    git(source, "add", "-A")
    git(source, "commit", "-m", "one")
    root = make_root(source.as_uri())
    folder = update_clone(root, clones, depth=5, seconds=60)
    assert (folder / "a.py").read_text() == "one\n" and current_commit(folder) == current_commit(source)
    assert not list((folder / ".git").glob("hooks/*"))
    write(source, {"a.py": "two\n"})
    git(source, "commit", "-am", "two")
    git(source, "commit", "--amend", "-m", "history was rewritten")
    write(folder, {"a.py": "changed here\n", "stray.py": ""})
    assert update_clone(root, clones, depth=5, seconds=60) == folder
    assert (folder / "a.py").read_text() == "two\n" and not (folder / "stray.py").exists()


def test_a_half_made_clone_is_made_again(tmp_path: Path) -> None:
    source, clones = tmp_path / "source", tmp_path / "clones"
    write(source, {"a.py": "one\n"})
    git(source, "init")
    git(source, "add", "-A")
    git(source, "commit", "-m", "one")
    root = make_root(source.as_uri())
    (clones / root.id).mkdir(parents=True)
    assert (update_clone(root, clones, depth=5, seconds=60) / "a.py").exists()


def test_a_repository_that_is_not_there_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with pytest.raises(IndexingError, match="not appear to be a git repository"):
        update_clone(make_root((tmp_path / "none").as_uri()), tmp_path / "clones", depth=5, seconds=60)
    assert not list((tmp_path / "clones").iterdir())


def test_hooks_of_a_clone_are_not_run(tmp_path: Path) -> None:
    source, clones = tmp_path / "source", tmp_path / "clones"
    write(source, {"a.py": "one\n"})
    git(source, "init")
    git(source, "add", "-A")
    git(source, "commit", "-m", "one")
    root = make_root(source.as_uri())
    folder = update_clone(root, clones, depth=5, seconds=60)
    hook = folder / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/run\n")
    hook.chmod(0o755)
    subprocess.run(["git", "checkout", "--quiet", "HEAD"], cwd=folder, check=True)
    assert (tmp_path / "run").exists()
    (tmp_path / "run").unlink()
    write(folder, {"a.py": "changed\n"})
    update_clone(root, clones, depth=5, seconds=60)
    assert not (tmp_path / "run").exists()

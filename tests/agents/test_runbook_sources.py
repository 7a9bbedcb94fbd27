"""Runbooks from git repositories: fetched, pinned, refreshed, and never more than text."""

from __future__ import annotations

from pathlib import Path

import pytest

from agents.runbook_sources import RunbookSources, read_repositories
from domain.errors import IndexingError, SettingsError
from domain.settings import Settings
from indexer.git import current_commit
from runbooks.rot import check_runbooks
from tests.indexer.test_walk import git
from tests.runbooks.test_library import write


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "team"
    write(folder / "books", "disk.md", "our-disks", "First")
    (tmp_path / "secret.md").write_text((folder / "books" / "disk.md").read_text())
    (folder / "books" / "stolen.md").symlink_to(tmp_path / "secret.md")
    git(folder, "init", "-q", "-b", "main")
    _commit(folder)
    return folder


def _commit(folder: Path) -> str:
    git(folder, "add", "-A")
    git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "x")
    return current_commit(folder)


def _sources(tmp_path: Path, repositories: str) -> RunbookSources:
    return RunbookSources(Settings(data_dir=tmp_path / "data", runbook_git=repositories, embedder="none"))


async def test_a_branch_is_followed_and_a_commit_is_not(repository: Path, tmp_path: Path) -> None:
    first, address = current_commit(repository), f"file://{repository}"
    followed = _sources(tmp_path, f"{address}#main:books")
    pinned = _sources(tmp_path, f"{address}#{first}:books")
    assert "our-disks" not in followed.library.runbooks and "not fetched" in followed.library.problems[0]
    assert await followed.fetch() and await pinned.fetch()
    runbook = followed.library.get("our-disks")
    assert (runbook.title, runbook.path) == ("First", f"{address}@{first[:12]}:books/disk.md")
    assert "disk-full" in followed.library.runbooks, "the built-in ones stay"
    write(repository / "books", "disk.md", "our-disks", "Second")
    second = _commit(repository)
    assert await followed.fetch() and not await pinned.fetch() and not await followed.fetch()
    changed = followed.library.get("our-disks")
    assert (changed.title, changed.path) == ("Second", f"{address}@{second[:12]}:books/disk.md")
    assert changed.revision != runbook.revision == pinned.library.get("our-disks").revision
    assert RunbookSources(
        Settings(data_dir=tmp_path / "data", runbook_git=f"{address}#main:books", embedder="none")
    ).library.get("our-disks"), "a start without the network has what was fetched"


async def test_a_link_out_of_the_repository_is_not_read(repository: Path, tmp_path: Path) -> None:
    outside = tmp_path / "private"
    write(outside, "own.md", "private-book")
    (repository / "evil").symlink_to(outside)
    _commit(repository)
    sources = _sources(tmp_path, f"file://{repository}#main:books file://{repository}#main:evil")
    await sources.fetch()
    for name in ("stolen.md", "own.md"):
        assert [problem for problem in sources.library.problems if f"{name}: this is a link" in problem]
    assert "private-book" not in sources.library.runbooks


async def test_what_cannot_be_fetched_is_told_and_the_old_stays(repository: Path, tmp_path: Path) -> None:
    sources = _sources(tmp_path, f"file://{repository}#main:books")
    await sources.fetch()
    repository.rename(tmp_path / "elsewhere")
    assert await sources.fetch()
    assert "our-disks" in sources.library.runbooks
    assert [problem for problem in sources.library.problems if problem.startswith(f"file://{repository}: ")]
    (tmp_path / "elsewhere").rename(repository)
    await sources.fetch()
    assert not [problem for problem in sources.library.problems if problem.startswith(f"file://{repository}: ")]


async def test_rot_is_looked_for_in_them_too(repository: Path, tmp_path: Path) -> None:
    path = repository / "books" / "disk.md"
    path.write_text(path.read_text().replace("title: First", "title: First\nservices: [gone]"))
    _commit(repository)
    sources = _sources(tmp_path, f"file://{repository}#main:books")
    await sources.fetch()
    assert ("our-disks", "no service is called 'gone' (any more)") in [
        (rot.id, rot.problem) for rot in check_runbooks(sources.library, {"cart"})
    ]


@pytest.mark.parametrize("bad", ["/tmp", "ext::sh", "https://u:p@example.org/x", "https://example.org/x#main:../../etc",
                                 "https://example.org/x#main:/etc", "https://example.org/x#--upload-pack=evil"])  # fmt: skip
def test_addresses_that_are_not_cloned(bad: str) -> None:
    with pytest.raises(IndexingError):
        read_repositories(bad)
    with pytest.raises(SettingsError, match="CAUSEGRAPH_RUNBOOK_GIT"):
        RunbookSources(Settings(runbook_git=bad, embedder="none"))

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from domain.times import SECOND_US
from indexer.git import GitError, current_commit, run_git
from indexer.history import blame_lines, commits_between, commits_of_lines

DAY = 86_400
START = 20_000
SUBJECT = "Say \x1b[31mhello\x1e\x1f, and lie: author Mallory"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Three commits on days 1, 2 and 3; the second changes line 2 of app.py, the third another file."""
    run_git(tmp_path, "init", "--initial-branch=main")
    (tmp_path / "svc").mkdir()
    for day, (name, text, subject) in enumerate(
        [
            ("svc/app.py", "one\ntwo\nthree\n", "Begin"),
            ("svc/app.py", "one\nTWO\nthree\n", SUBJECT),
            ("svc/a b\n:x.py", "x\n", ""),
        ],
        start=START + 1,
    ):
        (tmp_path / name).write_text(text)
        stamp = {f"GIT_{who}_DATE": f"@{day * DAY} +0000" for who in ("AUTHOR", "COMMITTER")}
        identity = ["-c", f"user.name=Person {day - START}", "-c", "user.email=p@example.org"]
        subprocess.run(["git", "add", "-A"], cwd=tmp_path, check=True)
        commit = ["commit", "--quiet", "--allow-empty-message", "-m", subject]
        subprocess.run(["git", *identity, *commit], cwd=tmp_path, check=True, env=os.environ | stamp)
    return tmp_path


def test_commits_of_a_span_of_time(checkout: Path) -> None:
    commits = commits_between(checkout, (START + 2) * DAY * SECOND_US)
    assert [(commit.author, commit.files) for commit in commits] == [
        ("Person 3", ("svc/a b\n:x.py",)),
        ("Person 2", ("svc/app.py",)),
    ]
    assert commits[1].subject == SUBJECT and commits[1].time_us == (START + 2) * DAY * SECOND_US
    assert commits[0].id == current_commit(checkout)
    assert [commit.author for commit in commits_between(checkout, 0, (START + 2) * DAY * SECOND_US)] == [
        "Person 2",
        "Person 1",
    ]
    assert [commit.author for commit in commits_between(checkout, 0, paths=("svc/app.py",))] == ["Person 2", "Person 1"]
    assert commits_between(checkout / "svc", 0)[1].files == ("app.py",)
    assert len(commits_between(checkout, 0, limit=1)) == 1


def test_who_touched_lines(checkout: Path) -> None:
    assert [commit.author for commit in commits_of_lines(checkout, "svc/app.py", 2, 2)] == ["Person 2", "Person 1"]
    assert [commit.author for commit in commits_of_lines(checkout / "svc", "app.py", 3, 3)] == ["Person 1"]
    assert [commit.author for commit in commits_of_lines(checkout, "svc/a b\n:x.py", 1, 1)] == ["Person 3"]
    with pytest.raises(GitError):
        commits_of_lines(checkout, "svc/app.py", 90, 99)


def test_who_wrote_lines_as_they_are_now(checkout: Path) -> None:
    (checkout / "svc/app.py").write_text("one\nTWO\nmine\n")
    origins = blame_lines(checkout, "svc/app.py", 1, 3)
    assert [(origin.line, origin.committed) for origin in origins] == [(1, True), (2, True), (3, False)]
    assert [origin.commit.author for origin in origins[:2]] == ["Person 1", "Person 2"]
    assert origins[1].commit.subject == SUBJECT


def test_an_option_in_place_of_a_path_is_a_path(checkout: Path) -> None:
    for path in ("--output=evil", "-o", ":(exclude)x"):
        with pytest.raises(GitError):
            blame_lines(checkout, path, 1, 1)
        assert commits_between(checkout, 0, paths=(path,)) == []
    assert not (checkout / "evil").exists()


def test_nothing_is_fetched_unless_it_was_asked_for(tmp_path: Path) -> None:
    run_git(tmp_path, "init", "--bare", "source")
    with pytest.raises(GitError, match="not allowed"):
        run_git(tmp_path, "clone", f"file://{tmp_path}/source", "copy")
    with pytest.raises(GitError, match="not allowed"):
        run_git(tmp_path, "clone", "ext::sh -c touch% evil", "copy", transports=("file", "https"))
    assert not (tmp_path / "evil").exists()


def test_git_that_takes_too_long_is_ended(checkout: Path) -> None:
    with pytest.raises(GitError, match="took longer"):
        run_git(checkout, "-c", "alias.slow=!sleep 60", "slow", timeout_seconds=0.3)

"""What git knows of the past of lines and files: which commits touched them, who, when, and in which words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domain.times import SECOND_US
from indexer.git import GitError, run_git

_FORMAT = "%x00%x00%H%x00%ct%x00%at%x00%an%x00%s"  # nothing but NUL can be missing from names and subjects
_SECONDS = 20.0
_EARLIEST = 100_000_000  # git reads a smaller number as something else than seconds since 1970
_ID = re.compile(r"[0-9a-f]{7,64}")
_HEAD = re.compile(r"([0-9a-f]{40,64}) (\d+) (\d+)(?: \d+)?")


@dataclass(frozen=True, slots=True)
class Commit:
    """One commit. Author and subject are whatever its author typed. `files` is filled where files were asked for."""

    id: str
    time_us: int
    authored_us: int
    author: str
    subject: str
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LineOrigin:
    """Who wrote a line as it stands. Lines that are not committed yet have a commit id of zeros only."""

    line: int
    commit: Commit

    @property
    def committed(self) -> bool:
        return self.commit.id.strip("0") != ""


def commits_between(
    folder: Path, since_us: int, until_us: int | None = None, paths: tuple[str, ...] = (), limit: int = 200
) -> list[Commit]:
    """Return the commits of a span of time that touched `paths` (empty: anything below the folder), newest first.

    Times count as committed, which is when they reached this branch. Raises GitError.
    """
    bounds = []
    if since_us // SECOND_US > _EARLIEST:
        bounds.append(f"--since=@{since_us // SECOND_US}")
    if until_us is not None:
        bounds.append(f"--until=@{max(_EARLIEST, until_us // SECOND_US)}")
    wanted = [f":(literal){path}" for path in paths or (".",)]
    out = _log(folder, *bounds, f"--max-count={limit}", "--name-only", "--relative", "--", *wanted)
    return [commit for commit in _read_log(out) if commit.time_us >= since_us]


def find_commit(folder: Path, commit: str) -> Commit:
    """Return a commit with the files that it touched below the folder; raises GitError where there is none of this id."""
    if not _ID.fullmatch(commit):
        raise GitError("That is no id of a commit.")
    out = _log(folder, "--max-count=1", "--name-only", "--relative", commit, "--")
    found = next(_read_log(out), None)
    if found is None:
        raise GitError(f"There is no commit {commit}.")
    return found


def commits_of_lines(folder: Path, path: str, first: int, last: int, limit: int = 5) -> list[Commit]:
    """Return the last commits that touched the lines `first` to `last` of a file as committed, newest first.

    Raises GitError where the file has no such lines or no history.
    """
    if path.startswith("/") or ":" in path or "\0" in path:  # the place after -L is read up to the last colon
        origins = blame_lines(folder, path, first, last)
        found = {origin.commit.id: origin.commit for origin in origins if origin.committed}
        return sorted(found.values(), key=lambda commit: commit.time_us, reverse=True)[:limit]
    out = _log(folder, f"-L{int(first)},{int(last)}:./{path}", f"--max-count={limit}", "--no-patch")
    return list(_read_log(out))


def blame_lines(folder: Path, path: str, first: int, last: int) -> list[LineOrigin]:
    """Return who wrote each of the lines `first` to `last` of a file as it is in the folder. Raises GitError."""
    out = run_git(
        folder, "blame", "--porcelain", "-L", f"{int(first)},{int(last)}", "--", path, timeout_seconds=_SECONDS
    )
    return list(_read_blame(out.decode("utf-8", "replace")))


def _log(folder: Path, *arguments: str) -> str:
    out = run_git(
        folder, "log", "-z", f"--format={_FORMAT}", "--no-ext-diff", "--no-textconv", "--no-color", *arguments,
        timeout_seconds=_SECONDS,
    )  # fmt: skip
    return out.decode("utf-8", "replace")


def _read_log(text: str) -> Iterator[Commit]:
    words = text.split("\0")
    at = 0
    while at < len(words):
        if not words[at].strip("\n"):
            at += 1
            continue
        identity, committed, authored, author, subject = words[at : at + 5]
        at += 5
        files: list[str] = []
        while at < len(words) and words[at].strip("\n"):
            files.append(words[at].removeprefix("\n") if not files else words[at])
            at += 1
        yield Commit(
            identity.strip("\n"),
            int(committed) * SECOND_US,
            int(authored) * SECOND_US,
            author[:200],
            subject.rstrip("\n")[:500],
            tuple(files),
        )


def _read_blame(text: str) -> Iterator[LineOrigin]:
    facts: dict[str, dict[str, str]] = {}
    current, line = "", 0
    for row in text.split("\n"):
        if row.startswith("\t"):
            yield LineOrigin(line, _commit(current, facts[current]))
        elif head := _HEAD.fullmatch(row):
            current, line = head[1], int(head[3])
            facts.setdefault(current, {})
        elif current:
            key, _, value = row.partition(" ")
            facts[current].setdefault(key, value)


def _commit(identity: str, facts: dict[str, str]) -> Commit:
    try:
        return Commit(
            identity,
            int(facts["committer-time"]) * SECOND_US,
            int(facts["author-time"]) * SECOND_US,
            facts.get("author", "")[:200],
            facts.get("summary", "")[:500],
        )
    except (KeyError, ValueError) as exc:
        raise GitError("git blame gave an answer that cannot be read.") from exc

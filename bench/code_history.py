"""How much of a code base is embedded again over its history, beside embedding the changed files as a whole.

    python -m bench.code_history [REPOSITORY] [--commits 200]

Reads the newest commits of a repository (default: the one around this file) from git, oldest first, and says for each how
many chunks its changed files hold, and how many of them no commit before it held: those alone get a new vector.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from indexer.facts import read_facts
from indexer.git import split_names
from indexer.languages import TEXT, language_of

_EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"  # git's name of the tree without files
_LARGEST = 1 << 20


@dataclass(frozen=True, slots=True)
class Step:
    """What one commit did: source files changed, chunks in them, chunks never seen before."""

    files: int
    chunks: int
    new: int


def list_commits(repository: Path, count: int) -> list[str]:
    """Return the newest commits, oldest first, merges left out."""
    out = _git(repository, "rev-list", "--no-merges", f"--max-count={count + 1}", "HEAD")
    return out.decode().split()[::-1]


def read_steps(repository: Path, commits: list[str]) -> Iterator[Step]:
    """Yield what each commit after the first did; the first one is what was there before."""
    seen: set[str] = set()
    before = _EMPTY
    for commit in commits:
        names = split_names(_git(repository, "diff", "--name-only", "--diff-filter=AMR", "-z", before, commit))
        held = [_chunks(repository, commit, path) for path in names if language_of(path) != TEXT]
        chunks = [chunk for file in held for chunk in file]
        new = set(chunks) - seen
        seen |= new
        if before != _EMPTY and held:
            yield Step(len(held), len(chunks), len(new))
        before = commit


def _chunks(repository: Path, commit: str, path: str) -> list[str]:
    content = _git(repository, "cat-file", "blob", f"{commit}:{path}")
    return [chunk.id for chunk in read_facts(path, content).chunks] if len(content) <= _LARGEST else []


def _git(repository: Path, *arguments: str) -> bytes:
    return subprocess.run(["git", *arguments], cwd=repository, check=True, capture_output=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("repository", nargs="?", type=Path, default=Path(__file__).parent)
    parser.add_argument("--commits", type=int, default=200)
    arguments = parser.parse_args()
    try:
        commits = list_commits(arguments.repository, arguments.commits)
    except (subprocess.CalledProcessError, OSError):
        raise SystemExit(f"{arguments.repository} has no history here: nothing was measured.") from None
    steps = list(read_steps(arguments.repository, commits))
    if not steps:
        raise SystemExit(f"{arguments.repository} has no second commit of source files: nothing was measured.")
    chunks, new = sum(step.chunks for step in steps), sum(step.new for step in steps)
    print(f"{len(steps)} commits that touch source files, {statistics.median(s.files for s in steps):.0f} of them each")
    print(f"chunks in the changed files (all would be embedded again): {chunks:,}")
    print(f"new by content (are embedded): {new:,}, {100 * new / chunks:.1f} %; median {_median(steps)} of a commit")


def _median(steps: list[Step]) -> str:
    return (
        f"{statistics.median(step.new for step in steps):.0f} of {statistics.median(step.chunks for step in steps):.0f}"
    )


if __name__ == "__main__":
    main()

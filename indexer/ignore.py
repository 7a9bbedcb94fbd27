"""Which files of a plain folder do not count: `.gitignore` files, the user's own, and what is never source.

In a checkout git itself is asked (`git.list_names`), which is exact and faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from pathspec import GitIgnoreSpec

NEVER = frozenset((".git", ".hg", ".svn", ".jj", ".bzr"))
"""Folders of version control; in a checkout as well."""

BY_DEFAULT = NEVER | {
    *("__pycache__", "node_modules", ".venv", "venv", ".tox", ".nox", ".mypy_cache", ".ruff_cache", ".pytest_cache"),
    *(".hypothesis", ".gradle", ".terraform", ".idea", ".vscode", ".cache", ".eggs", ".next", ".nuxt"),
}
"""Folders that hold what tools have made."""

_LARGEST = 256 * 1024
_MOST = 2_000
_STARS = 3  # per part of a path, and twice that per pattern: each further one multiplies the work for a hostile name


@dataclass(frozen=True, slots=True)
class IgnoreRules:
    """The patterns that hold in a folder: its own and, behind them, those of the folders around it."""

    base: str
    spec: GitIgnoreSpec
    outer: IgnoreRules | None = None

    def ignores(self, path: str) -> bool:
        """Say whether a path (below the root, a folder ends in `/`) is ignored; the innermost rule decides."""
        rules: IgnoreRules | None = self
        while rules is not None:
            decided = rules.spec.check_file(path[len(rules.base) :]).include
            if decided is not None:
                return decided
            rules = rules.outer
        return False


@dataclass(slots=True)
class IgnoreReader:
    """Reads pattern files, and says which patterns it could not take."""

    problems: list[str] = field(default_factory=list)

    def read(self, file: Path, shown: str, base: str, outer: IgnoreRules | None) -> IgnoreRules | None:
        """Return the rules with those of a file added; the same rules where it cannot be read or holds none."""
        try:
            with file.open("rb") as opened:
                content = opened.read(_LARGEST + 1)
        except OSError as exc:
            self.problems.append(f"{shown}: its patterns do not count: {exc.strerror or exc}")
            return outer
        if len(content) > _LARGEST:
            self.problems.append(f"{shown}: only its first {_LARGEST >> 10} KiB count as patterns")
        lines = content[:_LARGEST].decode("utf-8", "replace").splitlines()
        patterns = [line for line in lines if line.strip() and not line.startswith("#")]
        usable = [pattern for pattern in patterns if _is_bounded(pattern)][:_MOST]
        if len(usable) < len(patterns):
            self.problems.append(f"{shown}: {len(patterns) - len(usable)} patterns are too many or too involved")
        try:
            spec = GitIgnoreSpec.from_lines(usable)
        except ValueError as exc:
            self.problems.append(f"{shown}: its patterns do not count: {str(exc)[:200]}")
            return outer
        return IgnoreRules(base, spec, outer) if usable else outer


def _is_bounded(pattern: str) -> bool:
    return pattern.count("*") <= 2 * _STARS and all(
        part == "**" or part.count("*") <= _STARS for part in pattern.split("/")
    )

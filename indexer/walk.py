"""Finds the files of a root that may count, with what the file system says of each, without reading any.

Links are not followed, not even on the way to a file. Time and memory are bounded whatever the folder holds.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from domain.errors import IndexingError
from indexer.git import GitError, global_ignore_file, is_checkout, is_ignored, list_output, split_names
from indexer.ignore import BY_DEFAULT, NEVER, IgnoreReader, IgnoreRules
from indexer.secrets import is_secret_name

type Stamp = tuple[int, int, int, int]
"""What tells a changed file from an unchanged one: mtime_ns, size, inode, ctime_ns."""

LONGEST_PATH = 700
_DEEPEST_CHECKOUT = 4


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """How much of a root is taken. A folder with more files than `folder_files` is left out as a whole, and said so."""

    files: int = 500_000
    folder_files: int = 20_000
    git_seconds: float = 60.0


@dataclass(slots=True)
class Listing:
    """What was found. `stamps` are the files that may count, by their path below the root."""

    stamps: dict[str, Stamp] = field(default_factory=dict)
    secrets: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    links: int = 0
    by_git: bool = False
    printed: bytes | None = None
    """What git printed, where it listed everything: there was no checkout inside this one."""
    folders: tuple[str, ...] = ()
    others: dict[str, int] = field(default_factory=dict)
    """What git named that does not count, with its type (0: gone)."""


def list_files(
    root: Path,
    limits: WalkLimits | None = None,
    known: Container[str] = (),
    printed: bytes | None = None,
    stats: Mapping[str, os.stat_result] | None = None,
) -> Listing:
    """List the files of a folder or checkout; raises IndexingError if the root is no folder that can be read.

    The names of `known` have been judged before. `printed` is what git printed for the root, and `stats` is what the file
    system said of files, if that was looked at just now.
    """
    limits = limits or WalkLimits()
    try:
        with os.scandir(root):
            pass
    except OSError as exc:
        raise IndexingError(f"{root} cannot be indexed: {exc.strerror or exc}.") from exc
    walk = _Walk(root, limits, known, stats or {})
    walk.listing.printed = printed
    if not is_checkout(root) or not walk.take_root_checkout():
        walk.take_folder("")
    walk.listing.problems += walk.reader.problems
    return walk.listing


class _Walk:
    def __init__(
        self, root: Path, limits: WalkLimits, known: Container[str], stats: Mapping[str, os.stat_result]
    ) -> None:
        self.listing = Listing()
        self.reader = IgnoreReader()
        self._root = f"{root}/"
        self._limits = limits
        self._known = known
        self._stats = stats
        self._real: dict[str, bool] = {"": True}

    def take_root_checkout(self) -> bool:
        """Take what git lists; False if that is not what counts here, and nothing was taken."""
        try:
            self.take_checkout("", 0)
        except GitError as exc:
            self.listing = Listing()
            if "not a git repository" not in str(exc):
                told = f"git could not list the files, so the folder was walked instead: {exc}"
                self.listing.problems.append(told)
            return False
        if not self.listing.stamps and is_ignored(Path(self._root)):  # site-packages in a checkout, for example
            self.listing = Listing()
            return False
        return True

    def take_checkout(self, base: str, depth: int) -> None:
        """Take what git lists below a folder, and the checkouts inside it (submodules and others)."""
        listing = self.listing
        if depth or listing.printed is None:
            printed = list_output(Path(self._root + base), self._limits.git_seconds)
            listing.printed = printed if not depth else None
        else:
            printed = listing.printed
        listing.by_git = True
        names = split_names(printed)
        paths = dict.fromkeys([base + name for name in names] if base else names)  # in a conflict a name comes again
        inner = [path for path in paths if path.endswith("/")]
        crowded = self._crowded(paths) if len(paths) > self._limits.folder_files else set()
        real = self._real
        for path in paths:
            end = path.rfind("/")
            folder = path[:end] if end > 0 else ""
            if real.get(folder) is None:
                self._is_real(folder)
            if real[folder] and folder not in crowded and end != len(path) - 1:
                self._take_name(path, inner)
        listing.folders = tuple(folder for folder, is_real in real.items() if is_real and folder)
        if inner:
            listing.printed = None
        for path in inner:
            folder = path.rstrip("/")
            if not self._is_real(folder) or folder.rpartition("/")[2] in NEVER:
                continue
            if depth < _DEEPEST_CHECKOUT and os.path.lexists(f"{self._root}{folder}/.git"):
                self.take_checkout(f"{folder}/", depth + 1)
            else:
                self.take_folder(f"{folder}/")

    def _take_name(self, path: str, inner: list[str]) -> None:
        try:
            found = self._stats.get(path) or os.lstat(self._root + path)
        except FileNotFoundError:  # tracked, and deleted
            self.listing.others[path] = 0
            return
        except OSError as exc:
            self.listing.problems.append(f"{path}: {exc.strerror or exc}")
            self.listing.printed = None
            return
        if stat.S_ISREG(found.st_mode):
            self._take_file(path, found)
            return
        self.listing.others[path] = stat.S_IFMT(found.st_mode)
        if stat.S_ISDIR(found.st_mode):  # a submodule
            inner.append(f"{path}/")
        elif stat.S_ISLNK(found.st_mode):
            self.listing.links += 1

    def take_folder(self, base: str) -> None:
        """Walk a plain folder."""
        globals_file = global_ignore_file()
        outer = self.reader.read(globals_file, str(globals_file), base, None) if globals_file else None
        stack: list[tuple[str, IgnoreRules | None]] = [(base, outer)]
        while stack:
            folder, rules = stack.pop()
            entries = self._scan(folder)
            if any(entry.name == ".gitignore" for entry in entries):
                file = Path(f"{self._root}{folder}.gitignore")
                if file.is_file() and not file.is_symlink():
                    rules = self.reader.read(file, f"{folder}.gitignore", folder, rules)
            for entry in entries:
                self._take_entry(folder, entry, rules, stack)

    def _take_entry(
        self,
        folder: str,
        entry: os.DirEntry[str],
        rules: IgnoreRules | None,
        stack: list[tuple[str, IgnoreRules | None]],
    ) -> None:
        path = folder + entry.name
        if entry.is_symlink():
            self.listing.links += 1
        elif entry.is_dir(follow_symlinks=False):
            if entry.name in BY_DEFAULT or (rules is not None and rules.ignores(f"{path}/")):
                return
            if len(path) > LONGEST_PATH:
                self.listing.problems.append(f"{path[:80]}...: nested too deeply, nothing below it was taken")
                return
            stack.append((f"{path}/", rules))
        elif entry.is_file(follow_symlinks=False) and not (rules is not None and rules.ignores(path)):
            try:
                self._take_file(path, entry.stat(follow_symlinks=False))
            except OSError as exc:
                self.listing.problems.append(f"{path}: {exc.strerror or exc}")

    def _scan(self, folder: str) -> list[os.DirEntry[str]]:
        found: list[os.DirEntry[str]] = []
        try:
            with os.scandir(self._root + folder) as entries:
                for entry in entries:
                    found.append(entry)
                    if len(found) > self._limits.folder_files:
                        self._report_crowded(folder.rstrip("/"))
                        return []
        except OSError as exc:
            if not isinstance(exc, FileNotFoundError):  # deleted since its parent was read
                self.listing.problems.append(f"{folder}: {exc.strerror or exc}: nothing in it was taken")
        return found

    def _crowded(self, paths: Iterable[str]) -> set[str]:
        counts = Counter(path.rpartition("/")[0] for path in paths)
        crowded = {folder for folder, count in counts.items() if count > self._limits.folder_files}
        for folder in sorted(crowded):
            self._report_crowded(folder)
        return crowded

    def _report_crowded(self, folder: str) -> None:
        most = self._limits.folder_files
        self.listing.problems.append(f"{folder or '.'}/: holds more than {most:,} files, so none in it was taken")

    def _is_real(self, folder: str) -> bool:
        """Whether neither the folder nor one above it is a link: git lists tracked names even behind one."""
        known = self._real.get(folder)
        if known is None:
            try:
                real = stat.S_ISDIR(os.lstat(self._root + folder).st_mode)
            except OSError:
                real = False
            known = self._real[folder] = real and self._is_real(folder.rpartition("/")[0])
        return known

    def _take_file(self, path: str, found: os.stat_result) -> None:
        if path not in self._known and not self._may_count(path):
            self.listing.others[path] = stat.S_IFREG
            return
        self.listing.stamps[path] = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
        if len(self.listing.stamps) > self._limits.files:
            raise IndexingError(
                f"{self._root} holds more than {self._limits.files:,} files: index the folders in it that matter, or "
                "raise CAUSEGRAPH_INDEX_MAX_FILES."
            )

    def _may_count(self, path: str) -> bool:
        if is_secret_name(path):
            self.listing.secrets.append(path.encode("utf-8", "replace").decode())
        elif not path.isascii() and not _is_utf8(path):
            shown = path.encode("utf-8", "replace").decode()
            self.listing.problems.append(f"{shown}: its name is not UTF-8")
        elif ".." in path.split("/"):
            self.listing.problems.append(f"{path}: not below the root")
        elif len(path) > LONGEST_PATH:
            self.listing.problems.append(f"{path[:80]}...: its path is longer than {LONGEST_PATH} characters")
        else:
            return True
        return False


def _is_utf8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True

"""The first look at a checkout that was scanned before: if git names the files that it named then, only those are read of
which the file system says something else. While git lists, the files are looked at: two processors do both at once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from blake3 import blake3

from indexer.git import GitError
from indexer.manifest import Manifest, Seen


@dataclass(frozen=True, slots=True)
class Look:
    """What git printed (None where it failed), what is known of the files by now, and whether the same names are files.

    `suspects` are the files that may have changed.
    """

    names: bytes | None
    stats: Mapping[str, os.stat_result]
    same_files: bool
    suspects: tuple[str, ...] = ()


def look_quickly(root: Path, known: Manifest, seen: Seen, list_output: Callable[[], bytes], limits: str) -> Look:
    """Compare a checkout with what the last scan saw of it."""
    base = f"{root}/"
    with ThreadPoolExecutor(1) as beside:
        listing = beside.submit(list_output)
        stats, suspects = _compare_files(base, known)
        same = all(path in stats and stat.S_ISREG(stats[path].st_mode) for path in suspects) and _same_types(base, seen)
        try:
            names = listing.result()
        except GitError:
            return Look(None, stats, False)
    return Look(names, stats, same and digest_names(names, limits) == seen.digest, tuple(suspects))


def digest_names(names: bytes, limits: str) -> bytes:
    """Return the hash of what git printed, and of what decides which of it is taken."""
    return blake3(names + limits.encode()).digest()


def _compare_files(base: str, known: Manifest) -> tuple[dict[str, os.stat_result], list[str]]:
    """Return what the file system says of the known files, and those of which that is not surely what it was."""
    stats: dict[str, os.stat_result] = {}
    suspects: list[str] = []
    quiet_ns, look = known.quiet_ns, os.lstat
    for path, entry in known.entries.items():
        try:
            found = stats[path] = look(base + path)
        except OSError:
            suspects.append(path)
            continue
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
        if stamp != entry[:4] or stamp[0] >= quiet_ns or stamp[3] >= quiet_ns:
            suspects.append(path)
    return stats, suspects


def _same_types(base: str, seen: Seen) -> bool:
    """Say whether folders are folders still, and links links: behind a link nothing counts."""
    wanted = {**dict.fromkeys(seen.folders, stat.S_IFDIR), **seen.others}
    return all(_type_of(base + path) == kind for path, kind in wanted.items())


def _type_of(path: str) -> int:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return 0

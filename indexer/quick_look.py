"""The first look at a checkout that was scanned before: if git names the files that it named then, and the file system says
of each what it said then, nothing has changed. While git lists, the files are looked at: two processors do both at once.
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
    """What git printed (None where it failed), what is known of the files by now, and whether all is as it was."""

    names: bytes | None
    stats: Mapping[str, os.stat_result]
    unchanged: bool


def look_quickly(root: Path, known: Manifest, seen: Seen, list_output: Callable[[], bytes], limits: str) -> Look:
    """Compare a checkout with what the last scan saw of it."""
    base = f"{root}/"
    with ThreadPoolExecutor(1) as beside:
        listing = beside.submit(list_output)
        stats, unchanged = _compare_files(base, known)
        unchanged = unchanged and _same_types(base, seen)
        try:
            names = listing.result()
        except GitError:
            return Look(None, stats, False)
    return Look(names, stats, unchanged and digest_names(names, limits) == seen.digest)


def digest_names(names: bytes, limits: str) -> bytes:
    """Return the hash of what git printed, and of what decides which of it is taken."""
    return blake3(names + limits.encode()).digest()


def _compare_files(base: str, known: Manifest) -> tuple[dict[str, os.stat_result], bool]:
    stats: dict[str, os.stat_result] = {}
    unchanged, quiet_ns, look = True, known.quiet_ns, os.lstat
    for path, entry in known.entries.items():
        try:
            found = stats[path] = look(base + path)
        except OSError:
            unchanged = False
            continue
        stamp = (found.st_mtime_ns, found.st_size, found.st_ino, found.st_ctime_ns)
        if stamp != entry[:4] or stamp[0] >= quiet_ns or stamp[3] >= quiet_ns:
            unchanged = False
    return stats, unchanged


def _same_types(base: str, seen: Seen) -> bool:
    """Say whether folders are folders still, and links links: behind a link nothing counts."""
    wanted = {**dict.fromkeys(seen.folders, stat.S_IFDIR), **seen.others}
    return all(_type_of(base + path) == kind for path, kind in wanted.items())


def _type_of(path: str) -> int:
    try:
        return stat.S_IFMT(os.lstat(path).st_mode)
    except OSError:
        return 0

"""Compares a folder with its manifest: what is there now, by content, reading only what has changed."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from indexer.git import is_checkout, list_output
from indexer.manifest import Manifest, Seen, collecting_later
from indexer.quick_look import Look, digest_names, look_quickly
from indexer.reading import UnreadableFile, read_file
from indexer.walk import Listing, WalkLimits, list_files

type OnFile = Callable[[int, int], None]
"""Told while files are read: how many of how many."""

_TELL_EVERY = 256


@dataclass(slots=True)
class Scan:
    """What a root holds now. `leaves` is path -> content hash of the files that count; `read` counts files opened."""

    manifest: Manifest
    leaves: dict[str, bytes]
    sizes: dict[str, int]
    read: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    by_git: bool = False
    touched: bool = False
    """Whether the manifest differs from the one before."""


def scan_root(
    root: Path,
    known: Manifest | None,
    largest: int,
    limits: WalkLimits | None = None,
    on_file: OnFile = lambda done, total: None,
) -> Scan:
    """Look at every file of a root and read those that may have changed; raises IndexingError if the root is gone."""
    with collecting_later():
        return _scan(root, known or Manifest(), largest, limits, on_file)


def _scan(root: Path, known: Manifest, largest: int, limits: WalkLimits | None, on_file: OnFile) -> Scan:
    began_ns = time.time_ns()
    limits = limits or WalkLimits()
    look = _look(root, known, limits)
    if look is not None and look.same_files and known.seen is not None:
        if not look.suspects:
            return _sum_up(known, _listing_of(known.seen), 0, list(known.seen.problems), False)
        listing, suspects, entries = _listing_of(known.seen), list(look.suspects), dict(known.entries)
    else:
        listing = list_files(root, limits, known.entries, *((look.names, look.stats) if look else ()))
        suspects = [path for path, stamp in listing.stamps.items() if not known.is_unchanged(path, stamp)]
        again = set(suspects)
        entries = {path: known.entries[path] for path in listing.stamps if path not in again}
    problems = list(listing.problems)
    for number, path in enumerate(suspects):
        if number % _TELL_EVERY == 0:
            on_file(number, len(suspects))
        entries.pop(path, None)
        try:
            found = read_file(f"{root}/{path}", largest)
        except FileNotFoundError:
            continue
        except UnreadableFile as exc:
            problems.append(f"{path}: {exc}")
            continue
        entries[path] = (*found.stamp, found.skipped or found.hash)
    on_file(len(suspects), len(suspects))
    if look is not None and look.same_files:
        seen = known.seen if len(entries) == len(known.entries) else None
    else:
        seen = _seen(listing, limits) if len(entries) == len(listing.stamps) else None
    touched = bool(suspects) or entries.keys() != known.entries.keys() or seen != known.seen
    manifest = Manifest(known.generation, began_ns if touched else known.began_ns, entries, seen=seen)
    return _sum_up(manifest, listing, len(suspects), problems, touched)


def _look(root: Path, known: Manifest, limits: WalkLimits) -> Look | None:
    if known.seen is None or not is_checkout(root):
        return None
    return look_quickly(root, known, known.seen, partial(list_output, root, limits.git_seconds), repr(limits))


def _seen(listing: Listing, limits: WalkLimits) -> Seen | None:
    """Return what the next scan may compare quickly; None where not all of it was listed by one git."""
    if listing.printed is None or not listing.by_git:
        return None
    digest = digest_names(listing.printed, repr(limits))
    said = tuple(listing.secrets), tuple(listing.problems)
    return Seen(digest, listing.folders, listing.others, *said, listing.links)


def _listing_of(seen: Seen) -> Listing:
    return Listing(secrets=list(seen.secrets), problems=list(seen.problems), links=seen.links, by_git=True)


def _sum_up(manifest: Manifest, listing: Listing, read: int, problems: list[str], touched: bool) -> Scan:
    leaves, sizes = {}, {}
    skipped: Counter[str] = Counter({"secret": len(listing.secrets), "link": listing.links})
    for path, entry in manifest.entries.items():
        what = entry[4]
        if isinstance(what, bytes):
            leaves[path] = what
            sizes[path] = entry[1]
        else:
            skipped[what] += 1
            if what != "binary":
                problems.append(f"{path}: {_WHY[what]}")
    problems += [f"{path}: {_WHY['secret']}" for path in listing.secrets]
    return Scan(manifest, leaves, sizes, read, +skipped, problems, listing.by_git, touched)


_WHY = {
    "too large": "larger than CAUSEGRAPH_INDEX_MAX_FILE_BYTES, so it was not read",
    "secret": "taken for a secret, so it was not indexed",
}

"""What can be indexed: a folder, or the address of a git repository; and the clone that is kept of the latter."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

from blake3 import blake3

from domain.errors import IndexingError
from indexer.git import GitError, current_commit, has_git, run_git
from storage.code import CodeRoot

TRANSPORTS = ("https", "ssh", "file")

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:(?://|:)")
_SHORT_SSH = re.compile(r"(?:[A-Za-z0-9_][\w.-]*@)?[A-Za-z0-9][A-Za-z0-9.-]*:(?![/\\]{2})[^\s:-][^\s]*")
_HOST = re.compile(r"[A-Za-z0-9_][\w.:\[\]-]*")
_BRANCH = re.compile(r"[A-Za-z0-9_][\w./+@-]{0,200}")
_LONGEST = 1000


def make_root(target: str, branch: str = "") -> CodeRoot:
    """Return the root that a person means by a path or an address; raises IndexingError if it can be neither."""
    if not target.strip() or len(target) > _LONGEST or any(ord(character) < 32 for character in target):
        raise IndexingError("Name a folder, or the address of a git repository.")
    if branch and (not _BRANCH.fullmatch(branch) or ".." in branch):
        raise IndexingError(f"{branch!r} is no name of a branch.")
    if _SCHEME.match(target) or (_SHORT_SSH.fullmatch(target) and not Path(target).exists()):
        _check_address(target)
        return CodeRoot(_identify("git", f"{target} {branch}"), "git", target, branch)
    if branch:
        raise IndexingError("A branch can be chosen only for an address: a folder is indexed as it stands.")
    folder = Path(target).expanduser()
    try:
        folder = folder.resolve(strict=True)
        with os.scandir(folder):
            pass
    except (OSError, RuntimeError) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else "its links lead in a circle"
        raise IndexingError(f"{target} cannot be indexed: {reason}.") from exc
    if len(str(folder)) > _LONGEST or any("\ud800" <= character <= "\udfff" for character in str(folder)):
        raise IndexingError(f"{target!r} cannot be indexed: its path is too long, or not UTF-8.")
    return CodeRoot(_identify("folder", str(folder)), "folder", str(folder))


def _identify(kind: str, location: str) -> str:
    return blake3(f"{kind} {location}".encode("utf-8", "replace")).hexdigest(length=8)


def _check_address(address: str) -> None:
    if _SHORT_SSH.fullmatch(address) and not _SCHEME.match(address):
        return
    try:
        parts = urlsplit(address)
        host, password = parts.hostname or "", parts.password
    except ValueError as exc:
        raise IndexingError(f"{address!r} is no address: {exc}.") from exc
    if parts.scheme not in TRANSPORTS:
        raise IndexingError(f"Only addresses of {', '.join(TRANSPORTS)} are cloned, not {parts.scheme or address!r}.")
    if password or (parts.scheme == "https" and parts.username):
        raise IndexingError("Leave user and password out of the address: git's credential helper keeps them.")
    if (parts.scheme != "file" and not _HOST.fullmatch(host)) or (parts.username or "").startswith("-"):
        raise IndexingError(f"{address!r} does not name a host.")
    if not parts.path.strip("/") or any(character.isspace() for character in address):
        raise IndexingError(f"{address!r} does not name a repository.")


def folder_of(root: CodeRoot, clones: Path) -> Path:
    """Return where the files of a root are."""
    return Path(root.location) if root.kind == "folder" else clones / root.id


def update_clone(root: CodeRoot, clones: Path, depth: int, seconds: float) -> Path:
    """Clone a root's repository, or bring its clone up to date; return its folder. Raises IndexingError."""
    if not has_git():
        raise IndexingError("git is not installed, and it is needed for an address: install it, or name a folder.")
    folder = folder_of(root, clones)
    try:
        if (folder / ".git").is_dir():
            _fetch(root, folder, depth, seconds)
        else:
            _clone(root, folder, depth, seconds)
    except GitError as exc:
        raise IndexingError(f"{root.location}: {exc}") from exc
    except OSError as exc:
        raise IndexingError(f"The clone of {root.location} cannot be kept in {clones}: {exc.strerror or exc}.") from exc
    return folder


def _clone(root: CodeRoot, folder: Path, depth: int, seconds: float) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{root.id}.tmp-", dir=folder.parent) as work:
        options = ["--template=", "--no-tags", "--single-branch", "--no-recurse-submodules", f"--depth={depth}"]
        if root.branch:
            options.append(f"--branch={root.branch}")
        clone = Path(work) / "clone"
        run_git(
            None, "clone", "--quiet", *options, "--", root.location, str(clone),
            transports=TRANSPORTS, timeout_seconds=seconds,
        )  # fmt: skip
        clone.rename(folder)


def _fetch(root: CodeRoot, folder: Path, depth: int, seconds: float) -> None:
    (folder / ".git" / "shallow.lock").unlink(missing_ok=True)  # of a run that was killed; the root's lock is ours
    (folder / ".git" / "index.lock").unlink(missing_ok=True)
    run_git(
        folder, "fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--force", f"--depth={depth}", "--",
        root.location, root.branch or "HEAD", transports=TRANSPORTS, timeout_seconds=seconds,
    )  # fmt: skip
    fetched = run_git(folder, "rev-parse", "--verify", "FETCH_HEAD^{commit}").decode("ascii", "replace").strip()
    if fetched != current_commit(folder) or run_git(folder, "status", "--porcelain", "-uno"):
        run_git(folder, "reset", "--quiet", "--hard", fetched, timeout_seconds=seconds)
    run_git(folder, "clean", "-ffdxq", timeout_seconds=seconds)

"""Running git on folders that strangers may have written: nothing of theirs is executed, nothing waits for a person."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from domain.errors import IndexingError

_TIMEOUT_SECONDS = 60.0
_LARGEST_REPLY = 256 << 20

# A repository's own configuration can name programs for all of these; what is given on the command line wins over it.
_HARMLESS = (
    "core.fsmonitor=false",
    "core.hooksPath=/dev/null",
    "core.untrackedCache=false",
    "core.pager=cat",
    "core.quotePath=false",
    "diff.external=",
    "gc.auto=0",
    "log.showSignature=false",
    "maintenance.auto=false",
    "protocol.ext.allow=never",
)
_KEPT = ("HOME", "LANG", "LC_ALL", "PATH", "SSH_AUTH_SOCK", "TMPDIR", "USER", "XDG_CONFIG_HOME")
_PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy")
_GIVEN = ("GIT_SSH_COMMAND", "GIT_SSH", "GIT_SSL_CAINFO", "GIT_CONFIG_GLOBAL", "SSL_CERT_FILE")


class GitError(IndexingError):
    """Git could not do what was asked of it."""


def has_git() -> bool:
    """Say whether the program is there."""
    return shutil.which("git") is not None


def run_git(
    folder: Path | None,
    *arguments: str,
    transports: Sequence[str] = (),
    timeout_seconds: float = _TIMEOUT_SECONDS,
) -> bytes:
    """Run git in a folder and return what it printed; raises GitError with its last line otherwise.

    No connection is made except over `transports`, and no transport starts a program but ssh.
    """
    command = ["git", "--no-pager", *(word for setting in _HARMLESS for word in ("-c", setting)), *arguments]
    try:
        with subprocess.Popen(
            command,
            cwd=folder,
            env=_environment(transports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            try:
                out, err = process.communicate(timeout=timeout_seconds)
            except subprocess.TimeoutExpired as exc:
                _end(process)
                raise GitError(f"git {arguments[0]} took longer than {timeout_seconds:.0f} s and was ended.") from exc
            except BaseException:
                _end(process)
                raise
    except OSError as exc:
        raise GitError(f"git cannot be run in {folder}: {exc.strerror or exc}") from exc
    if process.returncode != 0:
        lines = err.decode("utf-8", "replace").strip().splitlines() or ["it gave no reason"]
        told = next((line for line in lines if line.startswith(("fatal:", "error:"))), lines[-1])
        raise GitError(f"git {arguments[0]}: {told.removeprefix('fatal: ').removeprefix('error: ')[:300]}")
    if len(out) > _LARGEST_REPLY:
        raise GitError(f"git {arguments[0]} gave more than {_LARGEST_REPLY >> 20} MiB.")
    return out


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and the ssh or helper that it started: they are a group of their own."""
    try:
        os.killpg(process.pid, 9)
    except ProcessLookupError:
        process.kill()
    process.wait()


def _environment(transports: Sequence[str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in (*_KEPT, *_PROXIES, *_GIVEN) if name in os.environ}
    return {
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes -o ConnectTimeout=15",
        **kept,
        "GIT_ALLOW_PROTOCOL": ":".join(transports) or "none",
        "GIT_ASKPASS": "",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
        "SSH_ASKPASS": "",
    }


def is_checkout(folder: Path) -> bool:
    """Say whether the folder looks like a checkout, or a part of one; git itself may see it otherwise."""
    return has_git() and any(os.path.lexists(above / ".git") for above in (folder, *folder.parents))


def is_ignored(folder: Path) -> bool:
    """Say whether the checkout around a folder ignores the folder as a whole."""
    try:
        run_git(folder, "check-ignore", "--quiet", ".")
    except GitError:
        return False
    return True


def list_output(folder: Path, timeout_seconds: float = _TIMEOUT_SECONDS) -> bytes:
    """Return every path below a folder that git tracks or would add, as git prints them (`split_names`)."""
    return run_git(folder, "ls-files", "-co", "--exclude-standard", "-z", timeout_seconds=timeout_seconds)


def split_names(out: bytes) -> list[str]:
    """Return the paths that git printed, relative to the folder; a name ending in `/` is a checkout.

    Names that are not UTF-8 come with surrogates, as everywhere in Python.
    """
    return os.fsdecode(out).split("\0")[:-1]


def current_commit(folder: Path) -> str:
    """Return the commit that is checked out; empty where there is none yet."""
    try:
        return run_git(folder, "rev-parse", "--verify", "--quiet", "HEAD").decode("ascii", "replace").strip()
    except GitError:
        return ""


def global_ignore_file() -> Path | None:
    """Return the file of patterns that the user's git ignores everywhere, if there is one."""
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    path = Path(base) / "git" / "ignore"
    if has_git():
        try:
            named = run_git(Path("/"), "config", "--path", "--get", "core.excludesFile").decode("utf-8", "replace")
            path = Path(named.strip() or path)
        except GitError:  # exit status 1: not set
            pass
    return path if path.is_file() else None

"""Finds MariaDB >= 11.7 on this machine, or fetches 11.8 from the Debian archive without touching the system."""

from __future__ import annotations

import fcntl
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from domain.errors import StackError
from domain.local import Progress
from storage.debian_archive import MARIADB, OTHER_WAYS, unpacking

MINIMUM_VERSION = (11, 7)
"""The first MariaDB with VECTOR columns and indexes."""

_MORE_PLACES = (
    "/usr/sbin",
    "/usr/local/sbin",
    "/usr/libexec",
    "/opt/homebrew/opt/mariadb/bin",
    "/usr/local/opt/mariadb/bin",
)


@dataclass(frozen=True, slots=True)
class Program:
    """A `mariadbd` that can be run: the words that start it, and the folder of its messages and SQL files."""

    command: tuple[str, ...]
    share: Path
    version: str
    plugins: Path | None = None


@dataclass(frozen=True, slots=True)
class _Architecture:
    debian: str
    loader: str
    libraries: str


_ARCHITECTURES = {
    "x86_64": _Architecture("amd64", "usr/lib64/ld-linux-x86-64.so.2", "usr/lib/x86_64-linux-gnu"),
    "aarch64": _Architecture("arm64", "usr/lib/ld-linux-aarch64.so.1", "usr/lib/aarch64-linux-gnu"),
}


def provide_mariadb(data: Path, progress: Progress) -> Program:
    """The machine's own `mariadbd` if it is new enough, else the fetched one; fetches it once per user.

    `data` is where the copy goes if the user's cache cannot be written. Raises StackError saying what to install.
    """
    installed = find_installed()
    if installed is not None:
        return installed
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None or not _has_apt():
        raise StackError(_what_to_install())
    folder = cache_folder(data) / f"mariadb-11.8-{architecture.debian}"
    program = _unpacked_program(folder, architecture)
    if program is not None:
        return program
    with _locked(folder.parent / f".{folder.name}.lock"):
        program = _unpacked_program(folder, architecture)
        if program is None:
            _fetch(folder, architecture, progress)
            program = _unpacked_program(folder, architecture)
    if program is None:
        raise StackError(f"MariaDB was unpacked into {folder} but does not run there; {OTHER_WAYS}")
    return program


def find_installed() -> Program | None:
    """A `mariadbd` >= 11.7 that the machine already has."""
    search = os.pathsep.join([os.environ.get("PATH", ""), *_MORE_PLACES])
    found = shutil.which("mariadbd", path=search)
    if found is None:
        return None
    version = read_version([found])
    share = _share_folder(Path(found).resolve())
    if version is None or _numbers(version) < MINIMUM_VERSION or share is None:
        return None
    return Program(command=(found,), share=share, version=version)


def find_fetched(data: Path) -> Program | None:
    """The copy fetched earlier, if there is one."""
    architecture = _ARCHITECTURES.get(platform.machine())
    if architecture is None:
        return None
    return _unpacked_program(cache_folder(data) / f"mariadb-11.8-{architecture.debian}", architecture)


def read_version(command: list[str]) -> str | None:
    """The version that a `mariadbd` says it is, such as `11.8.6`; None if it does not run."""
    try:
        done = subprocess.run(
            [*command, "--no-defaults", "--version"], capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(r"Ver (\d+\.\d+\.\d+)", done.stdout)
    return match.group(1) if match else None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _share_folder(program: Path) -> Path | None:
    for name in ("mariadb", "mysql"):
        share = program.parent.parent / "share" / name
        if (share / "mariadb_system_tables.sql").is_file():
            return share
    return None


def _has_apt() -> bool:
    return sys.platform == "linux" and all(shutil.which(name) for name in ("apt-get", "dpkg-deb"))


def can_fetch() -> bool:
    """Whether this machine can fetch MariaDB by itself."""
    return platform.machine() in _ARCHITECTURES and _has_apt()


def _what_to_install() -> str:
    if sys.platform == "darwin":
        how = "run `brew install mariadb`"
    elif shutil.which("dnf"):
        how = "run `sudo dnf install mariadb11.8-server` (or enable MariaDB's own repository for 11.8)"
    elif shutil.which("pacman"):
        how = "run `sudo pacman -S mariadb`"
    elif shutil.which("apk"):
        how = "run `sudo apk add mariadb`"
    elif shutil.which("zypper"):
        how = "run `sudo zypper install mariadb` (11.7 or newer)"
    else:
        how = "install the package `mariadb-server` 11.7 or newer and put `mariadbd` on the PATH"
    return f"MariaDB >= 11.7 (`mariadbd`) is not on this machine and cannot be fetched for it: {how}, {OTHER_WAYS}"


def cache_folder(data: Path) -> Path:
    """The per-user cache shared by all data folders; the data folder itself where no cache can be written."""
    for candidate in _cache_candidates():
        try:
            candidate.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(candidate, os.W_OK | os.X_OK):
            return candidate
    folder = data / "cache"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _cache_candidates() -> Iterator[Path]:
    chosen = os.environ.get("CAUSEGRAPH_CACHE_DIR")
    if chosen:
        yield Path(chosen).expanduser().absolute()
        return
    base = os.environ.get("XDG_CACHE_HOME", "")
    if base.startswith("/"):
        yield Path(base) / "causegraph"
    home = Path("~").expanduser()
    if home.is_absolute():
        yield home / ".cache" / "causegraph"


def _unpacked_program(folder: Path, architecture: _Architecture) -> Program | None:
    """The program in `folder`, run through its own loader: the machine's C library may be older than MariaDB needs."""
    mariadbd = folder / "usr/sbin/mariadbd"
    if not mariadbd.is_file():
        return None
    loader, libraries = str(folder / architecture.loader), str(folder / architecture.libraries)
    command = (loader, "--library-path", libraries, str(mariadbd))
    version = read_version(list(command))
    if version is None:
        return None
    return Program(command, folder / "usr/share/mariadb", version, folder / "usr/lib/mysql/plugin")


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fetch(folder: Path, architecture: _Architecture, progress: Progress) -> None:
    progress("Fetching MariaDB 11.8 from the Debian archive (16 MB, once)")
    with unpacking(folder, architecture.debian, progress, MARIADB) as unpacked:
        if _unpacked_program(unpacked, architecture) is None:
            raise StackError(f"The MariaDB that Debian's archive brought does not run on this machine; {OTHER_WAYS}")

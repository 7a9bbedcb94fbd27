"""Writing a file so that after a crash it is either whole or not there."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path

from domain.errors import StorageError, StorageFull


def write_durably(path: Path, content: bytes, mode: int = 0o644) -> None:
    """Write a file by way of a temporary one beside it, with both the file and its folder synced to the disk.

    Folders that are missing are made. Raises StorageFull without room, else StorageError; then nothing has changed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        _make_folder(path.parent)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        sync_folder(path.parent)
    except OSError as exc:
        raise translate_os_error(exc, path) from exc
    finally:
        _remove_if_there(temporary)


def _remove_if_there(path: Path) -> None:
    with contextlib.suppress(OSError):  # the error that brought us here says more
        path.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, where the system can do that."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def translate_os_error(exc: OSError, path: Path) -> StorageError:
    """Return our error for a file system's."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return StorageFull(f"There is no room left for {path}: free some disk space, then try again.")
    return StorageError(f"{path} cannot be written or read: {exc.strerror or exc}")


def _make_folder(folder: Path) -> None:
    if folder.is_dir():
        return
    _make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)

"""The time zones of a node's files: of times that name none."""

from __future__ import annotations

import os
from datetime import UTC, tzinfo
from functools import cache
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import SettingsError

LOCAL = "local"
_LOCALTIME = Path("/etc/localtime")


def read_zone(text: str) -> tzinfo:
    """Return a zone by its name; `local` is that of the machine, and an empty text is UTC. Raises SettingsError."""
    if not text:
        return UTC
    if text == LOCAL:
        return local_zone()
    try:
        return ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise SettingsError(f"There is no time zone {text!r}: write one such as Europe/Berlin, or local.") from exc


@cache
def local_zone() -> tzinfo:
    """Return the zone of the machine, from TZ or /etc/localtime; UTC where neither tells one."""
    try:
        if name := os.environ.get("TZ", "").lstrip(":"):
            return ZoneInfo(name)
        with _LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file, "local")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC

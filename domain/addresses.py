"""Addresses to listen on, as settings write them: `127.0.0.1:4317`, `[::1]:4317`, `localhost:0`; `off` is none."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from domain.errors import SettingsError

OFF = "off"


@dataclass(frozen=True, slots=True)
class Address:
    """A host and a port; port 0 asks for any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether no other machine can reach it."""
        return is_loopback(self.host)


def is_loopback(host: str) -> bool:
    """Say whether a host is this machine, as seen from itself only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def parse_address(setting: str, text: str) -> Address | None:
    """Return the address that a setting names, None for `off` or nothing; raises SettingsError."""
    if text.strip().lower() in ("", OFF):
        return None
    host, colon, port = text.strip().rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not (port.isascii() and port.isdecimal()) or int(port) > 65535:
        name = f"CAUSEGRAPH_{setting.upper()}"
        raise SettingsError(f"{name}: {text[:100]!r} is no address: write host:port, such as 127.0.0.1:4317, or off.")
    return Address(host, int(port))

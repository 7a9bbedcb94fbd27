"""The settings of syslog, read: networks, environments of networks, the time zone, TLS. Each raises SettingsError."""

from __future__ import annotations

import ipaddress
import ssl
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from domain.errors import SettingsError
from ingest.fields import clean_environment
from ingest.syslog import Network, SyslogRules


def read_networks(setting: str, text: str) -> list[Network]:
    """Return the networks of a list such as `10.0.0.0/8, ::1`."""
    return [_network(setting, part) for part in text.split(",") if part.strip()]


def read_rules(zone: str, environments: str) -> SyslogRules:
    """Return the rules of a zone's name and of a list such as `10.1.0.0/16=production, 10.2.0.0/16=staging`."""
    try:
        named = ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError, OSError) as exc:
        raise SettingsError(f"CAUSEGRAPH_SYSLOG_ZONE: there is no time zone {zone!r}; one is Europe/Berlin.") from exc
    pairs: list[tuple[Network, str]] = []
    for part in filter(str.strip, environments.split(",")):
        network, equals, name = part.partition("=")
        try:
            environment = clean_environment(name)
        except ValueError as exc:
            raise SettingsError(f"CAUSEGRAPH_SYSLOG_ENVIRONMENTS: {name[:80]!r}: {exc}.") from exc
        if not equals or not environment:
            told = f"{part.strip()[:80]!r} is not NETWORK=ENVIRONMENT, such as 10.1.0.0/16=production."
            raise SettingsError(f"CAUSEGRAPH_SYSLOG_ENVIRONMENTS: {told}")
        pairs.append((_network("syslog_environments", network), environment))
    return SyslogRules(named, sorted(pairs, key=lambda pair: -pair[0].prefixlen))


def read_tls(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """Return what a listener with TLS needs; None where no certificate is set."""
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(certificate, key)
    except (OSError, ssl.SSLError) as exc:
        raise SettingsError(
            f"CAUSEGRAPH_SYSLOG_CERTIFICATE: {certificate} and its key {key or certificate} cannot be used: {exc}"
        ) from exc
    return context


def _network(setting: str, text: str) -> Network:
    try:
        return ipaddress.ip_network(text.strip(), strict=False)
    except ValueError as exc:
        raise SettingsError(f"CAUSEGRAPH_{setting.upper()}: {text.strip()[:80]!r} is no network: {exc}.") from exc

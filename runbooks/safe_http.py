"""HTTP requests that cannot be led astray: the name is resolved once, and inner addresses need to be allowed by name."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httpx

from domain.errors import ActionError, ActionRefused

_REPLY_BYTES = 1024 * 1024
# Where clouds keep the credentials of their machines: never, whatever is allowed.
_METADATA = frozenset(
    map(ipaddress.ip_address, ("169.254.169.254", "169.254.170.2", "100.100.100.200", "fd00:ec2::254"))
)
# Networks in which another address is hidden.
_WRAPPING = tuple(map(ipaddress.ip_network, ("64:ff9b::/96", "64:ff9b:1::/48", "2002::/16", "2001::/32")))

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


@dataclass(frozen=True, slots=True)
class Sent:
    """A request. `inner` says that the operator allowed this very host to lie in a private network or on this machine."""

    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    inner: bool = False
    seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A reply: its status, and the body, a megabyte at most."""

    status: int
    body: bytes


def may_reach(address: Address, *, inner: bool) -> bool:
    """Say whether an address may be talked to: a public one, or where `inner` also a private one or this machine."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    if address in _METADATA or address.is_multicast or address.is_unspecified:
        return False
    if address.is_reserved and not address.is_loopback:  # ::1 lies in a reserved network
        return False
    if address.is_link_local or any(address in network for network in _WRAPPING if network.version == address.version):
        return False
    return inner or address.is_global


async def resolve(host: str, port: int, *, inner: bool) -> str:
    """Return the one address to connect to; raises ActionRefused if any address of the name may not be reached."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as exc:
        raise ActionRefused(f"{host} cannot be resolved: {exc}") from exc
    addresses = [ipaddress.ip_address(str(place[4][0]).partition("%")[0]) for place in found]
    for address in addresses:
        if not may_reach(address, inner=inner):
            raise ActionRefused(
                f"{host} leads to {address}, which is not public: `inner: true` at its connection allows private networks "
                "and this machine, nothing allows addresses that are link-local."
            )
    if not addresses:
        raise ActionRefused(f"{host} has no address.")
    return str(addresses[0])


async def send(sent: Sent) -> Reply:
    """Send a request to the address that was checked, and to no other; follow no redirect, use no proxy.

    Raises ActionRefused if nothing was sent, ActionError if there was no whole reply.
    """
    parts = urlsplit(sent.url)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or parts.username or parts.password:
        raise ActionRefused(f"{sent.url[:200]} is not an address that can be sent to.")
    try:
        port = parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError as exc:
        raise ActionRefused(f"{sent.url[:200]} has no valid port.") from exc
    address = await resolve(host, port, inner=sent.inner)
    url = httpx.URL(sent.url).copy_with(host=address)
    headers = {**sent.headers, "host": parts.netloc}
    try:
        async with (
            asyncio.timeout(sent.seconds),
            httpx.AsyncClient(timeout=sent.seconds, follow_redirects=False, trust_env=False) as client,
            client.stream(
                sent.method, url, headers=headers, content=sent.content, extensions={"sni_hostname": host}
            ) as reply,
        ):
            body = bytearray()
            async for piece in reply.aiter_bytes():
                body += piece
                if len(body) > _REPLY_BYTES:
                    raise ActionError(f"{host} replied with more than {_REPLY_BYTES} bytes.")
            return Reply(reply.status_code, bytes(body))
    except httpx.ConnectError as exc:
        raise ActionRefused(f"{host} cannot be reached: {exc}") from exc
    except (httpx.HTTPError, TimeoutError) as exc:
        raise ActionError(f"{host} did not reply: {str(exc) or type(exc).__name__}") from exc
